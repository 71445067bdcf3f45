"""What splits, loaders and the register of data sets do not take, and what they say would be right."""

from functools import partial

import pytest
import torch

from labelreg.data import (
    Dataset,
    Loader,
    SequenceLoader,
    Split,
    balanced_subset,
    batches,
    hold_out,
    load,
    redraw_labels,
)
from labelreg.data.framing import Framing
from labelreg.data.registry import register

VALUES, TEXT = torch.zeros(3, 1), Split(torch.arange(9), torch.arange(9))
ASPECTS, FRAMING = torch.ones(3), Framing()
IMAGES = Split(torch.zeros(4, 3, 8, 8), torch.arange(4))
TOY = load("toy").train


def labelled(*labels: int) -> Split:
    return Split(torch.zeros(len(labels), 1), torch.tensor(labels, dtype=torch.int64))


def loader(split: Split = IMAGES, batch_size: int = 2, **options) -> Loader:
    channels = split.inputs.shape[1]
    return Loader(split, batch_size, **{"mean": torch.zeros(channels), "std": torch.ones(channels), **options})


REFUSALS = [
    # splits
    (partial(Split, VALUES, torch.zeros(2)), "one target per sample, got 3 inputs and 2 targets"),
    (partial(Split, VALUES, VALUES, ASPECTS[:2], FRAMING), "one aspect per sample, got 3 inputs and 2 aspects"),
    *((partial(Split, VALUES, VALUES, *one), "both aspects and a framing") for one in ((ASPECTS,), (None, FRAMING))),
    *((partial(balanced_subset, labelled(0, 1, 1), n, 2), f"subset of {n} .* from 3: .* 1 to 3") for n in (0, -1, 4)),
    (partial(balanced_subset, labelled(0, 1, 2), 2, 2), "below num_classes=2, got labels from 0 to 2"),
    (partial(balanced_subset, labelled(-1, 1, 1), 2, 2), "at least 0.*labels from -1 to 1"),
    (partial(balanced_subset, Split(VALUES, VALUES), 2, 2), r"int64, got targets \(3, 1\) of torch.float32"),
    *(
        (partial(hold_out, labelled(*[0] * 10), size, 0), f"size={size} of 10")
        for size in (0, 10, 11, -1, 0.0, 1.0, 0.01)
    ),
    (partial(hold_out, TOY, 5, 0), "class labels must be"),
    *(
        (partial(redraw_labels, IMAGES, part, 4, 0), rf"within \[0, 1\], got {part}")
        for part in (-0.1, 1.1, float("nan"))
    ),
    (partial(redraw_labels, IMAGES, 0.5, 4, -1), "must not be negative, got -1"),
    *(
        (partial(Dataset, "mine", **{"train": IMAGES, "test": IMAGES, split: labelled()}, classes=("a",)), message)
        for split in ("train", "test", "validation")
        for message in [f"the {split} split of mine has no samples"]
    ),
    # batches
    (partial(loader, augmentation="crop_flp"), r"'crop_flp'.*did you mean.*crop_flip"),
    (partial(loader, views={"partners"}), r"'partners'.*did you mean.*partner"),
    (partial(loader, mean=torch.zeros(1)), r"mean must have one value per channel, \(3,\), got \(1,\)"),
    (partial(loader, std=torch.ones(3, 1)), r"std must have one value per channel, \(3,\), got \(3, 1\)"),
    (partial(loader, std=torch.arange(3.0)), r"std must be positive in every channel, got \[0.0, 1.0, 2.0\]"),
    (partial(loader, copies=0), "copies must be at least 1, got 0"),
    (partial(loader, num_classes=3), "below num_classes=3, got labels from 0 to 3"),
    (partial(loader, TOY, views={"partner"}), r"class labels must be \(N,\) int64"),
    (partial(loader, TOY, augmentation="crop_flip"), r"'crop_flip' is for images \(N, C, H, W\), got inputs \(20, 1\)"),
    (partial(loader, labelled()), "empty split"),
    (partial(loader, batch_size=0), "batch size must be at least 1, got 0"),
    (partial(batches, labelled(), 4, torch.zeros(1), torch.ones(1)), "empty split"),
    (partial(batches, labelled(0), 0, torch.zeros(1), torch.ones(1)), "batch size must be at least 1, got 0"),
    *((partial(loader().epoch, 0, start), f"start={start} is not .* an epoch of 2 batches") for start in (-1, 3)),
    (partial(loader(seed=-1).epoch, 0), "must not be negative, got -1, 0 and 0"),
    (partial(loader().epoch, -2), "must not be negative, got 0, -2 and 0"),
    # texts
    *((partial(SequenceLoader, TEXT, b, 3), f"9 words makes 1 to 9 columns, got a batch size of {b}") for b in (0, 10)),
    (partial(SequenceLoader, TEXT, 3, 0), "the sequence length must be at least 1, got 0"),
    (partial(SequenceLoader, Split(VALUES.long(), VALUES), 3, 3), r"a text is \(N,\) int64, got inputs \(3, 1\)"),
    (partial(SequenceLoader, Split(ASPECTS, ASPECTS), 3, 3), r"a text is \(N,\) int64, got .* torch.float32"),
    (partial(SequenceLoader(TEXT, 2, 2).epoch, 0, 3), "start=3 is not a position in an epoch of 2 batches"),
    # the register
    (partial(load, "cifar_100"), "no data set is called 'cifar_100'; did you mean.*cifar100"),
    (partial(load, "toy", subset=5), "subset=5 balances classes, but toy is a regression task"),
    (partial(load, "pydoc", subset=5), "subset=5 balances classes, but pydoc is a language_modelling task"),
    (partial(load, "digits", subset=2000), "subset of 2000 samples from 1097"),
    (partial(register("digits"), lambda root: None), "'digits' is registered twice"),
    (partial(register, "a/b"), "made of letters, digits, '_', '.' and '-', not 'a/b'"),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
