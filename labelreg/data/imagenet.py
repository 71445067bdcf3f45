"""ImageNet (Russakovsky et al., 2015) and its subset TinyImageNet."""

from collections.abc import Mapping
from pathlib import Path

from labelreg.data.archives import Files
from labelreg.data.dataset import Dataset
from labelreg.data.framing import Framing
from labelreg.data.photographs import Collection, Listing, Original, load_photographs
from labelreg.data.registry import register


@register("tinyimagenet")
def tinyimagenet(root: Path) -> Dataset:
    """TinyImageNet: 100,000 photographs of 64 x 64, and the 10,000 for validation as test split, 200 classes."""
    return load_photographs(TINYIMAGENET, root)


@register("imagenet")
def imagenet(root: Path) -> Dataset:
    """ImageNet: 1,281,167 photographs, and the 50,000 for validation as test split, 1,000 classes."""
    return load_photographs(IMAGENET, root)


def _list_tinyimagenet(files: Mapping[str, Files]) -> Listing:
    archive = files["tiny-imagenet-200.zip"]
    top = "tiny-imagenet-200"
    wnids = sorted(archive.text(f"{top}/wnids.txt"))  # torchvision's order of folders
    index = {wnid: position for position, wnid in enumerate(wnids)}
    training = []
    for name in sorted(archive.names):
        match name.split("/"):
            case [_, "train", wnid, "images", file] if wnid in index and file.endswith(".JPEG"):
                training.append((name, index[wnid]))
    test = []
    for line in archive.text(f"{top}/val/val_annotations.txt"):
        file, wnid, *_ = [*line.split("\t"), ""]
        if wnid not in index:
            raise ValueError(
                f"val_annotations.txt in {archive.path} puts {file} into {wnid!r}, not listed in wnids.txt"
            )
        test.append((f"{top}/val/images/{file}", index[wnid]))
    words = dict(line.split("\t", 1) for line in archive.text(f"{top}/words.txt") if "\t" in line)
    return Listing({"train": training, "test": test}, tuple(words.get(wnid, wnid) for wnid in wnids))


TINYIMAGENET = Collection(
    "tinyimagenet",
    (
        Original(
            "tiny-imagenet-200.zip",
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            md5="90528d7ca1a48142e341f4ef8d21d0de",
            unpacked="tiny-imagenet-200",
        ),
    ),
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
