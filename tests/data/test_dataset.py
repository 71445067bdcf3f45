"""Splits, statistics, balanced subsets, hold-outs and label noise."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from labelreg.data import Dataset, Split, balanced_subset, data_root, hold_out, load, redraw_labels
from labelreg.data import dataset as module

labels_of_classes = st.integers(1, 6).flatmap(
    lambda classes: st.tuples(st.just(classes), st.lists(st.integers(0, classes - 1), min_size=2, max_size=60))
)


def numbered(labels) -> Split:
    """A split whose inputs are the positions of the samples."""
    return Split(torch.arange(len(labels)), torch.as_tensor(labels))


def zeros(count: int) -> Split:
    return numbered(torch.zeros(count, dtype=torch.int64))


def images(count: int) -> torch.Tensor:
    """Random uint8 images, (N, 3, 8, 8) over channels-last memory, of channels that differ."""
    generator = torch.Generator().manual_seed(0)
    stored = torch.randint(256, (count, 8, 8, 3), generator=generator, dtype=torch.uint8)
    return stored.permute(0, 3, 1, 2) // torch.tensor([1, 2, 3], dtype=torch.uint8).view(3, 1, 1)


def dataset_of(inputs: torch.Tensor) -> Dataset:
    split = Split(inputs, torch.zeros(len(inputs), dtype=torch.int64))
    return Dataset("test", split, split, classes=("only",))


class TestSplit:
    def test_select_takes_rows_in_the_order_asked_and_keeps_the_memory_format(self):
        split = Split(images(5), torch.arange(5))
        chosen = split.select(torch.tensor([3, 0, 3]))
        assert chosen.targets.tolist() == [3, 0, 3]
        assert torch.equal(chosen.inputs[1], split.inputs[0])
        moved = split.to("meta")
        assert moved.inputs.device.type == moved.targets.device.type == "meta"
        assert all(each.inputs.is_contiguous(memory_format=torch.channels_last) for each in (chosen, moved))

    def test_the_digest_tells_the_order_and_nothing_else(self):
        first, again, other = numbered([0, 1, 2, 1]), numbered([0, 1, 2, 1]), numbered([1, 0, 2, 1])
        assert first.digest == again.digest != other.digest
        assert first.select(torch.tensor([0, 1])).digest != first.digest
        # sha256 of the eight bytes of 0, of 1, ...: other programs can say it too
        assert first.digest == hashlib.sha256(b"".join(n.to_bytes(8, "little") for n in (0, 1, 2, 1))).hexdigest()[:8]


class LargestFloat(TorchDispatchMode):
    """Records the size of the largest floating-point tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.numel = max(self.numel, result.numel())
        return result


class TestDataset:
    def test_shape_classes_and_pixel_range(self):
        dataset = dataset_of(images(10))
        assert (dataset.input_shape, dataset.num_classes, dataset.pixel_range) == ((3, 8, 8), 1, 255)
        assert dataset_of(torch.zeros(2, 3, 4, 4)).pixel_range == 1
        assert dataset.to("meta").test.inputs.device.type == "meta"

    @pytest.mark.parametrize("inputs", [images(2500), 100 + images(500)[:, :, 0, 0] / 99])
    def test_statistics_are_those_of_the_channels(self, inputs):
        values = inputs.numpy().astype(np.float64)
        others = tuple(dim for dim in range(values.ndim) if dim != 1)
        dataset = dataset_of(inputs)
        np.testing.assert_allclose(dataset.mean, values.mean(others), rtol=1e-6)
        np.testing.assert_allclose(dataset.std, values.std(others), rtol=1e-6)

    def test_spread_of_a_constant_channel_is_zero_in_spite_of_rounding(self):
        for value in torch.linspace(0.1, 1, 20):
            assert dataset_of(value.expand(3001, 1)).std.item() == pytest.approx(0, abs=1e-7)

    @pytest.mark.parametrize("samples", [2, 1024])
    def test_no_float_copy_of_the_inputs_is_made(self, samples, monkeypatch):
        inputs = images(5000)
        monkeypatch.setattr(module, "MOMENTS_CHUNK", samples * inputs[0].numel())
        with LargestFloat() as largest:
            mean = dataset_of(inputs).mean
        assert largest.numel == samples * inputs[0].numel()
        np.testing.assert_allclose(mean, inputs.double().mean((0, 2, 3)), rtol=1e-6)

    def test_statistics_of_very_many_are_those_of_evenly_spaced_ones(self, monkeypatch):
        inputs = images(20)
        monkeypatch.setattr(module, "MOMENTS_BYTES", inputs.nbytes // 4)
        np.testing.assert_allclose(dataset_of(inputs).mean, inputs[::4].double().mean((0, 2, 3)), rtol=1e-6)

    @pytest.mark.real_data
    @pytest.mark.skipif(
        not (data_root() / "cifar100.npz").exists(), reason="no cifar100.npz in the folder LABELREG_DATA or data/raw"
    )
    def test_cifar100(self):
        dataset = load("cifar100")
        assert (len(dataset.train), len(dataset.test), dataset.input_shape) == (50_000, 10_000, (3, 32, 32))
        assert dataset.train.targets.bincount().tolist() == [500] * 100
        assert dataset.test.targets.bincount().tolist() == [100] * 100
        np.testing.assert_allclose(dataset.mean / 255, [0.50707516, 0.48654887, 0.44091784], atol=1e-7)
        np.testing.assert_allclose(dataset.std / 255, [0.26733429, 0.25643846, 0.27615047], atol=1e-7)


@given(labels_of_classes, st.data())
@settings(max_examples=200)
def test_counts_of_a_subset_differ_by_at_most_one_unless_a_class_is_used_up(classes_and_labels, data):
    classes, labels = classes_and_labels
    n = data.draw(st.integers(1, len(labels)))
    subset = balanced_subset(numbered(labels), n, classes)
    available = np.bincount(labels, minlength=classes)
    taken = np.bincount(subset.targets, minlength=classes)
    assert taken.sum() == n
    assert all(taken[k] == available[k] or taken[k] >= taken.max() - 1 for k in range(classes))
    positions = subset.inputs.tolist()
    assert positions == sorted(set(positions))
    for k in range(classes):  # each class gives its first samples
        stored = [i for i, label in enumerate(labels) if label == k]
        assert [i for i in positions if labels[i] == k] == stored[: taken[k]]
    if n > 1:
        assert set(balanced_subset(numbered(labels), n - 1, classes).inputs.tolist()) < set(positions)


def test_loading_a_subset_shrinks_the_training_split_alone():
    whole, part = load("digits"), load("digits", subset=25)
    counts = part.train.targets.bincount(minlength=10)
    assert (len(part.train), counts.max() - counts.min()) == (25, 1)
    assert torch.equal(part.test.inputs, whole.test.inputs)
    assert part.mean != whole.mean  # statistics are of what is trained on


class TestHoldOut:
    @given(labels_of_classes, st.data())
    @settings(max_examples=200)
    def test_is_a_partition_in_proportion(self, classes_and_labels, data):
        classes, labels = classes_and_labels
        count = data.draw(st.integers(1, len(labels) - 1))
        rest, held = hold_out(numbered(labels), count, data.draw(st.integers(0, 100)))
        assert len(held) == count
        assert sorted(rest.inputs.tolist() + held.inputs.tolist()) == list(range(len(labels)))
        assert all(part.inputs.tolist() == sorted(part.inputs.tolist()) for part in (rest, held))
        share = np.bincount(labels, minlength=classes) * count / len(labels)
        taken = np.bincount(held.targets, minlength=classes)
        assert (np.abs(taken - share) < 1 - 1e-9).all()  # either whole number next to it
        assert torch.equal(held.targets, torch.tensor(labels)[held.inputs])

    def test_a_fraction_is_rounded_to_a_number(self):
        split = numbered(torch.arange(500) % 10)
        rest, held = hold_out(split, 0.1, seed=0)
        assert (len(rest), held.targets.bincount().tolist()) == (450, [5] * 10)
        assert torch.equal(held.inputs, hold_out(split, 50, seed=0)[1].inputs)

    def test_every_sample_is_held_out_equally_often(self):
        split, draws = numbered([0] * 5 + [1] * 2 + [2] * 13), 3000
        times = sum(torch.bincount(hold_out(split, 6, seed)[1].inputs, minlength=20) for seed in range(draws))
        assert (times - 0.3 * draws).abs().max() < 4 * (draws * 0.3 * 0.7) ** 0.5


class TestRedrawLabels:
    def test_redraws_that_fraction_uniformly_over_all_classes(self):
        labels = redraw_labels(numbered(torch.full((20_000,), 2)), 0.3, num_classes=5, seed=0).targets
        expected = torch.tensor([1200.0, 1200, 14_000 + 1200, 1200, 1200])
        assert ((labels.bincount(minlength=5) - expected).abs() < 4 * (6000 * 0.2 * 0.8) ** 0.5).all()

    @pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 1.0])
    def test_the_number_of_redrawn_labels_is_exact_and_the_split_left_alone(self, fraction):
        split = zeros(1000)
        noisy = redraw_labels(split, fraction, num_classes=2**40, seed=1)  # so many that none is redrawn to itself
        assert (noisy.targets != 0).sum() == 1000 * fraction
        assert split.targets.eq(0).all()
        assert noisy.inputs is split.inputs

    def test_does_not_depend_on_what_is_held_out_with_the_same_seed(self):
        split, excess = zeros(10_000), torch.zeros(10)
        for seed in range(10):
            redrawn = redraw_labels(split, 0.5, 2**40, seed).targets != 0
            excess[seed] = redrawn[hold_out(split, 0.5, seed)[1].inputs].sum() - 2500
        assert 10 < excess.std() < 60  # independent draws: 25; from one shuffle, every second of the first half: 0


def test_what_is_drawn_depends_on_the_seed_and_nothing_else():
    def draw(seed):
        held = hold_out(numbered(torch.arange(100) % 4), 20, seed)[1]
        return held.inputs, redraw_labels(zeros(100), 0.5, 10, seed).targets

    first = draw(3)
    torch.manual_seed(7)
    for one, again, other in zip(first, draw(3), draw(4), strict=True):
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
