"""Texts with classes: the data sets of Zhang, Zhao and LeCun (2015), 20 Newsgroups, and one that needs no files.

The files are ``NAME_csv/train.csv`` and ``NAME_csv/test.csv``, without a header. A row has the class, counted from 1,
and then columns of text, which are joined. The texts of a test set are sorted by length, so that texts of similar
length are tested together.

In AG News (the 15k subset), half of the training texts have 42 words or more, and 1 % have 91 or more; 0.6 % are cut at
100. In 20 Newsgroups, half have 206 words or more, and 10 % have 602 or more; 38 % are cut at 256. None and 48 %,
respectively, have more than 1014 characters.
"""

import csv
import functools
import re
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from labelreg.data import downloads
from labelreg.data.dataset import Dataset, Split
from labelreg.data.registry import register
from labelreg.data.words import in_bytes
from labelreg.names import printed

LONGEST_FIELD = 1 << 30  # of a CSV file, in characters: the csv module would stop at 128 KiB
SOURCE = "the CSV files that go with Zhang, Zhao and LeCun (2015)"


@dataclass(frozen=True)
class Corpus:
    """What is known about a data set of texts.

    Attributes:
        words: number of words at which a text is cut.
        line_break: what stands for the end of a line.
        originals: file to its URL and MD5, for what can be downloaded.
        superclasses: subject of each class, if classes are grouped.
    """

    name: str
    classes: tuple[str, ...]
    words: int = 256
    line_break: str = r"\n"
    source: str = SOURCE
    originals: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    superclasses: tuple[str, ...] = ()


NEWSGROUPS = Corpus(
    "20news",
    (
        *("alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware"),
        *("comp.sys.mac.hardware", "comp.windows.x", "misc.forsale", "rec.autos", "rec.motorcycles"),
        *("rec.sport.baseball", "rec.sport.hockey", "sci.crypt", "sci.electronics", "sci.med", "sci.space"),
        *("soc.religion.christian", "talk.politics.guns", "talk.politics.mideast", "talk.politics.misc"),
        "talk.religion.misc",
    ),
    source="the split by date of Lang (1995), with group, subject and text",
    # the hierarchy of the names, except that the groups about religion, which are in three, are put into one
    superclasses=(
        *("religion", *["comp"] * 5, "misc", *["rec"] * 4, *["sci"] * 4),
        *("religion", *["politics"] * 3, "religion"),
    ),
)
AG_MIRROR = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"
CORPORA = (
    Corpus(
        "ag_news",
        ("World", "Sports", "Business", "Sci/Tech"),
        words=100,
        line_break="\\",
        originals={
            "train.csv": (f"{AG_MIRROR}/train.csv", "b1a00f826fdfbd249f79597b59e1dc12"),
            "test.csv": (f"{AG_MIRROR}/test.csv", "d52ea96a97a2d943681189a97654912d"),
        },
    ),
    Corpus(
        "yahoo_answers",
        (
            *("Society & Culture", "Science & Mathematics", "Health", "Education & Reference", "Computers & Internet"),
            *("Sports", "Business & Finance", "Entertainment & Music", "Family & Relationships"),
            "Politics & Government",
        ),
        source=f"{SOURCE} (yahoo_answers_csv.tar.gz, MD5 f3f9899b997a42beb24157e62e3eea8d)",
    ),
    Corpus(
        "yelp_review_full",
        ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"),
        source=f"{SOURCE} (yelp_review_full_csv.tar.gz, MD5 f7ddfafed1033f68ec72b9267863af6c)",
    ),
    NEWSGROUPS,
)


def load_corpus(corpus: Corpus, root: Path) -> Dataset:
    """Read the texts of a data set from ``root``, whole and as bytes; how a network reads them is chosen later."""
    train, test = (_read_csv(_find(corpus, root, f"{part}.csv"), corpus) for part in ("train", "test"))
    return replace(_dataset(corpus.name, train, test, corpus.classes, corpus.words), superclasses=corpus.superclasses)


@register("docstrings")
def docstrings(root: Path) -> Dataset:
    """Paragraphs of Python's own docstrings, classified by the package of the standard library that they are in.

    Each paragraph has eight words or more and occurs once; paragraphs in two packages are left out. Every fifth is for
    testing. With Python 3.11 there are 1,796 training and 449 test paragraphs of 8 classes. The texts, and so the
    accuracy, depend on the version of Python.
    """
    library, packages = Path(sysconfig.get_path("stdlib")), PACKAGES.split()
    found: dict[str, set[int]] = {}
    for label, package in enumerate(packages):
        for file in sorted((library / package).rglob("*.py")):
            for string in DOCSTRING.findall(file.read_text("utf-8")):
                for paragraph in re.split(r"\n\s*\n", string):
                    text = " ".join(paragraph.split())
                    if text.count(" ") >= 7 and ">>>" not in text:
                        found.setdefault(text, set()).add(label)
    pairs = [(text, *labels) for text, labels in found.items() if len(labels) == 1]
    parts = ([pair for number, pair in enumerate(pairs) if (number % 5 == 4) == held] for held in (False, True))
    train, test = (_split([text.encode() for text, _ in part], [label for _, label in part]) for part in parts)
    return _dataset("docstrings", train, test, tuple(packages), 100)


PACKAGES = "asyncio email http importlib logging unittest urllib xml"
DOCSTRING = re.compile(r':\s*\n\s*[rR]?"""(.+?)"""', re.DOTALL)  # a string at the beginning of a block


def _dataset(name: str, train: Split, test: Split, classes: tuple[str, ...], words: int) -> Dataset:
    test = test.select(test.inputs.lengths.argsort(stable=True))
    return Dataset(name, train, test, classes, words=words)


def _split(texts: list[bytes], labels: list[int]) -> Split:
    return Split(in_bytes(texts), torch.tensor(labels, device="cpu"))


def _find(corpus: Corpus, root: Path, file: str) -> Path:
    instead = f"Put train.csv and test.csv of {printed(corpus.name)} into that folder, {corpus.source}"
    path = root / f"{corpus.name}_csv" / file
    downloads.fetch(path, instead, *corpus.originals.get(file, ()))
    return path


def _read_csv(path: Path, corpus: Corpus) -> Split:
    csv.field_size_limit(LONGEST_FIELD)
    rows = csv.reader(_lines(path), strict=True)
    texts, labels = [], []
    try:
        for label, *columns in filter(None, rows):
            where = f"{path}, line {rows.line_num}"
            if not columns:
                raise ValueError(f"{where}: there is one column; a class and at least one column of text are needed")
            if not (label.isdecimal() and 1 <= int(label) <= len(corpus.classes)):
                raise ValueError(f"{where}: the class must be a number from 1 to {len(corpus.classes)}, got {label!r}")
            text = " ".join(columns).replace(corpus.line_break, "\n").replace("\0", " ")
            texts.append(text.strip().encode())
            labels.append(int(label) - 1)
    except csv.Error as error:
        raise ValueError(f"{path}, line {rows.line_num}: {error}") from error
    if not texts:
        raise ValueError(f"{path} is empty; it must hold a class and a text per line")
    return _split(texts, labels)


def _lines(path: Path) -> Iterator[str]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}, line {number}: this is no UTF-8 text ({error.reason})") from error


for _corpus in CORPORA:
    register(_corpus.name)(functools.partial(load_corpus, _corpus))
