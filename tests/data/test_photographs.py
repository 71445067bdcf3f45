"""Data sets of photographs: made from archives laid out like the published ones, and from some that are not."""

import hashlib
import io
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import utils

from labelreg.data import fine_grained, imagenet, load, photographs

SIDE = 12
MODULES = {
    "cub200": (fine_grained, "CUB200"),
    "stanford_dogs": (fine_grained, "STANFORD_DOGS"),
    "mit67": (fine_grained, "MIT67"),
    "tinyimagenet": (imagenet, "TINYIMAGENET"),
    "imagenet": (imagenet, "IMAGENET"),
}
NAMES = list(MODULES)
DOWNLOADED = [name for name in NAMES if name != "imagenet"]
DOG_FILES = ["n02-Toy_Poodle/n02_7.jpg", "n01-Chihuahua/n01_1.jpg", "n01-Chihuahua/n01_2.jpg"]


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def picture(number: int, width: int = 20, height: int = 16, mode: str = "RGB", kind: str = "PNG") -> bytes:
    """An image file of one colour, which tells its number: (number, 255 - number, 7)."""
    colour = number if mode == "L" else (number, 255 - number, 7)
    return encoded(Image.new(mode, (width, height), colour), kind)


def numbers(split) -> list[int]:
    """The numbers of the pictures in a split."""
    assert (split.inputs == split.inputs[:, :, :1, :1]).all()
    return split.inputs[:, 0, 0, 0].tolist()


def matlab(files: list[str], labels: list[int]) -> bytes:
    """Lists of files and labels as columns of a MATLAB file."""
    file = io.BytesIO()
    cells = np.empty((len(files), 1), object)
    cells[:, 0] = files
    savemat(file, {"file_list": cells, "labels": np.array(labels, np.uint8)[:, None]})
    return file.getvalue()


def cub200_files() -> dict[str, dict[str, bytes]]:
    top = "CUB_200_2011"
    birds = ["002.Laysan_Albatross/b.jpg", "001.Black_Bird/c.jpg", "001.Black_Bird/a.jpg", "002.Laysan_Albatross/d.jpg"]
    return {
        "CUB_200_2011.tgz": {
            "./attributes.txt": b"1 has_bill",
            f"{top}/images/{birds[2]}": picture(30, kind="JPEG"),
            f"{top}/images/{birds[1]}": picture(20),
            f"{top}/images/{birds[0]}": picture(10, width=30, height=20),
            f"{top}/images.txt": "\n".join(f"{i + 1} {name}" for i, name in enumerate(birds)).encode(),
            f"{top}/image_class_labels.txt": b"1 2\n2 1\n3 1\n4 2\n",
            f"{top}/train_test_split.txt": b"1 1\n2 0\n3 1\n4 1\n",
            f"{top}/classes.txt": b"1 001.Black_Bird\n2 002.Laysan_Albatross\n",
            f"{top}/images/{birds[3]}": picture(40, width=10, height=20),
        }
    }


def stanford_dogs_files() -> dict[str, dict[str, bytes]]:
    dogs = [*DOG_FILES, "n02-Toy_Poodle/n02_1.jpg"]
    return {
        "images.tar": {f"Images/{name}": picture(10 * (i + 1)) for i, name in enumerate(dogs)},
        "lists.tar": {
            "file_list.mat": matlab(dogs, [2, 1, 1, 2]),
            "train_list.mat": matlab(dogs[:3], [2, 1, 1]),
            "test_list.mat": matlab(dogs[3:], [2]),
        },
    }


def mit67_files() -> dict[str, dict[str, bytes] | bytes]:
    rooms = ["wine_cellar/b.jpg", "airport_inside/a b.jpg", "airport_inside/c.jpg", "wine_cellar/d.jpg"]
    pictures = {f"Images/{name}": picture(10 * (i + 1)) for i, name in enumerate(rooms)}
    return {
        "indoorCVPR_09.tar": pictures | {"Images/airport_inside/in_no_list.jpg": picture(99)},
        "TrainImages.txt": "\r\n".join(rooms[:3]).encode(),
        "TestImages.txt": f"{rooms[3]}\n".encode(),
    }


def tinyimagenet_files() -> dict[str, dict[str, bytes]]:
    top = "tiny-imagenet-200"
    return {
        "tiny-imagenet-200.zip": {
            f"{top}/": b"",
            f"{top}/wnids.txt": b"n02\nn01\n",
            f"{top}/words.txt": b"n01\tgoldfish, Carassius auratus\nn02\tbullfrog\nn99\tnothing here\n",
            f"{top}/train/n02/images/n02_0.JPEG": picture(10, mode="L"),
            f"{top}/train/n01/images/n01_10.JPEG": picture(20),
            f"{top}/train/n01/images/n01_0.JPEG": picture(30),
            f"{top}/train/n01/n01_boxes.txt": b"n01_0.JPEG\t0\t0\t63\t63\n",
            f"{top}/val/images/val_0.JPEG": picture(40),
            f"{top}/val/val_annotations.txt": b"val_0.JPEG\tn02\t0\t32\t44\t62\n",
            f"{top}/test/images/test_0.JPEG": picture(99),
        }
    }


def imagenet_files() -> dict[str, dict[str, bytes]]:
    return {
        "train": {"n02/n02_1.JPEG": picture(10), "n01/n01_3.JPEG": picture(20), "n01/n01_12.JPEG": picture(30)},
        "val": {"n02/ILSVRC2012_val_00000001.JPEG": picture(40), "n01/notes.txt": b"no photograph"},
    }


FILES = {name: globals()[f"{name}_files"] for name in NAMES}
# numbers of the training pictures, their labels, the label of the test picture 40 (20 for the birds), the classes
EXPECTED = {
    "cub200": ([10, 30, 40], [1, 0, 1], [20], [0], ("Black Bird", "Laysan Albatross")),
    "stanford_dogs": ([10, 20, 30], [1, 0, 0], [40], [1], ("Chihuahua", "Toy Poodle")),
    "mit67": ([10, 20, 30], [1, 0, 0], [40], [1], ("airport inside", "wine cellar")),
    "tinyimagenet": ([30, 20, 10], [0, 0, 1], [40], [1], ("goldfish, Carassius auratus", "bullfrog")),
    "imagenet": ([30, 20, 10], [0, 0, 1], [40], [1], ("n01", "n02")),
}


def pack(content: dict[str, bytes] | bytes, path: Path) -> None:
    """Write files as the archive, the folder or the single file that the path's name stands for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    elif path.suffix in (".tar", ".tgz"):
        with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
            for name, data in content.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    else:
        unpack(content, path)


def unpack(content: dict[str, bytes], folder: Path) -> None:
    for name, data in content.items():
        if not name.endswith("/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(utils, "download_url", refuse)


@pytest.fixture
def publish(monkeypatch, offline):
    """A function that lays the small archives of a data set into a folder and lets them pass for the published ones."""

    def make(name: str, folder: Path, files: dict | None = None, side: int = SIDE) -> None:
        files = FILES[name]() if files is None else files
        for file, content in files.items():
            pack(content, folder / file)
        module, constant = MODULES[name]
        collection = getattr(module, constant)
        originals = tuple(
            replace(each, md5=each.md5 and hashlib.md5((folder / each.file).read_bytes()).hexdigest())
            for each in collection.originals
        )
        small = replace(collection, originals=originals, sizes=(3, 1), num_classes=2, stored=side)
        monkeypatch.setattr(module, constant, small)

    return make


@pytest.mark.parametrize("name", NAMES)
class TestLoading:
    def check(self, dataset, name):
        train, train_labels, test, test_labels, classes = EXPECTED[name]
        # JPEG is not exact
        assert np.abs(np.subtract(numbers(dataset.train), train)).max() <= 1
        assert dataset.train.targets.tolist() == train_labels
        assert (numbers(dataset.test), dataset.test.targets.tolist()) == (test, test_labels)
        assert dataset.classes == classes

    def test_archives_are_converted_once_and_then_read_back(self, name, publish, tmp_path, monkeypatch):
        publish(name, tmp_path / name)
        before = {path: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        dataset = load(name, root=tmp_path)
        self.check(dataset, name)
        assert dataset.train.inputs.dtype == torch.uint8
        assert dataset.train.inputs.shape == (3, 3, SIDE, SIDE)
        assert dataset.train.inputs.is_contiguous(memory_format=torch.channels_last)
        assert dataset.input_shape == ((3, 32, 32) if name == "tinyimagenet" else (3, 224, 224))
        assert (dataset.name, dataset.augmentation) == (name, "resized_crop_flip")
        assert {path: path.read_bytes() for path in before} == before
        arrays = {f"{split}_{what}.npy" for split in ("train", "test") for what in ("images", "aspects", "targets")}
        assert {path.name for path in (tmp_path / f"{name}-{SIDE}").iterdir()} == {"classes.npy", *arrays}
        shutil.rmtree(tmp_path / name)  # they are not needed any more
        monkeypatch.setattr(photographs, "convert", None)
        self.check(load(name, root=tmp_path), name)

    def test_unpacked_they_are_the_same(self, name, publish, tmp_path):
        publish(name, tmp_path / "elsewhere")
        for file, content in FILES[name]().items():
            if isinstance(content, bytes) or name == "imagenet":
                pack(content, tmp_path / name / file)
            else:
                unpack(content, tmp_path / name)
        self.check(load(name, root=tmp_path), name)

    def test_one_that_is_missing_is_named_with_where_it_must_lie(self, name, publish, tmp_path):
        publish(name, tmp_path / name)
        last = list(FILES[name]())[-1]
        path = tmp_path / name / last
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        reason = "can only be had on request" if name == "imagenet" else ".*no network in this test.*"
        message = rf"{name} needs {last}, which is not in {path.parent} and {reason}.*LABELREG_DATA"
        with pytest.raises(FileNotFoundError, match=message):
            load(name, root=tmp_path)

    def test_a_photograph_that_is_no_image_is_named(self, name, publish, tmp_path):
        files = FILES[name]()
        archive = next(iter(files))
        inside = next(key for key, data in files[archive].items() if data == picture(20))
        files[archive][inside] = b"no image"
        publish(name, tmp_path / name, files)
        with pytest.raises(ValueError, match=rf"{inside} in {tmp_path / name / archive} cannot be decoded"):
            load(name, root=tmp_path)

    def test_other_numbers_than_the_published_are_refused(self, name, publish, tmp_path, monkeypatch):
        publish(name, tmp_path / name)
        module, constant = MODULES[name]
        small = getattr(module, constant)
        monkeypatch.setattr(module, constant, replace(small, sizes=(3, 2)))
        with pytest.raises(ValueError, match="list 1 photographs for the test split; they must list 2"):
            load(name, root=tmp_path)
        monkeypatch.setattr(module, constant, replace(small, num_classes=3))
        with pytest.raises(ValueError, match="name 2 classes; they must name 3"):
            load(name, root=tmp_path)

    def test_a_converted_copy_of_other_numbers_is_refused(self, name, publish, tmp_path):
        publish(name, tmp_path / name)
        load(name, root=tmp_path)
        path = tmp_path / f"{name}-{SIDE}" / "train_aspects.npy"
        np.save(path, np.ones(4, np.float32))
        with pytest.raises(ValueError, match=rf"{path} is \[4\] float32; it must be \[3\] float32: remove the folder"):
            load(name, root=tmp_path)
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(ValueError, match=rf"{path} cannot be read as an array"):
            load(name, root=tmp_path)


@pytest.mark.parametrize("name", DOWNLOADED)
class TestOriginals:
    def test_a_photograph_that_is_listed_and_missing_is_named(self, name, publish, tmp_path):
        files = FILES[name]()
        archive = next(iter(files))
        inside = next(key for key, data in files[archive].items() if data == picture(20))
        del files[archive][inside]
        publish(name, tmp_path / name, files)
        listed = "list 2 photographs for the train split" if name == "tinyimagenet" else f"lack 1 .* such as {inside}"
        with pytest.raises(ValueError, match=listed):
            load(name, root=tmp_path)
        assert not list(tmp_path.glob(f"{name}-*.part"))

    def test_are_downloaded_where_they_are_missing(self, name, publish, tmp_path, monkeypatch):
        publish(name, tmp_path / "server")
        asked = []

        def download(url, root, filename, md5):
            asked.append((url, md5))
            Path(root).mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "server" / filename.removesuffix(".part"), Path(root) / filename)

        monkeypatch.setattr(utils, "download_url", download)
        module, constant = MODULES[name]
        assert len(load(name, root=tmp_path).train) == 3
        assert asked == [(each.url, each.md5) for each in getattr(module, constant).originals]
        assert not list(tmp_path.rglob("*.part"))

    def test_a_torn_download_leaves_nothing_that_passes_for_the_whole(self, name, publish, tmp_path, monkeypatch):
        publish(name, tmp_path / "server")

        def tear(url, root, filename, md5):
            path = Path(root) / filename
            assert not path.exists(), "without a checksum, torchvision would take it for the whole"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
            raise OSError("connection lost")

        monkeypatch.setattr(utils, "download_url", tear)
        for _ in range(2):
            with pytest.raises(FileNotFoundError, match="connection lost"):
                load(name, root=tmp_path)
            assert not (tmp_path / name / next(iter(FILES[name]()))).exists()

    def test_one_that_is_cut_off_is_named_and_left_alone(self, name, publish, tmp_path, monkeypatch):
        publish(name, tmp_path / name)
        path = tmp_path / name / next(iter(FILES[name]()))
        content = path.read_bytes()
        content = content[: 1000 if path.suffix == ".tar" else len(content) // 2]  # a tar ends in a lot of padding
        path.write_bytes(content)
        damaged = rf"{path} is not the published file: its MD5"
        with pytest.raises(ValueError, match=rf"{path} is damaged or cut short" if name == "mit67" else damaged):
            load(name, root=tmp_path)
        assert path.read_bytes() == content
        # and without a checksum, each by its own format
        module, constant = MODULES[name]
        collection = getattr(module, constant)
        unchecked = replace(collection, originals=tuple(replace(each, md5=None) for each in collection.originals))
        monkeypatch.setattr(module, constant, unchecked)
        with pytest.raises(ValueError, match=rf"{path} is damaged or cut short"):
            load(name, root=tmp_path)
        assert [each.name for each in tmp_path.glob(f"{name}-*")] == [f"{name}-{SIDE}.lock"]


BIRDS, TINY = "CUB_200_2011", "tiny-imagenet-200"
BROKEN_LISTS = {
    "no list": ("cub200", f"{BIRDS}/train_test_split.txt", None, "lacks .*train_test_split.txt"),
    "half a line": ("cub200", f"{BIRDS}/images.txt", b"1 a/b.jpg\n2\n", "must have two words per line"),
    "fewer lines": ("cub200", f"{BIRDS}/image_class_labels.txt", b"1 2\n", "not of the same"),
    "no text": ("cub200", f"{BIRDS}/images.txt", b"\xff\xfe\xfd", "images.txt in .* is not UTF-8 text"),
    "no MATLAB": ("stanford_dogs", "train_list.mat", b"nothing", "train_list.mat in .* is not a list of files"),
    "no matrix": ("stanford_dogs", "test_list.mat", None, "lists.tar lacks test_list.mat"),
    "class 5 of 2": (
        "stanford_dogs",
        "train_list.mat",
        matlab(DOG_FILES, [5, 2, 2]),
        f"Images/{DOG_FILES[0]} no valid",
    ),
    "unknown class": (
        "tinyimagenet",
        f"{TINY}/val/val_annotations.txt",
        b"val_0.JPEG\tn07\t0\t0\t1\t1\n",
        "puts val_0.JPEG into 'n07', not listed",
    ),
}


@pytest.mark.parametrize("kind", BROKEN_LISTS)
def test_lists_that_are_not_what_they_must_be(kind, publish, tmp_path):
    name, inside, content, message = BROKEN_LISTS[kind]
    files = FILES[name]()
    archive = next(archive for archive, inner in files.items() if inside in inner)
    files[archive].pop(inside)
    if content is not None:
        files[archive][inside] = content
    publish(name, tmp_path / name, files)
    with pytest.raises(ValueError, match=message):
        load(name, root=tmp_path)


class TestConversion:
    def test_keeps_aspects_and_resizes_each_axis(self, publish, tmp_path):
        publish("cub200", tmp_path / "cub200")
        dataset = load("cub200", root=tmp_path)
        assert dataset.train.aspects.tolist() == pytest.approx([1.5, 1.25, 0.5])
        assert dataset.test.aspects.tolist() == pytest.approx([1.25])
        gradient = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (60, 1))
        pixels, aspect = photographs.squash(encoded(Image.fromarray(gradient)), "gradient", 24)
        assert aspect == 2
        expected = np.tile(np.arange(4, 240, 10)[None, 1:-1, None], (24, 1, 3))
        np.testing.assert_allclose(pixels[:, 1:-1], expected, atol=1)

    def test_tiny_images_are_stored_as_they_are(self):
        pixels = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
        stored, _ = photographs.squash(encoded(Image.fromarray(pixels)), "noise", imagenet.TINYIMAGENET.stored)
        np.testing.assert_array_equal(stored, pixels)

    def test_interrupted_it_goes_on_where_it_stopped(self, publish, tmp_path, monkeypatch):
        publish("cub200", tmp_path / "cub200")
        monkeypatch.setattr(photographs, "CHUNK", 1)
        squash, done = photographs.squash, []

        def two_only(content, source, side):
            if len(done) == 2:
                raise KeyboardInterrupt
            done.append(source)
            return squash(content, source, side)

        monkeypatch.setattr(photographs, "squash", two_only)
        with pytest.raises(KeyboardInterrupt):
            load("cub200", root=tmp_path)
        assert not (tmp_path / f"cub200-{SIDE}").exists()
        again = []
        monkeypatch.setattr(photographs, "squash", lambda *args: again.append(args[1]) or squash(*args))
        dataset = load("cub200", root=tmp_path)
        assert (len(done), len(again)) == (2, 2)
        assert not set(done) & set(again)
        TestLoading().check(dataset, "cub200")

    def test_what_another_list_has_left_is_not_gone_on_with(self, publish, tmp_path, monkeypatch):
        publish("cub200", tmp_path / "cub200")
        squash = photographs.squash
        monkeypatch.setattr(photographs, "squash", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            load("cub200", root=tmp_path)
        monkeypatch.setattr(photographs, "squash", squash)
        files = cub200_files()
        files["CUB_200_2011.tgz"]["CUB_200_2011/train_test_split.txt"] = b"1 1\n2 1\n3 0\n4 1\n"
        publish("cub200", tmp_path / "cub200", files)
        dataset = load("cub200", root=tmp_path)
        assert numbers(dataset.train) == [10, 20, 40]
        assert dataset.train.targets.tolist() == [1, 0, 1]

    def test_a_photograph_in_two_lists_is_in_both_splits(self, publish, tmp_path):
        files = mit67_files()
        files["TestImages.txt"] = b"airport_inside/c.jpg"
        publish("mit67", tmp_path / "mit67", files)
        dataset = load("mit67", root=tmp_path)
        assert (numbers(dataset.train), numbers(dataset.test)) == ([10, 20, 30], [30])

    def test_says_how_far_it_is(self, publish, tmp_path, monkeypatch, capsys):
        publish("mit67", tmp_path / "mit67")
        monkeypatch.setattr(photographs, "CHUNK", 2)
        monkeypatch.setattr(photographs, "PROGRESS_SECONDS", -1.0)
        load("mit67", root=tmp_path)
        assert capsys.readouterr().out.splitlines() == [
            "mit67: 2 of 4 photographs converted",
            "mit67: 4 of 4 photographs converted",
        ]

    def test_a_disk_that_is_too_small_is_told_beforehand(self, publish, tmp_path, monkeypatch):
        publish("mit67", tmp_path / "mit67", side=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
        with pytest.raises(OSError, match=r"mit67 needs 0.0 GB once converted, and .* has 0.0 GB left"):
            load("mit67", root=tmp_path)

    def test_files_are_mapped_not_read(self, publish, tmp_path):
        publish("cub200", tmp_path / "cub200")
        inputs = load("cub200", root=tmp_path).train.inputs
        path = tmp_path / f"cub200-{SIDE}" / "train_images.npy"
        with open(path, "r+b") as file:
            file.seek(-1, 2)
            file.write(b"\xab")
        assert inputs[-1, -1, -1, -1] == 0xAB


def test_the_published_numbers():
    """As the authors print them: so many in all, and so many of each class where they are equally many."""
    collections = {name: getattr(*MODULES[name]) for name in NAMES}
    assert {name: sum(each.sizes) for name, each in collections.items()} == {
        "cub200": 11_788,
        "stanford_dogs": 20_580,
        "mit67": 6_700,
        "tinyimagenet": 110_000,
        "imagenet": 1_331_167,
    }
    for name, split, count in (
        ("stanford_dogs", 0, 100),
        ("mit67", 0, 80),
        ("mit67", 1, 20),
        ("tinyimagenet", 0, 500),
        ("imagenet", 1, 50),
    ):
        assert collections[name].sizes[split] == count * collections[name].num_classes
