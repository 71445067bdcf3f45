"""ImageNet (Russakovsky et al., 2015) and its subset TinyImageNet; their test splits are the validation splits."""

import functools
from pathlib import Path

from labelreg.data.framing import Framing
from labelreg.data.photographs import Collection, Listing, Original, load_photographs, read_lines
from labelreg.data.registry import register


def _list_tinyimagenet(folder: Path) -> Listing:
    top = folder / "tiny-imagenet-200"
    wnids = sorted(read_lines(top / "wnids.txt"))  # torchvision's order of folders
    index = {wnid: position for position, wnid in enumerate(wnids)}
    training = [(file, wnid) for wnid in wnids for file in sorted((top / "train" / wnid / "images").glob("*.JPEG"))]
    test = []
    for line in read_lines(top / "val" / "val_annotations.txt"):
        file, wnid, *_ = [*line.split("\t"), ""]
        if wnid not in index:
            raise ValueError(f"{top} puts {file} into {wnid!r}, not listed in wnids.txt")
        test.append((top / "val" / "images" / file, wnid))
    samples = {
        split: [(file.relative_to(folder).as_posix(), index[wnid]) for file, wnid in listed]
        for split, listed in (("train", training), ("test", test))
    }
    words = dict(line.split("\t", 1) for line in read_lines(top / "words.txt") if "\t" in line)
    return Listing(samples, tuple(words.get(wnid, wnid) for wnid in wnids))


TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINYIMAGENET = Collection(
    "tinyimagenet",
    (Original("tiny-imagenet-200.zip", TINY_URL, "90528d7ca1a48142e341f4ef8d21d0de", "tiny-imagenet-200"),),
    _list_tinyimagenet,
    sizes=(100_000, 10_000),
    num_classes=200,
    stored=64,
    framing=Framing(side=32, centre=1.0),
)


def _list_imagenet(folder: Path) -> Listing:
    files = {split: sorted(folder.glob(f"{part}/*/*.JPEG")) for split, part in (("train", "train"), ("test", "val"))}
    return Listing.by_folder(
        {split: [each.relative_to(folder).as_posix() for each in found] for split, found in files.items()}
    )


IMAGENET = Collection(
    "imagenet",
    (Original("train"), Original("val")),
    _list_imagenet,
    sizes=(1_281_167, 50_000),
    num_classes=1_000,
    stored=320,  # 409 GB
)

for _collection in (TINYIMAGENET, IMAGENET):
    register(_collection.name)(functools.partial(load_photographs, _collection))
