"""Data sets of photographs: decoded once, resized to squares, and then memory-mapped from arrays on disk."""

import hashlib
import io
import os
import shutil
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from labelreg.data.archives import Files, open_files
from labelreg.data.dataset import Dataset, Split
from labelreg.data.framing import Framing

CHUNK = 256  # photographs between two records of progress
PROGRESS_SECONDS = 10.0
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Original:
    """A published file or folder."""

    file: str
    url: str | None = None  # None if it can only be had on request
    md5: str | None = None  # None if it is not published
    unpacked: str | None = None  # a file or folder inside it: where it is found, the unpacked files are read


@dataclass(frozen=True)
class Listing:
    """The content of a data set: file and class index of each sample, per split, and the class names."""

    samples: Mapping[str, list[tuple[str, int]]]
    classes: tuple[str, ...]

    @classmethod
    def by_folder(cls, names: Mapping[str, Iterable[str]], prefix: str = "") -> "Listing":
        """List files, per split, whose classes are their folders, numbered in alphabetical order."""
        folders = sorted({name.partition("/")[0] for listed in names.values() for name in listed})
        index = {folder: position for position, folder in enumerate(folders)}
        samples = {
            split: [(prefix + name, index[name.partition("/")[0]]) for name in listed]
            for split, listed in names.items()
        }
        return cls(samples, tuple(folder.replace("_", " ") for folder in folders))


@dataclass(frozen=True)
class Collection:
    """How a data set of photographs is made.

    Attributes:
        originals: its files, in the folder ``name`` of the raw data.
        list_samples: function from the opened originals, by file name, to the content of the data set.
        sizes: number of samples of the training and the test split.
        stored: height and width of the stored squares, in pixels.
    """

    name: str
    originals: tuple[Original, ...]
    list_samples: Callable[[Mapping[str, Files]], Listing]
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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
    return Split(inputs, torch.from_numpy(targets), torch.from_numpy(aspects), collection.framing)


def _read_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic], mapped: bool = False) -> np.ndarray:
    remedy = f"remove the folder {path.parent} to have it made again"
    try:
        array = np.load(path, mmap_mode="r" if mapped else None)
    except Exception as error:  # damage may raise anything
        raise ValueError(f"{path} cannot be read as an array ({error}); {remedy}") from error
    if array.shape != shape or not np.issubdtype(array.dtype, dtype):
        expected = f"{list(shape)} {np.dtype(dtype).name}"
        raise ValueError(f"{path} is {list(array.shape)} {array.dtype}; it must be {expected}: {remedy}")
    return array


def convert(collection: Collection, root: Path, folder: Path) -> None:
    """Decode every photograph, resize it to a square, and write them as arrays; too little space raises ``OSError``.

    An interrupted conversion resumes where it stopped; the folder appears when all is done. If several processes
    convert the same data set, one does and the others wait.
    """
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")), ExitStack() as stack:
        if folder.exists():
            return
        paths = {each.file: _find(collection, each, root / collection.name) for each in collection.originals}
        opened = {path: stack.enter_context(open_files(path)) for path in dict.fromkeys(paths.values())}
        listing = collection.list_samples({file: opened[path] for file, path in paths.items()})
        _check(collection, listing, opened.values())
        unfinished = _Unfinished(collection, listing, folder.with_name(f"{folder.name}.part"))
        unfinished.write(opened.values())
        os.replace(unfinished.folder, folder)
        for name in _Unfinished.progress:
            (folder / name).unlink()


def _find(collection: Collection, original: Original, folder: Path) -> Path:
    """The path of an original: the folder if it is unpacked, else the file, downloaded and checked."""
    from torchvision.datasets.utils import check_integrity, download_url

    if original.unpacked and (folder / original.unpacked).exists():
        return folder
    if (path := folder / original.file).exists():
        if original.md5 and not check_integrity(str(path), original.md5):
            raise ValueError(f"{path} is not the published file: its MD5 checksum must be {original.md5}")
        return path
    reason = "can only be had on request"
    if original.url:
        partial = path.with_name(f"{path.name}.part")
        partial.unlink(missing_ok=True)  # half a download would pass for the whole
        try:
            download_url(original.url, folder, partial.name, original.md5)
            return partial.replace(path)
        except (OSError, RuntimeError) as error:
            reason = f"cannot be downloaded from {original.url} ({error})"
    unpacked = f", or {original.unpacked} unpacked from it," if original.unpacked else ""
    name = collection.name
    raise FileNotFoundError(
        f"{name} needs {original.file}, which is not in {folder} and {reason}. Put it{unpacked} there, or name the "
        f"folder that holds the folder {name} or {name}-{collection.stored}, its converted copy, by the root argument "
        "or the environment variable LABELREG_DATA (see data/README.md)."
    )


def _check(collection: Collection, listing: Listing, files: Iterable[Files]) -> None:
    """Check that the originals have the classes, samples and files of the published data set."""
    where = " and ".join(str(each.path) for each in files)
    if len(listing.classes) != collection.num_classes:
        raise ValueError(f"{where} name {len(listing.classes)} classes; they must name {collection.num_classes}")
    there = {name for each in files for name in each.names}
    for split, size in zip(SPLITS, collection.sizes, strict=True):
        samples = listing.samples[split]
        if len(samples) != size:
            raise ValueError(f"{where} list {len(samples)} photographs for the {split} split; they must list {size}")
        if absent := [name for name, _ in samples if name not in there]:
            raise ValueError(f"{where} lack {len(absent)} photographs of the {split} split, such as {absent[0]}")
        if wrong := [name for name, label in samples if not 0 <= label < collection.num_classes]:
            raise ValueError(f"{where} give {wrong[0]} no valid class; classes are 1 to {collection.num_classes}")


class _Unfinished:
    """A conversion in progress, maybe of an earlier process: arrays of their final size, and which rows are done."""

    progress = ("listing.sha256", *(f"{split}_done.npy" for split in SPLITS))  # files to remove at the end

    def __init__(self, collection: Collection, listing: Listing, folder: Path):
        self.collection, self.listing, self.folder = collection, listing, folder
        note = folder / self.progress[0]
        digest = hashlib.sha256(repr((dict(listing.samples), listing.classes)).encode()).hexdigest()
        resumed = note.exists() and note.read_text() == digest
        if not resumed:
            shutil.rmtree(folder, ignore_errors=True)
            self._check_space()
            folder.mkdir()

        square = (collection.stored, collection.stored, 3)
        layout = {"images": (np.uint8, square), "aspects": (np.float32, ()), "done": (np.bool_, ())}
        mode = "r+" if resumed else "w+"
        self._arrays = {
            split: {
                name: np.lib.format.open_memmap(folder / f"{split}_{name}.npy", mode, dtype, (size, *shape))
                for name, (dtype, shape) in layout.items()
            }
            for split, size in zip(SPLITS, collection.sizes, strict=True)
        }
        if not resumed:
            for split in SPLITS:
                labels = [label for _, label in listing.samples[split]]
                np.save(folder / f"{split}_targets.npy", np.array(labels, np.int64))
            np.save(folder / "classes.npy", np.array(listing.classes))
            note.write_text(digest)

    def write(self, files: Iterable[Files]) -> None:
        """Convert what is left, in the order of the archives."""
        rows = defaultdict(list)  # per file, which may be listed more than once
        for split in SPLITS:
            for row in (~self._arrays[split]["done"]).nonzero()[0].tolist():
                rows[self.listing.samples[split][row][0]].append((split, row))
        left = [(each, name, *place) for each in files for name in each.names for place in rows.get(name, ())]
        total, told = sum(self.collection.sizes), time.monotonic()
        with ThreadPoolExecutor() as pool:
            for first in range(0, len(left), CHUNK):
                self._write_chunk(left[first : first + CHUNK], pool)
                if time.monotonic() - told > PROGRESS_SECONDS:
                    told = time.monotonic()
                    done = total - len(left) + min(first + CHUNK, len(left))
                    print(f"{self.collection.name}: {done:,} of {total:,} photographs converted", flush=True)

    def _write_chunk(self, chunk: list[tuple[Files, str, str, int]], pool: ThreadPoolExecutor) -> None:
        contents = ((files.read(name), f"{name} in {files.path}", self.collection.stored) for files, name, *_ in chunk)
        squashed = pool.map(lambda arguments: squash(*arguments), contents)
        for (_, _, split, row), (pixels, aspect) in zip(chunk, squashed, strict=True):
            self._arrays[split]["images"][row] = pixels
            self._arrays[split]["aspects"][row] = aspect
        for arrays in self._arrays.values():
            arrays["images"].flush()
            arrays["aspects"].flush()
        for _, _, split, row in chunk:  # after the flush: what is marked as done is on disk
            self._arrays[split]["done"][row] = True

    def _check_space(self) -> None:
        """A disk that fills up while a memory-mapped file is written would kill the process."""
        needed = sum(self.collection.sizes) * 3 * self.collection.stored**2
        if (free := shutil.disk_usage(self.folder.parent).free) < needed:
            space = f"needs {needed / 1e9:.1f} GB once converted, and {self.folder.parent} has {free / 1e9:.1f} GB left"
            raise OSError(f"{self.collection.name} {space}")


def squash(content: bytes, source: str, side: int) -> tuple[np.ndarray, float]:
    """Decode an image file and resize it; return pixels (side, side, 3) uint8 and the original's width over height."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            # bicubic: of Pillow's filters the one that comes closest to crops of the original
            pixels = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            return np.asarray(pixels), image.width / image.height
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{source} cannot be decoded as an image: {error}") from error
