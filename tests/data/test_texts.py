"""Texts of different lengths: rows filled up with 0, and batches of like lengths."""

import pytest
import torch

from labelreg.data import Loader, Split, balanced_subset, batches, dataset, hold_out
from labelreg.data.texts import Texts
from labelreg.data.words import in_bytes

NOTHING = torch.empty(0)


def numbered(lengths: list[int] | torch.Tensor, classes: int = 2) -> Split:
    """Texts whose tokens are all the number of the text, from 1."""
    lengths = torch.as_tensor(lengths)
    numbers = torch.arange(1, len(lengths) + 1)
    tokens = numbers.repeat_interleave(lengths).int()
    starts, vocabulary = lengths.cumsum(0) - lengths, tuple(map(str, range(len(lengths) + 1)))
    texts = Texts(tokens, starts, lengths, "words", max(1, int(lengths.max())), vocabulary)
    return Split(texts, (numbers - 1) % classes)


def of_many_lengths(count: int) -> Split:
    return numbered(torch.randint(1, 60, (count,), generator=torch.Generator().manual_seed(0)))


def loader(split: Split, batch_size: int, **options) -> Loader:
    return Loader(split, batch_size, mean=NOTHING, std=NOTHING, **options)


def padding(loader: Loader) -> float:
    """The share of tokens that fill texts up, in the mean over batches."""
    shares = [(batch.inputs == 0).double().mean() for batch in loader.epoch(0)]
    return float(torch.stack(shares).mean())


class TestPadded:
    def test_rows_are_the_texts_and_zeros(self):
        texts = numbered([2, 0, 3, 1]).inputs
        assert texts.padded().tolist() == [[1, 1, 0], [0, 0, 0], [3, 3, 3], [4, 0, 0]]
        assert texts[torch.tensor([3, 1])].padded().tolist() == [[4], [0]]
        assert texts[1:2].padded().tolist() == [[0]]  # no token, and still a place
        assert texts[:1].padded(4).tolist() == [[1, 1, 0, 0]]

    def test_selections_of_selections(self):
        split = numbered([2, 4, 3, 1, 5, 2])
        even = split.select(torch.tensor([1, 3, 5])).select(torch.tensor([2, 0]))
        assert even.clean().tolist() == [[6, 6, 0, 0], [2, 2, 2, 2]]
        assert balanced_subset(split, 3, 2).clean()[:, 0].tolist() == [1, 2, 3]
        rest, held = hold_out(split, 2, seed=0)
        assert sorted([*rest.clean()[:, 0].tolist(), *held.clean()[:, 0].tolist()]) == [1, 2, 3, 4, 5, 6]
        assert (held.targets == (held.clean()[:, 0] - 1) % 2).all()

    def test_move_to_a_device_that_has_no_room_for_images(self, monkeypatch):
        monkeypatch.setattr(dataset, "_has_room", lambda device, size: False)
        moved = of_many_lengths(10).to("meta")
        assert (moved.inputs.device.type, moved.targets.device.type) == ("meta", "meta")

    def test_bytes_come_back_as_text(self):
        texts = in_bytes([each.encode() for each in ("naïve", "", "Ω")])
        assert [texts.text(index) for index in range(3)] == ["naïve", "", "Ω"]
        assert texts.padded()[2].tolist() == [*"Ω".encode(), 0, 0, 0, 0]


class TestBatches:
    @pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 24, 800])
    def test_an_epoch_goes_over_all_texts_once(self, count):
        split = of_many_lengths(count)
        drawn = list(loader(split, 20).epoch(0))
        assert torch.cat([batch.indices for batch in drawn]).sort().values.tolist() == list(range(count))
        for batch in drawn:
            assert torch.equal(batch.inputs, split.inputs[batch.indices].padded())
            assert torch.equal(batch.targets, split.targets[batch.indices])

    def test_a_batch_is_determined_by_seed_epoch_and_position(self):
        one, other = (loader(of_many_lengths(500), 16, seed=3) for _ in range(2))
        straight, later = list(one.epoch(2)), list(other.epoch(2, start=20))
        assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(straight[20:], later, strict=True))
        assert not torch.equal(straight[0].indices, next(one.epoch(3)).indices)
        seeded = loader(of_many_lengths(500), 16, seed=4)
        assert not torch.equal(straight[0].indices, next(seeded.epoch(2)).indices)

    def test_like_lengths_share_a_batch_and_long_ones_come_at_any_time(self):
        split = of_many_lengths(3000)
        assert padding(loader(split, 16)) < 0.06
        lengths = split.inputs.lengths.double()
        means = torch.stack([lengths[batch.indices].mean() for batch in loader(split, 16).epoch(0)])
        time = torch.arange(len(means), dtype=torch.double)
        assert abs(torch.corrcoef(torch.stack((means, time)))[0, 1]) < 0.25

    def test_any_length_may_be_left_for_the_last_batch(self):
        """29 texts of lengths 1 to 29 in batches of 7 leave one of 8."""
        lasts = [
            next(loader(numbered(range(1, 30)), 7, seed=seed).epoch(0, start=3)).indices.sort().values
            for seed in range(20)
        ]
        assert {tuple(last.tolist()) for last in lasts} == {tuple(range(start, start + 8)) for start in (0, 7, 14, 21)}

    def test_partners_are_of_the_class(self):
        split = of_many_lengths(50)
        for batch in loader(split, 8, views=frozenset({"partner", "source"})).epoch(0):
            assert ((batch.partner[:, 0] - 1) % 2 == batch.targets).all()
            assert torch.equal(batch.source, batch.inputs)

    def test_stored_order(self):
        split = numbered([2, 0, 3])
        rows = [batch.inputs.tolist() for batch in batches(split, 2, NOTHING, NOTHING)]
        assert rows == [[[1, 1], [0, 0]], [[3, 3, 3]]]

    def test_reads_do_not_grow_with_the_number_of_batches(self):
        from test_training_synchronisation import Count

        def reads(batch_size: int) -> int:
            with Count() as count:
                list(loader(of_many_lengths(200), batch_size).epoch(0))
            return count.reads

        assert reads(5) == reads(50)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"copies": 2}, "copies=2: texts are not augmented"),
            ({"augmentation": "crop_flip"}, r"'crop_flip' is for images \(N, C, H, W\), got inputs \(3, 3, 4\)"),
        ],
    )
    def test_what_is_for_images_is_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            loader(numbered([2, 1, 3]), 2, **options)
