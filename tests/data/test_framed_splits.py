"""Splits of photographs stored as squares: what they carry along, and the batches made of them."""

import pytest
import torch

from labelreg import data
from labelreg.data import Dataset, Loader, Split, augmentations, batches, dataset
from labelreg.data.framing import Framing, centre_boxes, random_boxes, resample
from labelreg.data.randomness import Stream, generator

FRAMING = Framing(side=8, centre=0.5)
MEAN, STD = torch.tensor([120.0, 110.0, 100.0]), torch.tensor([60.0, 50.0, 40.0])
VIEWS = frozenset({"partner", "source"})


def photographs(count: int = 23, classes: int = 4) -> Split:
    draws = torch.Generator().manual_seed(0)
    stored = torch.randint(256, (count, 16, 16, 3), generator=draws, dtype=torch.uint8)
    targets = torch.randint(classes, (count,), generator=draws)
    return Split(stored.permute(0, 3, 1, 2), targets, 0.5 + torch.rand(count, generator=draws), FRAMING)


def loader(split: Split | None = None, **options) -> Loader:
    settings = {"mean": MEAN, "std": STD, "augmentation": "resized_crop_flip", **options}
    return Loader(photographs() if split is None else split, 5, **settings)


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels.float() - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)


class TestSplit:
    def test_every_way_to_cut_it_carries_aspects_and_framing_along(self):
        split = photographs()
        rows = {image.numpy().tobytes(): aspect for image, aspect in zip(split.inputs, split.aspects, strict=True)}
        cut = [
            split.select(torch.tensor([3, 1, 1])),
            split.select(slice(2, 9)),
            split.to("cpu"),
            data.balanced_subset(split, 11, 4),
            *data.hold_out(split, 5, seed=0),
            data.redraw_labels(split, 0.5, 4, seed=0),
        ]
        for part in cut:
            assert part.framing == FRAMING
            for image, aspect in zip(part.inputs, part.aspects, strict=True):
                assert rows[image.numpy().tobytes()] == aspect

    def test_inputs_for_which_a_device_has_no_room_stay_where_they_are(self, monkeypatch):
        split = photographs()
        assert {each.device.type for each in (split.to("meta").inputs, split.to("meta").aspects)} == {"meta"}
        monkeypatch.setattr(dataset, "_has_room", lambda device, size: False)
        moved = split.to("meta")
        assert [each.device.type for each in (moved.inputs, moved.targets, moved.aspects)] == ["cpu", "meta", "meta"]
        # what is taken of them follows
        assert moved.select(slice(4)).inputs.device.type == "meta"
        assert next(iter(batches(moved, 4, MEAN, STD.to("cpu")))).inputs.shape == (4, 3, 8, 8)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_batches_are_the_same_wherever_the_inputs_are(self, monkeypatch):
        on_device = list(loader(photographs().to("cuda"), views=VIEWS).epoch(0))
        monkeypatch.setattr(dataset, "_has_room", lambda device, size: False)
        streamed = photographs().to("cuda")
        assert streamed.inputs.device.type == "cpu"
        for one, other in zip(on_device, loader(streamed, views=VIEWS).epoch(0), strict=True):
            for field in ("inputs", "targets", "indices", "partner", "source"):
                assert torch.equal(getattr(one, field), getattr(other, field))


class TestBatches:
    def test_are_of_the_middle_of_each_photograph(self):
        split = photographs()
        expected = normalised(resample(split.inputs, centre_boxes(split.aspects, 0.5), (8, 8)))
        parts = list(batches(split, 4, MEAN, STD))
        torch.testing.assert_close(torch.cat([part.inputs for part in parts]), expected)
        assert torch.equal(torch.cat([part.indices for part in parts]), torch.arange(23))
        assert all(part.inputs.is_contiguous(memory_format=torch.channels_last) for part in parts)
        assert Dataset("birds", split, split, ("a",) * 4).input_shape == parts[0].inputs.shape[1:]

    def test_the_source_of_a_sample_is_what_it_would_be_tested_on(self):
        split = photographs()
        for batch in loader(split, views=VIEWS).epoch(0):
            expected = next(batches(split.select(batch.indices), len(batch.indices), MEAN, STD)).inputs
            assert torch.equal(batch.source, expected)
            assert batch.inputs.shape == batch.partner.shape == batch.source.shape

    def test_inputs_and_partners_are_crops_at_their_own_aspects(self, monkeypatch):
        """Drawn again by hand from the numbers of (seed, epoch, position)."""
        split = photographs()
        batch = list(loader(split, views=VIEWS, seed=7).epoch(2))[1]
        draws = generator(7, Stream.AUGMENTATION, epoch=2, position=1)
        boxes = random_boxes(split.aspects[batch.indices], draws)
        crops = normalised(resample(split.inputs[batch.indices], boxes, (8, 8)))
        flipped = torch.rand(len(crops), generator=draws) < 0.5
        expected = torch.where(flipped.view(-1, 1, 1, 1), crops.flip(-1), crops)
        torch.testing.assert_close(batch.inputs, expected)
        # a partner is a crop of a photograph of the class, at the aspect of that photograph
        draws = generator(7, Stream.PARTNER_AUGMENTATION, epoch=2, position=1)
        numbers = torch.rand(4, 10, len(crops), generator=draws)
        flipped = torch.rand(len(crops), generator=draws) < 0.5
        for row, partner in enumerate(batch.partner):
            candidates = split.select((split.targets == batch.targets[row]).nonzero().flatten())
            with monkeypatch.context() as patch:
                own = numbers[:, :, row : row + 1].expand(-1, -1, len(candidates))
                patch.setattr(torch, "rand", lambda *sizes, own=own, **options: own)
                boxes = random_boxes(candidates.aspects, None)
            crops = normalised(resample(candidates.inputs, boxes, (8, 8)))
            crops = crops.flip(-1) if flipped[row] else crops
            assert (crops - partner).abs().amax((1, 2, 3)).min() < 1e-4

    @pytest.mark.parametrize("name", augmentations)
    def test_all_other_augmentations_go_on_from_the_middle_or_from_images_in_their_own_shape(self, name):
        split = photographs()
        if name == "resized_crop_flip":
            split = Split(split.inputs, split.targets)
        batch = next(loader(split, augmentation=name).epoch(0))
        seen = split.select(batch.indices).clean()
        expected = augmentations[name](seen, generator(0, Stream.AUGMENTATION), MEAN)
        torch.testing.assert_close(batch.inputs, normalised(expected))
