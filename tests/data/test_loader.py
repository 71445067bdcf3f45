"""Batches: what they hold, and that they are a pure function of the seed."""

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from labelreg.data import Loader, Split, augmentations, batches, load

VIEWS = {"partner", "source"}
MEAN, STD = torch.tensor([120.0, 110.0, 100.0]), torch.tensor([60.0, 50.0, 40.0])
EVERY_VIEWS = [set(), {"partner"}, {"source"}, VIEWS]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def image_split(count: int = 23, classes: int = 4) -> Split:
    stored = torch.randint(256, (count, 8, 8, 3), generator=seeded(), dtype=torch.uint8)
    return Split(stored.permute(0, 3, 1, 2), torch.randint(classes, (count,), generator=seeded(1)))


def numbered_split(labels) -> Split:
    """Inputs that are the positions of the samples."""
    return Split(torch.arange(float(len(labels))).unsqueeze(1), torch.as_tensor(labels))


def image_loader(**options) -> Loader:
    return Loader(image_split(), 5, **{"mean": MEAN, "std": STD, "augmentation": "crop_flip", **options})


def numbered_loader(labels, batch_size=4, **options) -> Loader:
    return Loader(numbered_split(labels), batch_size, mean=torch.zeros(1), std=torch.ones(1), **options)


def indices_of(loader: Loader, epoch: int = 0) -> torch.Tensor:
    return torch.cat([batch.indices for batch in loader.epoch(epoch)])


def same(one, other, fields=("inputs", "targets", "indices", "partner", "source")) -> bool:
    pairs = [(getattr(one, field), getattr(other, field)) for field in fields]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


class TestEpoch:
    @given(st.integers(1, 40), st.integers(1, 12))
    def test_goes_over_every_sample_once_without_a_batch_of_one(self, count, batch_size):
        loader = numbered_loader([0] * count, batch_size)
        sizes = [len(batch.targets) for batch in loader.epoch(0)]
        assert indices_of(loader).sort().values.tolist() == list(range(count))
        assert len(sizes) == len(loader)
        assert set(sizes[:-1]) <= {batch_size}
        assert min(batch_size, count, 2) <= sizes[-1] <= batch_size + 1

    @given(st.integers(6, 40), st.integers(1, 4), st.integers(1, 3))
    def test_is_divided_into_equal_parts_of_the_same_batches(self, count, size, parts):
        loaders = [numbered_loader([0] * count, size * parts, part=part, parts=parts) for part in range(parts)]
        whole = indices_of(numbered_loader([0] * count, size * parts))
        batches_of = [[batch.indices for batch in loader.epoch(0)] for loader in loaders]
        together = torch.cat([torch.cat(row) for row in zip(*batches_of, strict=True)])
        assert together.tolist() == whole[: count // parts * parts].tolist()
        assert len({len(loader) for loader in loaders}) == 1
        assert all(len({len(part) for part in row}) == 1 for row in zip(*batches_of, strict=True))
        assert len(batches_of[0][-1]) >= min(size, 2)

    def test_parts_are_augmented_by_draws_of_their_own(self):
        images = Split(torch.arange(256, dtype=torch.uint8).expand(8, 3, 16, 256), torch.zeros(8, dtype=torch.int64))
        known = {"mean": MEAN, "std": STD, "augmentation": "crop_flip"}
        first, second = (next(Loader(images, 8, part=part, parts=2, **known).epoch(0)) for part in range(2))
        assert not torch.equal(first.inputs, second.inputs)

    @pytest.mark.parametrize(("count", "batch_size"), [(12, 5), (1, 2)])
    def test_what_cannot_be_divided_is_refused(self, count, batch_size):
        with pytest.raises(ValueError, match=f"batch_size={batch_size} of {count} samples cannot be divided into 2"):
            numbered_loader([0] * count, batch_size, parts=2)

    def test_rows_belong_together(self):
        split = image_split()
        for batch in image_loader(augmentation="none", views={"source"}).epoch(0):
            assert torch.equal(batch.targets, split.targets[batch.indices])
            assert torch.equal(batch.inputs, batch.source)
            pixels = split.inputs[batch.indices].double()
            expected = (pixels - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
            torch.testing.assert_close(batch.inputs.double(), expected, rtol=1e-6, atol=1e-6)

    def test_order_is_a_uniform_permutation(self):
        times = torch.zeros(6, 6)
        loader = numbered_loader([0] * 6, 6)
        for epoch in range(1200):
            order = next(loader.epoch(epoch)).indices
            times[torch.arange(6), order] += 1
        assert ((times - 200) ** 2 / 200).sum() < 53  # 25 degrees of freedom: one in a thousand

    def test_epochs_and_seeds_differ(self):
        orders = {tuple(indices_of(image_loader(seed=seed), epoch).tolist()) for seed in (0, 1) for epoch in (0, 1)}
        assert len(orders) == 4

    @pytest.mark.parametrize("start", [0, 1, 3, 5])
    @pytest.mark.parametrize("views", EVERY_VIEWS)
    def test_from_a_start_equals_the_tail(self, start, views):
        whole = list(image_loader(views=views).epoch(3))
        tail = list(image_loader(views=views).epoch(3, start=start))
        assert len(tail) == len(whole) - start
        assert all(same(one, other) for one, other in zip(whole[start:], tail, strict=True))

    def test_nothing_drawn_elsewhere_matters_and_nothing_is_drawn_from_the_global_generator(self):
        loader = image_loader(views=VIEWS, seed=7)
        expected = list(loader.epoch(2))
        torch.manual_seed(123)
        before = torch.get_rng_state()
        interleaved = zip(loader.epoch(2), loader.epoch(5), strict=True)
        assert all(same(one, other) for one, (other, _) in zip(expected, interleaved, strict=True))
        assert torch.equal(before, torch.get_rng_state())

    def test_batches_of_an_epoch_are_augmented_differently(self):
        one_image = Split(image_split(1).inputs.expand(8, -1, -1, -1), torch.zeros(8, dtype=torch.int64))
        loader = Loader(one_image, 4, mean=MEAN, std=STD, augmentation="crop_flip")
        results = [batch.inputs for epoch in range(2) for batch in loader.epoch(epoch)]
        assert all(not torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])

    def test_images_come_out_channels_last(self):
        batch = next(image_loader(views=VIEWS).epoch(0))
        for inputs in (batch.inputs, batch.partner, batch.source, next(batches(image_split(), 4, MEAN, STD)).inputs):
            assert inputs.dtype == torch.float32
            assert inputs.is_contiguous(memory_format=torch.channels_last)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_inputs_of_any_precision_are_normalised_in_single(self, dtype):
        split = Split(torch.full((2, 1), 0.1, dtype=dtype), torch.zeros(2))
        batch = next(Loader(split, 2, mean=torch.tensor([1e-4]), std=torch.tensor([1e-3])).epoch(0))
        expected = (torch.tensor(0.1, dtype=dtype).float() - 1e-4) / 1e-3
        torch.testing.assert_close(batch.inputs, expected.expand(2, 1))  # checks the dtype too

    def test_of_a_regression_has_its_targets_and_standardised_inputs(self):
        toy = load("toy")
        seen = list(Loader(toy.train, 8, mean=toy.mean, std=toy.std, num_classes=toy.num_classes).epoch(0))
        assert all(torch.equal(batch.targets, toy.train.targets[batch.indices]) for batch in seen)
        inputs = torch.cat([batch.inputs for batch in seen])
        assert inputs.mean().abs() < 1e-5
        assert inputs.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)

    def test_no_operation_waits_for_the_device(self):
        loader = image_loader(views=VIEWS, augmentation="crop_flip_cutout8")
        with Operations() as operations:
            list(islice(loader.epoch(0), 2))
        assert {"aten::randperm", "aten::index", "aten::div"} <= operations.names
        waiting = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::bincount", "aten::equal"}
        assert not waiting & operations.names


class Operations(TorchDispatchMode):
    """Records the names of all operations; those that need a number on the host are told by theirs."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.name().split(".")[0])
        return function(*args, **(kwargs or {}))


class TestViews:
    @pytest.mark.parametrize("augmentation", augmentations)
    @pytest.mark.parametrize("views", EVERY_VIEWS[1:])
    def test_more_views_change_no_input(self, views, augmentation):
        plain, more, all_of_them = (
            image_loader(augmentation=augmentation, views=each).epoch(1) for each in (set(), views, VIEWS)
        )
        for one, other, third in zip(plain, more, all_of_them, strict=True):
            assert same(one, other, ("inputs", "targets", "indices"))
            assert same(other, third, views)  # nor any other view
            assert {view for view in VIEWS if getattr(other, view) is not None} == views
            assert one.partner is one.source is None

    def test_partners_are_uniform_over_the_class_the_sample_itself_included(self):
        labels = [3, 0, 1, 3, 1, 3, 0, 3, 3, 1]  # classes of 2, 3, 0 and 5 samples
        loader = numbered_loader(labels, 4, views={"partner"})
        times, epochs = torch.zeros(len(labels), len(labels)), 2000
        for epoch in range(epochs):
            for batch in loader.epoch(epoch):
                times[batch.indices, batch.partner.flatten().long()] += 1
        same_class = torch.tensor(labels).unsqueeze(1) == torch.tensor(labels)
        assert (times[~same_class] == 0).all()
        share = epochs / same_class.sum(1, keepdim=True)
        chi_square = (((times - share) ** 2 / share) * same_class).sum()
        assert chi_square < 55  # 2 * 1 + 3 * 2 + 5 * 4 = 28 degrees of freedom: two in a thousand

    def test_partners_are_augmented_on_their_own(self):
        alone = Split(image_split(6).inputs, torch.arange(6))  # each sample can only be its own partner
        batch = next(Loader(alone, 6, mean=MEAN, std=STD, augmentation="crop_flip", views=VIEWS).epoch(0))
        assert not torch.equal(batch.partner, batch.inputs)
        assert not torch.equal(batch.partner, batch.source)
        plain = next(Loader(alone, 6, mean=MEAN, std=STD, views={"partner"}).epoch(0))
        assert torch.equal(plain.partner, plain.inputs)


class TestCopies:
    @pytest.mark.parametrize("views", EVERY_VIEWS)
    def test_the_first_copy_is_the_batch_without_the_others(self, views):
        alone, with_others = (image_loader(views=views, copies=copies).epoch(1) for copies in (1, 3))
        for one, three in zip(alone, with_others, strict=True):
            count = len(one.targets)
            assert len(three.targets) == 3 * count
            for field in ("inputs", "targets", "indices", *views):
                assert torch.equal(getattr(three, field)[:count], getattr(one, field))

    def test_copies_are_of_the_same_samples_and_differ_in_augmentation_and_partner(self):
        split = image_split(40)
        loader = Loader(split, 8, mean=MEAN, std=STD, augmentation="crop_flip", views=VIEWS, copies=3)
        for batch in loader.epoch(0):
            copies = [part.chunk(3) for part in (batch.indices, batch.targets, batch.source)]
            assert all(torch.equal(parts[0], part) for parts in copies for part in parts[1:])
            assert torch.equal(batch.targets, split.targets[batch.indices])
            for parts in (batch.inputs.chunk(3), batch.partner.chunk(3)):
                assert not any(torch.equal(parts[i], parts[j]) for i, j in ((0, 1), (0, 2), (1, 2)))

    def test_partners_of_every_copy_are_of_its_class(self):
        batch = next(numbered_loader([0, 0, 0, 1, 1, 1], 6, views={"partner"}, copies=50).epoch(0))
        assert torch.equal(batch.partner.flatten() >= 3, batch.targets == 1)
        assert not torch.equal(*batch.partner.chunk(2))


@given(st.integers(1, 20), st.integers(1, 8))
def test_batches_are_the_samples_in_stored_order(count, batch_size):
    split = numbered_split(list(range(count)))
    parts = list(batches(split, batch_size, torch.tensor([1.0]), torch.tensor([2.0])))
    assert [len(part.targets) for part in parts[:-1]] == [batch_size] * (len(parts) - 1)
    assert torch.cat([part.indices for part in parts]).tolist() == list(range(count))
    assert torch.cat([part.targets for part in parts]).tolist() == list(range(count))
    assert torch.equal(torch.cat([part.inputs for part in parts]), (split.inputs - 1) / 2)
