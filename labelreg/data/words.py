"""Texts read as words or as characters."""

import re
from array import array
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from labelreg.data.dataset import Dataset, Split
from labelreg.data.texts import Texts
from labelreg.names import unknown
from labelreg.networks import UNKNOWN

CHARACTERS = 1014  # number of characters of a text that are read, as by Zhang, Zhao and LeCun (2015)
BYTES = ("", *map(chr, range(1, 256)))
WORD = re.compile(r"['.,()!?]|[^\s'.,()!?;:]+")


def in_bytes(texts: list[bytes]) -> Texts:
    """Join whole texts, as their bytes of UTF-8."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    tokens = torch.frombuffer(bytearray(b"".join([*texts, b"\0"])), dtype=torch.uint8)
    starts, longest = lengths.cumsum() - lengths, max(1, int(lengths.max(initial=0)))
    return Texts(tokens, torch.from_numpy(starts), torch.from_numpy(lengths), "characters", longest, BYTES)


def read(dataset: Dataset, reading: str) -> Dataset:
    """Return a data set of whole texts as ``"words"`` or ``"characters"``.

    Texts are cut at the data set's number of words, or at 1014 characters.
    """
    if reading not in READINGS:
        raise unknown("reading of a text", reading, READINGS)
    train, test = READINGS[reading](dataset)
    return replace(dataset, train=replace(dataset.train, inputs=train), test=replace(dataset.test, inputs=test))


def split_words(text: str) -> list[str]:
    """Return the words of a text, including the marks ' . , ( ) ! ?, as prepared in fastText's examples.

    Letters are lower case; quotation marks are dropped; colons, semicolons and ``<br />`` separate words.
    """
    return WORD.findall(text.lower().replace('"', "").replace("<br />", " "))


def _in_words(dataset: Dataset) -> tuple[Texts, Texts]:
    """Number the words by how often they occur in the training texts, the most frequent first, from 2 on."""
    found = defaultdict()
    found.default_factory = found.__len__
    train = _numbered(dataset.train, found.__getitem__, dataset.words)
    words = list(found)
    by_frequency = np.argsort(-np.bincount(train.tokens[:-1], minlength=len(words)), kind="stable")
    numbers = np.zeros(max(1, len(words)), np.int32)
    numbers[by_frequency] = np.arange(len(words)) + UNKNOWN + 1
    known = dict(zip(words, numbers.tolist(), strict=False))
    vocabulary = ("", "<unk>", *(words[each] for each in by_frequency))
    test = _numbered(dataset.test, lambda word: known.get(word, UNKNOWN), dataset.words)
    train = replace(train, tokens=torch.from_numpy(numbers)[train.tokens])
    return replace(train, vocabulary=vocabulary), replace(test, vocabulary=vocabulary)


def _numbered(split: Split, number: Callable[[str], int], cut: int) -> Texts:
    texts, tokens, lengths = split.inputs, array("i"), []
    content = texts.tokens.numpy().tobytes()
    for start, length in zip(texts.starts.tolist(), texts.lengths.tolist(), strict=True):
        words = split_words(content[start : start + length].decode())[:cut]
        tokens.extend(map(number, words))
        lengths.append(len(words))
    tokens.append(0)  # texts without a word have something to be read from
    lengths = torch.tensor(lengths, device="cpu")
    flat = torch.frombuffer(tokens, dtype=torch.int32)
    return Texts(flat, lengths.cumsum(0) - lengths, lengths, "words", cut, ())


def _in_characters(dataset: Dataset) -> tuple[Texts, Texts]:
    splits = (dataset.train.inputs, dataset.test.inputs)
    return tuple(replace(each, lengths=each.lengths.clamp(max=CHARACTERS), longest=CHARACTERS) for each in splits)


READINGS = {"words": _in_words, "characters": _in_characters}
