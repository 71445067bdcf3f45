"""CIFAR-10, CIFAR-100 and Fashion-MNIST, each read from one .npz archive that is made from torchvision's files."""

import functools
from pathlib import Path

import numpy as np
import torch

from labelreg.data.dataset import Dataset, Split
from labelreg.data.registry import register
from labelreg.names import one_line
from labelreg.paths import atomic_write

CIFAR100_SUPERCLASSES = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}
SUPERCLASS = {name: group for group, names in CIFAR100_SUPERCLASSES.items() for name in names.split()}

# class of torchvision.datasets, shape of an image (H, W, C), number of classes
SOURCES = {
    "cifar10": ("CIFAR10", (32, 32, 3), 10),  # Krizhevsky (2009): 50,000 and 10,000 images
    "cifar100": ("CIFAR100", (32, 32, 3), 100),  # the same numbers, and 20 superclasses
    "fashion_mnist": ("FashionMNIST", (28, 28, 1), 10),  # Xiao, Rasul and Vollgraf (2017): 60,000 and 10,000
}


def load_images(name: str, root: Path) -> Dataset:
    """Read images as (N, C, H, W) uint8, channels-last in memory, from ``root/name.npz``, which is made if missing."""
    torchvision_name, shape, num_classes = SOURCES[name]
    path = root / f"{name}.npz"
    if not path.exists():
        convert(path, torchvision_name, shape, num_classes)
    arrays = read_archive(path, shape, num_classes)
    train, test = (
        Split(torch.from_numpy(arrays[f"x_{split}"]).permute(0, 3, 1, 2), torch.from_numpy(arrays[f"y_{split}"]))
        for split in ("train", "test")
    )
    classes = tuple(arrays["classes"].tolist())
    superclasses = tuple(SUPERCLASS[each] for each in classes) if SUPERCLASS.keys() >= set(classes) else ()
    return Dataset(name, train, test, classes, augmentation="crop_flip", superclasses=superclasses)


def convert(path: Path, torchvision_name: str, shape: tuple[int, int, int], num_classes: int) -> None:
    """Write an archive of torchvision's files, which are downloaded to the folder of ``path`` if they are missing."""
    from torchvision import datasets

    original = getattr(datasets, torchvision_name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        train, test = (original(path.parent, train=part, download=True) for part in (True, False))
    except Exception as error:  # damaged files may raise anything
        raise FileNotFoundError(
            f"there is no {path}, and torchvision's {torchvision_name} cannot be downloaded to its folder or read "
            f"there ({one_line(error)}). Remove what is damaged, and put an .npz archive of "
            f"{', '.join(_layout(shape).values())} there, or the files that torchvision downloads (see "
            "data/README.md), or name the folder that holds either by the root argument or the environment variable "
            "LABELREG_DATA."
        ) from error
    arrays = {"classes": np.array(train.classes)}
    for split, data in (("train", train), ("test", test)):
        arrays[f"x_{split}"] = np.asarray(data.data).reshape(-1, *shape)
        arrays[f"y_{split}"] = np.asarray(data.targets, dtype=np.int64)
    _check(arrays, f"torchvision's {torchvision_name} in {path.parent}", shape, num_classes)
    with atomic_write(path) as unfinished, open(unfinished, "wb") as file:
        np.savez(file, **arrays)


def read_archive(path: Path, shape: tuple[int, int, int], num_classes: int) -> dict[str, np.ndarray]:
    """Return the arrays of an archive, checked to be all there, of the right dtype and shape, and to match."""
    expected = _layout(shape)
    try:
        with np.load(path) as archive:
            arrays = {key: archive[key] for key in expected if key in archive}
    except Exception as error:  # damage may raise anything
        raise ValueError(f"{path} cannot be read as an .npz archive: {error}") from error
    if missing := expected.keys() - arrays.keys():
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; it must hold {', '.join(expected.values())}")
    _check(arrays, str(path), shape, num_classes)
    return arrays


def _check(arrays: dict[str, np.ndarray], place: str, shape: tuple[int, int, int], num_classes: int) -> None:
    """Check the arrays of an archive; ``place`` is where they come from."""
    expected = _layout(shape)
    for key, array in arrays.items():
        if array.ndim == 0 or _described(key, array.dtype, array.shape[1:]) != expected[key]:
            found = f"{list(array.shape)} {array.dtype}"
            raise ValueError(f"{key} in {place} is {found}; it must be {expected[key]}")
    if len(arrays["classes"]) != num_classes:
        raise ValueError(f"{place} names {len(arrays['classes'])} classes; it must name {num_classes}")
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if len(images) != len(labels):
            raise ValueError(f"{place} holds {len(images)} images in x_{split} but {len(labels)} labels in y_{split}")
        if ((labels < 0) | (labels >= num_classes)).any():
            found = f"{labels.min()} to {labels.max()}"
            raise ValueError(f"y_{split} in {place} has labels from {found}; they must be 0 to {num_classes - 1}")


def _layout(shape: tuple[int, int, int]) -> dict[str, str]:
    """What is in an archive of images (H, W, C), in words."""
    parts = {"x_train": (np.uint8, shape), "y_train": (np.int64, ()), "x_test": (np.uint8, shape)}
    parts |= {"y_test": (np.int64, ()), "classes": (np.str_, ())}
    return {key: _described(key, np.dtype(dtype), sample) for key, (dtype, sample) in parts.items()}


def _described(key: str, dtype: np.dtype, sample: tuple[int, ...]) -> str:
    return f"{key} [{', '.join(map(str, ('N', *sample)))}] {dtype.type.__name__.strip('_')}"


for _name in SOURCES:
    register(_name)(functools.partial(load_images, _name))
