"""A network for 224 pixels trains on photographs, from their archive to the recorded row."""

import hashlib
import io
import math
import tarfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from labelreg import methods, training
from labelreg.data import Dataset, fine_grained, load, registry
from labelreg.data.framing import Framing
from labelreg.data.photographs import load_photographs
from labelreg.experiment import Experiment
from labelreg.recipe import Recipe
from labelreg.running import train
from labelreg.training import Trainer


@pytest.fixture
def birds(tmp_path, monkeypatch):
    """The folder of a CUB-200-2011 of four photographs for training and two for the test, shown at 64 pixels."""
    draws = np.random.default_rng(0)
    names = [f"00{k + 1}.Bird_{k}/{i}.jpg" for i in range(3) for k in range(2)]
    lists = {
        "images.txt": [f"{i + 1} {name}" for i, name in enumerate(names)],
        "image_class_labels.txt": [f"{i + 1} {i % 2 + 1}" for i in range(6)],
        "train_test_split.txt": [f"{i + 1} {int(i < 4)}" for i in range(6)],
        "classes.txt": ["1 001.Bird_0", "2 002.Bird_1"],
    }
    content = {f"CUB_200_2011/{name}": "\n".join(lines).encode() for name, lines in lists.items()}
    for name in names:
        file = io.BytesIO()
        Image.fromarray(draws.integers(256, size=(50, 70, 3), dtype=np.uint8)).save(file, "JPEG")
        content[f"CUB_200_2011/images/{name}"] = file.getvalue()
    path = tmp_path / "cub200" / "CUB_200_2011.tgz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    original = replace(fine_grained.CUB200.originals[0], md5=hashlib.md5(path.read_bytes()).hexdigest())
    changes = {"originals": (original,), "sizes": (4, 2), "num_classes": 2, "stored": 80, "framing": Framing(side=64)}
    small = replace(fine_grained.CUB200, **changes)
    monkeypatch.setitem(registry._datasets, "cub200", partial(load_photographs, small))
    monkeypatch.setenv("LABELREG_DATA", str(tmp_path))
    return tmp_path


def test_a_resnet_trains_on_birds(birds):
    experiment = Experiment(
        dataset="cub200", network="imagenet_resnet18", epochs=1, batch_size=4, schedule="constant", learning_rate=1e-3
    )
    trained = train(experiment, device="cpu")
    history = trained.result.history
    assert trained.dataset.input_shape == (3, 64, 64)
    assert trained.dataset.classes == ("Bird 0", "Bird 1")
    assert all(math.isfinite(history[name][0]) for name in ("loss", "test_nll"))
    assert history["test_error"][0] in (0.0, 0.5, 1.0)
    assert train(experiment, device="cpu").result.history["loss"] == history["loss"]


def test_evaluation_batches_are_small_where_images_are_large(birds, monkeypatch):
    dataset = load("cub200")
    split = replace(dataset.train, targets=torch.zeros(4, dtype=torch.int64))
    trainer = Trainer(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 2)),
        methods.CrossEntropy(),
        Dataset("birds", split, split, ("a", "b")),
        Recipe(epochs=1, batch_size=4),
    )
    whole = trainer.predict(split)[0]
    monkeypatch.setattr(training, "EVALUATION_VALUES", 3 * 64 * 64)
    assert [len(batch.targets) for batch in trainer.evaluation_batches(split)] == [1] * 4
    torch.testing.assert_close(trainer.predict(split)[0], whole)
