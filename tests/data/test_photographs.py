"""Data sets of photographs: made from archives laid out like the published ones, and from some that are not."""

import copy
import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import utils

from labelreg.data import load, names, photographs, registry
from labelreg.data.fine_grained import CUB200, MIT67, STANFORD_DOGS
from labelreg.data.imagenet import IMAGENET, TINYIMAGENET

SIDE = 12
COLLECTIONS = {each.name: each for each in (CUB200, STANFORD_DOGS, MIT67, TINYIMAGENET, IMAGENET)}
DOWNLOADED = [name for name in COLLECTIONS if name != "imagenet"]


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


def matlab(files: Sequence[str], labels: list[int]) -> bytes:
    """Lists of files and labels as columns of a MATLAB file."""
    file = io.BytesIO()
    cells = np.empty((len(files), 1), object)
    cells[:, 0] = files
    savemat(file, {"file_list": cells, "labels": np.array(labels, np.uint8)[:, None]})
    return file.getvalue()


BIRDS, TINY = "CUB_200_2011", "tiny-imagenet-200"
BIRD_FILES = ("002.Tall_Bird/b.jpg", "001.Black_Bird/c.jpg", "001.Black_Bird/a.jpg", "002.Tall_Bird/d.jpg")
DOG_FILES = ("n02-Toy_Poodle/n02_7.jpg", "n01-Pug/n01_1.jpg", "n01-Pug/n01_2.jpg", "n02-Toy_Poodle/n02_1.jpg")
ROOM_FILES = ("wine_cellar/b.jpg", "airport_inside/a b.jpg", "airport_inside/c.jpg", "wine_cellar/d.jpg")
FILES = {  # per data set what is published: archive or file -> content
    "cub200": {
        "CUB_200_2011.tgz": {
            "./attributes.txt": b"1 has_bill",
            f"{BIRDS}/images/{BIRD_FILES[2]}": picture(30, kind="JPEG"),
            f"{BIRDS}/images/{BIRD_FILES[1]}": picture(20),
            f"{BIRDS}/images/{BIRD_FILES[0]}": picture(10, width=30, height=20),
            f"{BIRDS}/images.txt": "\n".join(f"{i + 1} {name}" for i, name in enumerate(BIRD_FILES)).encode(),
            f"{BIRDS}/image_class_labels.txt": b"1 2\n2 1\n3 1\n4 2\n",
            f"{BIRDS}/train_test_split.txt": b"1 1\n2 0\n3 1\n4 1\n",
            f"{BIRDS}/classes.txt": b"1 001.Black_Bird\n2 002.Tall_Bird\n",
            f"{BIRDS}/images/{BIRD_FILES[3]}": picture(40, width=10, height=20),
        }
    },
    "stanford_dogs": {
        "images.tar": {f"Images/{name}": picture(10 * (i + 1)) for i, name in enumerate(DOG_FILES)},
        "lists.tar": {
            "file_list.mat": matlab(DOG_FILES, [2, 1, 1, 2]),
            "train_list.mat": matlab(DOG_FILES[:3], [2, 1, 1]),
            "test_list.mat": matlab(DOG_FILES[3:], [2]),
        },
    },
    "mit67": {
        "indoorCVPR_09.tar": {
            **{f"Images/{name}": picture(10 * (i + 1)) for i, name in enumerate(ROOM_FILES)},
            "Images/airport_inside/in_no_list.jpg": picture(99),
        },
        "TrainImages.txt": "\r\n".join(ROOM_FILES[:3]).encode(),
        "TestImages.txt": f"{ROOM_FILES[3]}\n".encode(),
    },
    "tinyimagenet": {
        "tiny-imagenet-200.zip": {
            f"{TINY}/": b"",
            f"{TINY}/wnids.txt": b"n02\nn01\n",
            f"{TINY}/words.txt": b"n01\tgoldfish, Carassius auratus\nn02\tbullfrog\nn99\tnothing here\n",
            f"{TINY}/train/n02/images/n02_0.JPEG": picture(10, mode="L"),
            f"{TINY}/train/n01/images/n01_10.JPEG": picture(20),
            f"{TINY}/train/n01/images/n01_0.JPEG": picture(30),
            f"{TINY}/train/n01/n01_boxes.txt": b"n01_0.JPEG\t0\t0\t63\t63\n",
            f"{TINY}/val/images/val_0.JPEG": picture(40),
            f"{TINY}/val/val_annotations.txt": b"val_0.JPEG\tn02\t0\t32\t44\t62\n",
            f"{TINY}/test/images/test_0.JPEG": picture(99),
        }
    },
    "imagenet": {
        "train": {"n02/n02_1.JPEG": picture(10), "n01/n01_3.JPEG": picture(20), "n01/n01_12.JPEG": picture(30)},
        "val": {"n02/ILSVRC2012_val_00000001.JPEG": picture(40), "n01/notes.txt": b"no photograph"},
    },
}
# numbers of the training pictures, their labels, the label of the test picture 40 (20 for the birds), the classes
EXPECTED = {
    "cub200": ([10, 30, 40], [1, 0, 1], [20], [0], ("Black Bird", "Tall Bird")),
    "stanford_dogs": ([10, 20, 30], [1, 0, 0], [40], [1], ("Pug", "Toy Poodle")),
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
def publish(monkeypatch):
    """A function that lays small archives of a data set into a folder and lets them pass for the published ones."""

    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    def make(name: str, folder: Path, files: dict | None = None, **changes) -> photographs.Collection:
        for file, content in (files or FILES[name]).items():
            pack(content, folder / file)
        originals = tuple(
            replace(each, md5=each.md5 and hashlib.md5((folder / each.file).read_bytes()).hexdigest())
            for each in COLLECTIONS[name].originals
        )
        small = {"originals": originals, "sizes": (3, 1), "num_classes": 2, "stored": SIDE} | changes
        collection = replace(COLLECTIONS[name], **small)
        monkeypatch.setitem(registry._datasets, name, partial(photographs.load_photographs, collection))
        return collection

    monkeypatch.setattr(utils, "download_url", refuse)
    return make


def check(dataset, name):
    train, train_labels, test, test_labels, classes = EXPECTED[name]
    assert np.abs(np.subtract(numbers(dataset.train), train)).max() <= 1  # JPEG is not exact
    assert dataset.train.targets.tolist() == train_labels
    assert (numbers(dataset.test), dataset.test.targets.tolist()) == (test, test_labels)
    assert dataset.classes == classes


@pytest.mark.parametrize("name", COLLECTIONS)
class TestLoading:
    def test_archives_are_converted_once_and_then_read_back(self, name, publish, tmp_path, monkeypatch):
        publish(name, tmp_path / name)
        before = {path: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        dataset = load(name, root=tmp_path)
        check(dataset, name)
        assert (dataset.train.inputs.dtype, dataset.train.inputs.shape) == (torch.uint8, (3, 3, SIDE, SIDE))
        assert dataset.train.inputs.is_contiguous(memory_format=torch.channels_last)
        assert dataset.input_shape == ((3, 32, 32) if name == "tinyimagenet" else (3, 224, 224))
        assert (dataset.name, dataset.augmentation) == (name, "resized_crop_flip")
        assert {path: path.read_bytes() for path in before} == before
        arrays = {f"{split}_{what}.npy" for split in ("train", "test") for what in ("images", "aspects", "targets")}
        assert {path.name for path in (tmp_path / f"{name}-{SIDE}").iterdir()} == {"classes.npy", *arrays}
        shutil.rmtree(tmp_path / name)  # they are not needed any more
        monkeypatch.setattr(photographs, "convert", None)
        check(load(name, root=tmp_path), name)

    def test_unpacked_they_are_the_same(self, name, publish, tmp_path):
        publish(name, tmp_path / "elsewhere")
        for file, content in FILES[name].items():
            packed = isinstance(content, bytes) or name == "imagenet"
            pack(content, tmp_path / name / file) if packed else unpack(content, tmp_path / name)
        check(load(name, root=tmp_path), name)

    def test_one_that_is_missing_is_named_with_where_it_must_lie(self, name, publish, tmp_path):
        publish(name, tmp_path / name)
        path = tmp_path / name / list(FILES[name])[-1]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        reason = "" if name == "imagenet" else ".*no network in this test.*"
        message = rf"there is no {path}{reason}. Put {path.name}.*{name}-{SIDE}.*LABELREG_DATA"
        with pytest.raises(FileNotFoundError, match=message):
            load(name, root=tmp_path)

    def test_other_numbers_than_the_published_are_refused(self, name, publish, tmp_path):
        publish(name, tmp_path / name, sizes=(3, 2))
        with pytest.raises(ValueError, match="lists 1 photographs for the test split; it must list 2"):
            load(name, root=tmp_path)
        publish(name, tmp_path / name, num_classes=3)
        with pytest.raises(ValueError, match="has 2 classes; it must have 3"):
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
        np.save(path, np.array([1, 0, 1], np.float32))
        with pytest.raises(ValueError, match=r"invalid classes or aspects in its train split; remove the folder"):
            load(name, root=tmp_path)
        np.save(path, np.ones(3, np.float32))
        np.save(path.with_name("test_targets.npy"), np.array([7]))
        with pytest.raises(ValueError, match=r"invalid classes or aspects in its test split; remove the folder"):
            load(name, root=tmp_path)


@pytest.mark.parametrize("name", DOWNLOADED)
class TestOriginals:
    def test_are_downloaded_where_they_are_missing(self, name, publish, tmp_path, monkeypatch):
        originals, asked = publish(name, tmp_path / "server").originals, []

        def download(url, root, filename, md5):
            asked.append((url, md5))
            Path(root).mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "server" / filename.rsplit(".", 2)[0], Path(root) / filename)

        monkeypatch.setattr(utils, "download_url", download)
        assert len(load(name, root=tmp_path).train) == 3
        assert asked == [(each.url, each.md5) for each in originals]
        assert not list(tmp_path.rglob("*.part"))

    @pytest.mark.parametrize("checksum", [True, False])
    def test_one_that_is_cut_off_is_named_and_left_alone(self, checksum, name, publish, tmp_path):
        collection = publish(name, tmp_path / name)
        path = tmp_path / name / next(iter(FILES[name]))
        content = path.read_bytes()
        content = content[: 1000 if path.suffix == ".tar" else len(content) // 2]  # a tar ends in a lot of padding
        path.write_bytes(content)
        damage = "is not the published file: its MD5" if checksum and name != "mit67" else "is damaged or cut short"
        if not checksum:
            unchecked = tuple(replace(each, md5=None) for each in collection.originals)
            collection = replace(collection, originals=unchecked)
        with pytest.raises(ValueError, match=rf"{path} {damage}"):
            photographs.load_photographs(collection, tmp_path)
        assert path.read_bytes() == content
        assert [each.name for each in tmp_path.glob(f"{name}-*")] == [f"{name}-{SIDE}.lock"]


PICTURES = {  # where the picture 20 of every data set lies in its first archive
    name: next(inside for inside, data in next(iter(files.values())).items() if data == picture(20))
    for name, files in FILES.items()
}
BROKEN = [
    *((name, place, b"no image", rf"/{name}/.*{place} cannot be decoded") for name, place in PICTURES.items()),
    *((name, PICTURES[name], None, f"lacks 1 .* {PICTURES[name]}") for name in ("cub200", "stanford_dogs", "mit67")),
    ("tinyimagenet", PICTURES["tinyimagenet"], None, "lists 2 photographs for the train split"),
    ("cub200", f"{BIRDS}/train_test_split.txt", None, "train_test_split.txt is missing: put a whole copy"),
    ("cub200", f"{BIRDS}/images.txt", b"1 a/b.jpg\n2\n", "must have two words per line"),
    ("cub200", f"{BIRDS}/image_class_labels.txt", b"1 2\n", "not of the same"),
    ("cub200", f"{BIRDS}/images.txt", b"\xff\xfe\xfd", "images.txt is not UTF-8 text"),
    ("stanford_dogs", "train_list.mat", b"nothing", "train_list.mat is not a list of files"),
    ("stanford_dogs", "test_list.mat", None, "test_list.mat is not a list of files"),
    ("stanford_dogs", "train_list.mat", matlab(DOG_FILES[:3], [5, 2, 2]), "n02_7.jpg no valid class"),
    ("tinyimagenet", f"{TINY}/val/val_annotations.txt", b"a.JPEG\tn07", "puts a.JPEG into 'n07', not"),
]


@pytest.mark.parametrize(("name", "inside", "content", "message"), BROKEN)
def test_photographs_and_lists_that_are_not_what_they_must_be(name, inside, content, message, publish, tmp_path):
    files = copy.deepcopy(FILES[name])
    archive = next(inner for inner in files.values() if inside in inner)
    archive[inside] = content
    if content is None:
        del archive[inside]
    publish(name, tmp_path / name, files)
    with pytest.raises(ValueError, match=message):
        load(name, root=tmp_path)
    assert any(tmp_path.glob("*.part")) == (content == b"no image")  # lists are checked before anything is written


class TestConversion:
    @staticmethod
    def squashed(pixels, side, folder):
        """An image of these pixels, as it is stored, and its aspect."""
        path = folder / "image.png"
        Image.fromarray(pixels).save(path)
        return photographs.squash(path, side)

    def test_keeps_aspects_and_resizes_each_axis(self, publish, tmp_path):
        publish("cub200", tmp_path / "cub200")
        dataset = load("cub200", root=tmp_path)
        assert dataset.train.aspects.tolist() == pytest.approx([1.5, 1.25, 0.5])
        assert dataset.test.aspects.tolist() == pytest.approx([1.25])
        gradient = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (60, 1))
        pixels, aspect = self.squashed(gradient, 24, tmp_path)
        assert aspect == 2
        expected = np.tile(np.arange(4, 240, 10)[None, 1:-1, None], (24, 1, 3))
        np.testing.assert_allclose(pixels[:, 1:-1], expected, atol=1)

    def test_tiny_images_are_stored_as_they_are(self, tmp_path):
        pixels = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
        stored, _ = self.squashed(pixels, TINYIMAGENET.stored, tmp_path)
        np.testing.assert_array_equal(stored, pixels)

    def test_interrupted_it_goes_on_where_it_stopped(self, publish, tmp_path, monkeypatch):
        publish("cub200", tmp_path / "cub200")
        monkeypatch.setattr(photographs, "CHUNK", 1)
        squash, done = photographs.squash, []

        def two_at_first(path, side):
            if len(done) == 2 and not resumed:
                raise KeyboardInterrupt
            done.append(path)
            return squash(path, side)

        resumed = False
        monkeypatch.setattr(photographs, "squash", two_at_first)
        with pytest.raises(KeyboardInterrupt):
            load("cub200", root=tmp_path)
        assert (len(done), (tmp_path / f"cub200-{SIDE}").exists()) == (2, False)
        resumed = True
        check(load("cub200", root=tmp_path), "cub200")
        assert len(done) == len(set(done)) == 4

    def test_what_another_list_has_left_is_not_gone_on_with(self, publish, tmp_path, monkeypatch):
        publish("cub200", tmp_path / "cub200")
        with monkeypatch.context() as patch:
            patch.setattr(photographs, "squash", lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                load("cub200", root=tmp_path)
        (tmp_path / "cub200" / BIRDS / "train_test_split.txt").write_bytes(b"1 1\n2 1\n3 0\n4 1\n")
        dataset = load("cub200", root=tmp_path)
        assert (numbers(dataset.train), dataset.train.targets.tolist()) == ([10, 20, 40], [1, 0, 1])

    def test_a_photograph_in_two_lists_is_in_both_splits(self, publish, tmp_path):
        publish("mit67", tmp_path / "mit67", FILES["mit67"] | {"TestImages.txt": b"airport_inside/c.jpg"})
        dataset = load("mit67", root=tmp_path)
        assert (numbers(dataset.train), numbers(dataset.test)) == ([10, 20, 30], [30])

    def test_says_how_far_it_is(self, publish, tmp_path, monkeypatch, capsys):
        publish("mit67", tmp_path / "mit67")
        monkeypatch.setattr(photographs, "CHUNK", 2)
        monkeypatch.setattr(photographs, "PROGRESS_SECONDS", -1.0)
        load("mit67", root=tmp_path)
        said = capsys.readouterr().out.splitlines()
        assert said == [f"mit67: {done} of 4 photographs converted" for done in (2, 4)]

    def test_a_disk_that_is_too_small_is_told_beforehand(self, publish, tmp_path, monkeypatch):
        publish("mit67", tmp_path / "mit67", stored=1000)
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
    in_all = {"cub200": 11_788, "stanford_dogs": 20_580, "mit67": 6_700, "tinyimagenet": 110_000, "imagenet": 1_331_167}
    assert {name: sum(each.sizes) for name, each in COLLECTIONS.items()} == in_all
    assert in_all.keys() <= set(names())
    equal = ((STANFORD_DOGS, 0, 100), (MIT67, 0, 80), (MIT67, 1, 20), (TINYIMAGENET, 0, 500), (IMAGENET, 1, 50))
    for collection, split, count in equal:
        assert collection.sizes[split] == count * collection.num_classes
