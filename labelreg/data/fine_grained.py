"""Fine-grained photographs: Caltech-UCSD Birds 200-2011, Stanford Dogs and MIT Indoor 67."""

import functools
from pathlib import Path

import numpy as np

from labelreg.data.photographs import Collection, Listing, Original, load_photographs, read_lines
from labelreg.data.registry import register


def _list_cub200(folder: Path) -> Listing:
    """Every line of a list is the number of a sample, or class, and its value."""

    def column(name: str) -> dict[str, str]:
        path = folder / "CUB_200_2011" / f"{name}.txt"
        rows = [line.split() for line in read_lines(path)]
        if any(len(row) != 2 for row in rows):
            raise ValueError(f"{path} must have two words per line")
        return dict(rows)

    images, labels, training = (column(name) for name in ("images", "image_class_labels", "train_test_split"))
    classes = column("classes")
    if not images.keys() == labels.keys() == training.keys() or not set(labels.values()) <= classes.keys():
        raise ValueError(f"the lists in {folder} are not of the same photographs and classes")
    index = {number: position for position, number in enumerate(classes)}
    samples = {
        split: [(f"CUB_200_2011/images/{images[i]}", index[labels[i]]) for i in images if training[i] == marked]
        for split, marked in (("train", "1"), ("test", "0"))
    }
    # such as 001.Black_footed_Albatross
    return Listing(samples, tuple(name.partition(".")[2].replace("_", " ") for name in classes.values()))


BIRDS_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
CUB200 = Collection(  # birds: Wah et al. (2011)
    "cub200",
    (Original("CUB_200_2011.tgz", BIRDS_URL, "97eceeb196236b17998738112f37df78", "CUB_200_2011"),),
    _list_cub200,
    sizes=(5_994, 5_794),
    num_classes=200,
)


def _list_stanford_dogs(folder: Path) -> Listing:
    """The lists are MATLAB files: a column of file names and one of class numbers, from 1."""
    from scipy.io import loadmat

    samples = {}
    for split in ("train", "test"):
        path = folder / f"{split}_list.mat"
        try:
            content = loadmat(path, squeeze_me=True)
            columns = (np.atleast_1d(content[column]).tolist() for column in ("file_list", "labels"))
            samples[split] = [(f"Images/{file}", int(label) - 1) for file, label in zip(*columns, strict=True)]
        except Exception as error:  # scipy documents no exceptions
            raise ValueError(f"{path} is not a list of files and labels: {error!r}") from error
    # such as Images/n02085620-Chihuahua
    folders = {label: file.split("/")[1] for listed in samples.values() for file, label in listed}
    names = (folders[label].partition("-")[2].replace("_", " ") for label in sorted(folders))
    return Listing(samples, tuple(names))


DOGS_URL = "http://vision.stanford.edu/aditya86/ImageNetDogs"
STANFORD_DOGS = Collection(  # breeds of dogs: Khosla et al. (2011)
    "stanford_dogs",
    (
        Original("images.tar", f"{DOGS_URL}/images.tar", "1bb1f2a596ae7057f99d7d75860002ef", "Images"),
        Original("lists.tar", f"{DOGS_URL}/lists.tar", "edbb9f16854ec66506b5f09b583e0656", "train_list.mat"),
    ),
    _list_stanford_dogs,
    sizes=(12_000, 8_580),
    num_classes=120,
)


def _list_mit67(folder: Path) -> Listing:
    lists = {"train": "TrainImages.txt", "test": "TestImages.txt"}
    return Listing.by_folder(
        {split: [f"Images/{name.strip()}" for name in read_lines(folder / file)] for split, file in lists.items()}
    )


MIT67_URL = "http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar"
MIT67_LISTS_URL = "https://web.mit.edu/torralba/www"
MIT67 = Collection(  # kinds of rooms: Quattoni and Torralba (2009)
    "mit67",
    (
        Original("indoorCVPR_09.tar", MIT67_URL, unpacked="Images"),
        *(Original(name, f"{MIT67_LISTS_URL}/{name}") for name in ("TrainImages.txt", "TestImages.txt")),
    ),
    _list_mit67,
    sizes=(5_360, 1_340),
    num_classes=67,
)

for _collection in (CUB200, STANFORD_DOGS, MIT67):
    register(_collection.name)(functools.partial(load_photographs, _collection))
