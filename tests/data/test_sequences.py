"""Texts in columns: the layout against a naive loop, and what an epoch goes over."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from labelreg.data import SequenceLoader, Split


def text(words):
    """A text in which every word says where it stands, and every target where the next one does."""
    return Split(torch.arange(words), torch.arange(1, words + 1))


@st.composite
def shapes(draw):
    words = draw(st.integers(1, 200))
    return words, draw(st.integers(1, words)), draw(st.integers(1, 50))


@given(shapes())
def test_columns_are_the_text_cut_into_equal_parts(shape):
    words, columns, length = shape
    loader = SequenceLoader(text(words), columns, length)
    batches = list(loader.epoch(0))
    rows = words // columns
    assert torch.equal(loader.split.inputs, torch.arange(rows * columns))
    assert torch.equal(loader.split.targets, loader.split.inputs + 1)
    assert len(batches) == len(loader) == math.ceil(rows / length)
    for number, batch in enumerate(batches):
        first = number * length
        last = min(first + length, rows)
        expected = [[column * rows + row for column in range(columns)] for row in range(first, last)]
        assert batch.inputs.tolist() == expected
        flat = [position for row in expected for position in row]
        assert batch.targets.tolist() == [position + 1 for position in flat]
        assert batch.indices.tolist() == flat


def test_an_epoch_can_be_begun_in_its_midst_and_is_always_the_same():
    loader = SequenceLoader(text(103), 4, 6)
    whole = [batch.inputs.tolist() for batch in loader.epoch(0)]
    for start in range(len(loader) + 1):
        assert [batch.inputs.tolist() for batch in loader.epoch(3, start)] == whole[start:]


def test_batches_are_made_on_the_device_of_the_text():
    batch = next(SequenceLoader(text(20).to("meta"), 4, 3).epoch(0))
    assert {values.device.type for values in (batch.inputs, batch.targets, batch.indices)} == {"meta"}
