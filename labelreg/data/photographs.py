"""Data sets of photographs: decoded once, resized to squares, and then memory-mapped from arrays on disk."""

import hashlib
import os
import shutil
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath

import numpy as np
import torch
from filelock import FileLock

from labelreg.data import downloads
from labelreg.data.dataset import Dataset, Split
from labelreg.data.framing import Framing

CHUNK = 256  # photographs between two records of progress
PROGRESS = "progress"  # a file in an unfinished folder: which photographs are converted, and how many of them
PROGRESS_SECONDS = 10.0
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Original:
    """A published file or folder."""

    file: str
    url: str | None = None  # None if it can only be had on request
    md5: str | None = None  # None if it is not published
    unpacked: str = ""  # of an archive, a file or folder inside it: if it is missing, the archive is unpacked


@dataclass(frozen=True)
class Listing:
    """The content of a data set: file and class index of each sample, per split, and the class names."""

    samples: Mapping[str, list[tuple[str, int]]]
    classes: tuple[str, ...]

    @classmethod
    def by_folder(cls, names: Mapping[str, Iterable[str]]) -> "Listing":
        """List files, per split, whose classes are their folders, numbered in alphabetical order."""
        folders = {split: [(name, PurePath(name).parent.name) for name in listed] for split, listed in names.items()}
        classes = sorted({folder for listed in folders.values() for _, folder in listed})
        index = {folder: position for position, folder in enumerate(classes)}
        samples = {split: [(name, index[folder]) for name, folder in listed] for split, listed in folders.items()}
        return cls(samples, tuple(folder.replace("_", " ") for folder in classes))


@dataclass(frozen=True)
class Collection:
    """How a data set of photographs is made.

    Attributes:
        originals: its files, in the folder ``name`` of the raw data.
        list_samples: function from that folder to the content of the data set, whose files lie there.
        sizes: number of samples of the training and the test split.
        stored: height and width of the stored squares, in pixels.
    """

    name: str
    originals: tuple[Original, ...]
    list_samples: Callable[[Path], Listing]
    sizes: tuple[int, int]
    num_classes: int
    stored: int = 384
    framing: Framing = field(default_factory=Framing)


def load_photographs(collection: Collection, root: Path) -> Dataset:
    """Memory-map a data set in the folder of raw data, and convert it first if that has not been done.

    Its inputs are (N, 3, S, S) uint8, channels-last in memory, read from disk on access, and read-only.
    """
    folder = root / f"{collection.name}-{collection.stored}"
    if not folder.exists():
        convert(collection, root, folder)
    train, test = (_read_split(collection, folder, split) for split in SPLITS)
    classes = tuple(_read_array(folder / "classes.npy", (collection.num_classes,), np.str_).tolist())
    return Dataset(collection.name, train, test, classes=classes, augmentation="resized_crop_flip")


def _read_split(collection: Collection, folder: Path, split: str) -> Split:
    count = collection.sizes[SPLITS.index(split)]
    shape = (count, collection.stored, collection.stored, 3)
    images = _read_array(folder / f"{split}_images.npy", shape, np.uint8, mapped=True)
    targets = _read_array(folder / f"{split}_targets.npy", (count,), np.int64)
    aspects = _read_array(folder / f"{split}_aspects.npy", (count,), np.float32)
    if targets.min() < 0 or targets.max() >= collection.num_classes or not (aspects > 0).all():
        raise ValueError(f"{folder} has invalid classes or aspects in its {split} split; {_remedy(folder)}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
    return Split(inputs, torch.from_numpy(targets), torch.from_numpy(aspects), collection.framing)


def _read_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic], mapped: bool = False) -> np.ndarray:
    remedy = _remedy(path.parent)
    try:
        array = np.load(path, mmap_mode="r" if mapped else None)
    except Exception as error:  # damage may raise anything
        raise ValueError(f"{path} cannot be read as an array ({error}); {remedy}") from error
    if array.shape != shape or not np.issubdtype(array.dtype, dtype):
        expected = f"{list(shape)} {np.dtype(dtype).name}"
        raise ValueError(f"{path} is {list(array.shape)} {array.dtype}; it must be {expected}: {remedy}")
    return array


def _remedy(folder: Path) -> str:
    return f"remove the folder {folder} to have it made again"


def convert(collection: Collection, root: Path, folder: Path) -> None:
    """Decode every photograph, resize it to a square, and write them as arrays; too little space raises ``OSError``.

    An interrupted conversion resumes where it stopped; the folder appears when all is done. If several processes
    convert the same data set, one does and the others wait.
    """
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if folder.exists():
            return
        source = root / collection.name
        for original in collection.originals:
            _provide(collection, original, source)
        listing = collection.list_samples(source)
        _check(collection, listing, source)
        unfinished = folder.with_name(f"{folder.name}.part")
        _write(collection, listing, source, unfinished)
        os.replace(unfinished, folder)
        (folder / PROGRESS).unlink()


def _provide(collection: Collection, original: Original, folder: Path) -> None:
    """Make sure that an original is in the folder: download and check it if needed, and unpack an archive."""
    if (folder / (original.unpacked or original.file)).exists():
        return
    unpacked = f", or {original.unpacked} unpacked from it," if original.unpacked else ""
    converted = f"{collection.name}-{collection.stored}"
    instead = f"Put {original.file}{unpacked} there, or the converted copy, {converted}, beside that folder"
    if (path := folder / original.file).exists():
        downloads.check(path, original.md5)
    else:  # a download is checked as it comes in
        downloads.fetch(path, instead, original.url, original.md5)
    if original.unpacked:
        _unpack(path)


def _unpack(archive: Path) -> None:
    """Unpack an archive into its folder, whole or not at all."""
    # the first releases of Python 3.11 cannot refuse paths that lead out of the folder
    safely = {"filter": "data"} if archive.suffix != ".zip" and hasattr(tarfile, "data_filter") else {}
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=archive.parent) as fresh:
        try:
            shutil.unpack_archive(archive, fresh, **safely)
        except Exception as error:  # damage may raise anything
            raise ValueError(f"{archive} is damaged or cut short ({error}): put a whole copy in its place") from error
        for each in Path(fresh).iterdir():
            each.replace(archive.parent / each.name)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file that are not empty."""
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: put a whole copy of the data set in its place") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error


def _check(collection: Collection, listing: Listing, source: Path) -> None:
    """Check that the originals have the classes, samples and files of the published data set."""
    if len(listing.classes) != collection.num_classes:
        raise ValueError(f"{source} has {len(listing.classes)} classes; it must have {collection.num_classes}")
    for split, size in zip(SPLITS, collection.sizes, strict=True):
        samples = listing.samples[split]
        if len(samples) != size:
            raise ValueError(f"{source} lists {len(samples)} photographs for the {split} split; it must list {size}")
        if absent := [name for name, _ in samples if not (source / name).exists()]:
            lacks = f"lacks {len(absent)} photographs of the {split} split, such as {absent[0]}"
            raise ValueError(f"{source} {lacks}: put a whole copy of the data set in its place")
        if wrong := [name for name, label in samples if not 0 <= label < collection.num_classes]:
            raise ValueError(f"{source} gives {wrong[0]} no valid class; classes are 1 to {collection.num_classes}")


def _write(collection: Collection, listing: Listing, source: Path, folder: Path) -> None:
    """Write the arrays of all photographs, from where an earlier process has stopped."""
    samples = [(split, row, name) for split in SPLITS for row, (name, _) in enumerate(listing.samples[split])]
    progress = folder / PROGRESS
    listed = hashlib.sha256(repr((dict(listing.samples), listing.classes)).encode()).hexdigest()
    before = progress.read_text().split() if progress.exists() else []
    resumed = len(before) == 2 and before[0] == listed
    if not resumed:
        shutil.rmtree(folder, ignore_errors=True)
        _check_space(collection, folder.parent)
        folder.mkdir()
    images, aspects = {}, {}
    for split, size in zip(SPLITS, collection.sizes, strict=True):
        open_array = partial(np.lib.format.open_memmap, mode="r+" if resumed else "w+")
        square = (size, collection.stored, collection.stored, 3)
        images[split] = open_array(folder / f"{split}_images.npy", dtype=np.uint8, shape=square)
        aspects[split] = open_array(folder / f"{split}_aspects.npy", dtype=np.float32, shape=(size,))
        np.save(folder / f"{split}_targets.npy", np.array([label for _, label in listing.samples[split]], np.int64))
    np.save(folder / "classes.npy", np.array(listing.classes))
    told = time.monotonic()
    with ThreadPoolExecutor() as pool:
        for first in range(int(before[1]) if resumed else 0, len(samples), CHUNK):
            chunk = samples[first : first + CHUNK]
            squashed = pool.map(lambda sample: squash(source / sample[2], collection.stored), chunk)
            for (split, row, _), (pixels, aspect) in zip(chunk, squashed, strict=True):
                images[split][row], aspects[split][row] = pixels, aspect
            for array in (*images.values(), *aspects.values()):
                array.flush()  # first: what is said to be done is on disk
            done = first + len(chunk)
            progress.write_text(f"{listed} {done}")
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                print(f"{collection.name}: {done:,} of {len(samples):,} photographs converted", flush=True)


def _check_space(collection: Collection, folder: Path) -> None:
    """A disk that fills up while a memory-mapped file is written would kill the process."""
    needed = sum(collection.sizes) * 3 * collection.stored**2
    if (free := shutil.disk_usage(folder).free) < needed:
        space = f"needs {needed / 1e9:.1f} GB once converted, and {folder} has {free / 1e9:.1f} GB left"
        raise OSError(f"{collection.name} {space}")


def squash(path: Path, side: int) -> tuple[np.ndarray, float]:
    """Decode an image file and resize it; return pixels (side, side, 3) uint8 and the original's width over height."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            # bicubic: of Pillow's filters the one that comes closest to crops of the original
            pixels = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            return np.asarray(pixels), image.width / image.height
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be decoded as an image: {error}") from error
