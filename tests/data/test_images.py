"""Archives of images: made once from torchvision's files, then read and checked."""

import io
import pickle
import struct
from collections import Counter

import numpy as np
import pytest
import torch
from torchvision.datasets import cifar, mnist

from labelreg.data import images, load

NAMES = {"cifar10": (32, 32, 3, 10), "cifar100": (32, 32, 3, 100), "fashion_mnist": (28, 28, 1, 10)}
PARTS = [f"data_batch_{i}" for i in range(1, 6)]
CIFAR = {
    "cifar10": ("cifar-10-batches-py", PARTS, "test_batch", "batches.meta", "labels"),
    "cifar100": ("cifar-100-python", ["train"], "test", "meta", "fine_labels"),
}


@pytest.fixture
def offline(monkeypatch):
    """Every download fails, and the files that lie there pass for the originals."""

    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    for module in (cifar, mnist):
        monkeypatch.setattr(module, "download_and_extract_archive", refuse)
    original = cifar.check_integrity
    monkeypatch.setattr(cifar, "check_integrity", lambda path, md5: original(path))


def arrays(name: str, train: int = 20, test: int = 10) -> dict[str, np.ndarray]:
    *shape, classes = NAMES[name]
    rng = np.random.default_rng(0)
    made = {"classes": np.array([f"class {k}" for k in range(classes)])}
    for split, count in (("train", train), ("test", test)):
        made[f"x_{split}"] = rng.integers(256, size=(count, *shape), dtype=np.uint8)
        made[f"y_{split}"] = rng.integers(classes, size=count)
    return made


def write_originals(name: str, root, made: dict[str, np.ndarray]) -> None:
    """Lay the arrays down in the files that torchvision reads."""
    if name == "fashion_mnist":
        folder = root / "FashionMNIST" / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        for split, prefix in (("train", "train"), ("test", "t10k")):
            x, y = made[f"x_{split}"], made[f"y_{split}"].astype(np.uint8)
            pixels, labels = folder / f"{prefix}-images-idx3-ubyte", folder / f"{prefix}-labels-idx1-ubyte"
            pixels.write_bytes(struct.pack(">4i", 0x803, len(x), 28, 28) + x.tobytes())
            labels.write_bytes(struct.pack(">2i", 0x801, len(y)) + y.tobytes())
        return
    folder_name, train_files, test_file, meta_file, key = CIFAR[name]
    folder = root / folder_name
    folder.mkdir(parents=True)
    parts = np.array_split(np.arange(len(made["x_train"])), len(train_files))
    contents = [(file, "train", part) for file, part in zip(train_files, parts, strict=True)]
    for file, split, part in [*contents, (test_file, "test", slice(None))]:
        x, y = made[f"x_{split}"][part], made[f"y_{split}"][part]
        rows = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        (folder / file).write_bytes(pickle.dumps({"data": rows, key: y.tolist()}))
    names_key = "label_names" if name == "cifar10" else "fine_label_names"
    (folder / meta_file).write_bytes(pickle.dumps({names_key: made["classes"].tolist()}))


@pytest.mark.parametrize("name", NAMES)
def test_originals_are_converted_once_and_read_back_exactly(name, offline, tmp_path, monkeypatch):
    made = arrays(name)
    write_originals(name, tmp_path, made)
    dataset = load(name, root=tmp_path)
    *shape, classes = NAMES[name]
    for split, stored in ((dataset.train, "train"), (dataset.test, "test")):
        np.testing.assert_array_equal(split.inputs.permute(0, 2, 3, 1), made[f"x_{stored}"])
        np.testing.assert_array_equal(split.targets, made[f"y_{stored}"])
    assert dataset.train.inputs.dtype == torch.uint8
    assert dataset.train.inputs.is_contiguous(memory_format=torch.channels_last)
    assert dataset.input_shape == (shape[2], shape[0], shape[1])
    assert (dataset.name, dataset.num_classes, dataset.augmentation) == (name, classes, "crop_flip")
    assert dataset.classes[0] == ("T-shirt/top" if name == "fashion_mnist" else "class 0")
    assert [path.name for path in tmp_path.glob(f"{name}*")] == [f"{name}.npz"]
    monkeypatch.setattr(images, "convert", None)  # a second conversion would fail
    assert torch.equal(load(name, root=tmp_path).train.inputs, dataset.train.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_are_answered_with_where_and_what_they_must_be(name, offline, tmp_path):
    path = tmp_path / "new" / f"{name}.npz"
    size = "28, 28, 1" if name == "fashion_mnist" else "32, 32, 3"
    layout = rf"x_train \[N, {size}\] uint8, y_train \[N\] int64.*classes \[N\] str.*data/README.md.*LABELREG_DATA"
    with pytest.raises(FileNotFoundError, match=rf"there is no {path}.*no network in this test.*{layout}"):
        load(name, root=path.parent)


def test_a_failed_conversion_leaves_nothing_behind(offline, tmp_path, monkeypatch):
    write_originals("cifar10", tmp_path, arrays("cifar10"))

    def fail_halfway(file, **stored):
        file.write(b"half an archive")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail_halfway)
    with pytest.raises(OSError, match="disk full"):
        load("cifar10", root=tmp_path)
    assert not list(tmp_path.glob("cifar10*"))


def test_damaged_originals_are_not_converted(offline, tmp_path):
    made = arrays("fashion_mnist")
    write_originals("fashion_mnist", tmp_path, made | {"y_train": made["y_train"][:-5]})
    found = rf"torchvision's FashionMNIST in {tmp_path} holds 20 images in x_train but 15 labels in y_train"
    with pytest.raises(ValueError, match=found):
        load("fashion_mnist", root=tmp_path)
    (images_file,) = tmp_path.rglob("train-images*")
    images_file.write_bytes(b"cut")
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded to its folder or read there \(AssertionError"):
        load("fashion_mnist", root=tmp_path)
    write_originals("fashion_mnist", tmp_path, made)
    assert len(load("fashion_mnist", root=tmp_path).train) == 20


def edited(key, change):
    return lambda made: made.update({key: change(made[key])})


DAMAGES = [
    (lambda made: made.pop("y_test"), r"lacks y_test; it must hold x_train \[N, 32, 32, 3\] uint8"),
    (edited("x_train", lambda x: x / np.float32(255)), r"\[20, 32, 32, 3\] float32; .* x_train \[N, 32, 32, 3\] uint8"),
    (edited("x_test", lambda x: x.transpose(0, 3, 1, 2)), r"\[10, 3, 32, 32\] uint8; .* x_test \[N, 32, 32, 3\] uint8"),
    (edited("y_train", lambda y: y.astype(np.int32)), r"y_train .* int32; .* int64"),
    (edited("y_train", lambda y: np.eye(10, dtype=np.int64)[y]), r"y_train in .* \[20, 10\] int64"),
    (edited("y_train", lambda y: np.int64(3)), r"y_train in .* is \[\] int64"),
    (edited("classes", lambda names: names.astype(object)), r"cannot be read as an .npz archive"),  # pickled
    (edited("y_train", lambda y: y[:-1]), r"20 images in x_train but 19 labels in y_train"),
    (edited("y_test", lambda y: y * 0 + 10), r"y_test in .* from 10 to 10; they must be 0 to 9"),
    (edited("y_test", lambda y: np.arange(-1, 9)), r"from -1 to 8; they must be 0 to 9"),
    (edited("classes", lambda names: names[:9]), r"names 9 classes; it must name 10"),
]


def flip_a_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


def single_array(content: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def compressed_in_an_unknown_way(content: bytes) -> bytes:
    for header, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.index(header) + place
        content = content[:at] + b"\x63" + content[at + 1 :]
    return content


def larger_than_memory(content: bytes) -> bytes:
    return content.replace(b"'shape': (20,), ", b"'shape': (2" + 15 * b"0" + b",), ")


UNREADABLE = [compressed_in_an_unknown_way, larger_than_memory]
UNREADABLE += [
    flip_a_byte,
    single_array,
    lambda content: content[:9999],
    lambda content: b"",
    lambda content: b"<html>",
]


@pytest.mark.parametrize(
    ("damage", "spoil", "message"),
    [
        *((damage, bytes, message) for damage, message in DAMAGES),  # bytes and dict change nothing
        *((dict, spoil, "cannot be read as an .npz archive") for spoil in UNREADABLE),
    ],
)
def test_a_damaged_archive_is_named_with_what_is_wrong_and_left_alone(damage, spoil, message, offline, tmp_path):
    made, path = arrays("cifar10"), tmp_path / "cifar10.npz"
    damage(made)
    np.savez(path, **made)
    spoilt = spoil(path.read_bytes())
    path.write_bytes(spoilt)
    with pytest.raises(ValueError, match=message) as error:
        load("cifar10", root=tmp_path)
    assert str(path) in str(error.value)
    assert path.read_bytes() == spoilt


def test_superclasses_of_cifar100_go_by_the_names_of_its_classes_in_any_order(offline, tmp_path):
    made = arrays("cifar100")
    names = [(name, group) for group, names in images.CIFAR100_SUPERCLASSES.items() for name in names.split()]
    assert Counter(Counter(group for _, group in names).values()) == {5: 20}
    for order in (names, names[::-1], [(f"class {k}", None) for k in range(100)]):
        made["classes"] = np.array([name for name, _ in order])
        np.savez(tmp_path / "cifar100.npz", **made)
        assert load("cifar100", root=tmp_path).superclasses == tuple(group for _, group in order if group)
