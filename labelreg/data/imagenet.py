"""ImageNet (Russakovsky et al., 2015) and its subset TinyImageNet; their test splits are those for validation."""

import functools
from collections.abc import Mapping

from labelreg.data.archives import Files
from labelreg.data.framing import Framing
from labelreg.data.photographs import Collection, Listing, Original, load_photographs
from labelreg.data.registry import register


def _list_tinyimagenet(files: Mapping[str, Files]) -> Listing:
    archive, top = files["tiny-imagenet-200.zip"], "tiny-imagenet-200"
    wnids = sorted(archive.text(f"{top}/wnids.txt"))  # torchvision's order of folders
    index = {wnid: position for position, wnid in enumerate(wnids)}
    training, test = [], []
    for name in sorted(archive.names):
        match name.split("/"):
            case [_, "train", wnid, "images", file] if wnid in index and file.endswith(".JPEG"):
                training.append((name, index[wnid]))
    for line in archive.text(f"{top}/val/val_annotations.txt"):
        file, wnid, *_ = [*line.split("\t"), ""]
        if wnid not in index:
            raise ValueError(f"{archive.path} puts {file} into {wnid!r}, not listed in wnids.txt")
        test.append((f"{top}/val/images/{file}", index[wnid]))
    words = dict(line.split("\t", 1) for line in archive.text(f"{top}/words.txt") if "\t" in line)
    return Listing({"train": training, "test": test}, tuple(words.get(wnid, wnid) for wnid in wnids))


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


def _list_imagenet(files: Mapping[str, Files]) -> Listing:
    folders = {"train": files["train"], "test": files["val"]}
    names = {split: [name for name in sorted(each.names) if name.endswith(".JPEG")] for split, each in folders.items()}
    return Listing.by_folder(names)


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
