"""Published files: fetched once, whole or not at all, and asked for where they cannot be had."""

import hashlib

import pytest
from torchvision.datasets import utils

from labelreg.data import downloads

URL, MD5 = "https://example.org/file", hashlib.md5(b"whole").hexdigest()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine" / "file"


def test_a_missing_file_is_fetched_once(path, monkeypatch):
    asked = []

    def download(url, root, filename, md5):
        asked.append((url, md5))
        root.mkdir()
        (root / filename).write_text("whole")

    monkeypatch.setattr(utils, "download_url", download)
    for _ in range(2):
        downloads.fetch(path, "Put it there", URL, MD5)
    assert asked == [(URL, MD5)]
    assert [(each.name, each.read_text()) for each in path.parent.iterdir()] == [("file", "whole")]
    downloads.check(path, MD5)
    downloads.check(path, None)


@pytest.mark.parametrize("failure", [OSError("connection lost"), RuntimeError("File not found or corrupted.")])
def test_a_torn_download_leaves_nothing_that_passes_for_the_whole(failure, path, monkeypatch):
    def tear(url, root, filename, md5):
        assert not (root / filename).exists(), "without a checksum, torchvision would take it for the whole"
        root.mkdir(exist_ok=True)
        (root / filename).write_text("half")
        raise failure

    monkeypatch.setattr(utils, "download_url", tear)
    message = (
        rf"there is no {path}, and {URL} cannot be downloaded \({failure}\). Put it there, or .* mine/ .*LABELREG_DATA"
    )
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=message):
            downloads.fetch(path, "Put it there", URL, MD5)
        assert not path.exists()


def test_what_is_not_offered_is_asked_for(path):
    with pytest.raises(
        FileNotFoundError, match=rf"there is no {path}. Put it there, or name the folder that holds mine/"
    ):
        downloads.fetch(path, "Put it there")


def test_another_file_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("another")
    with pytest.raises(ValueError, match=f"{tmp_path}/file is not the published file: its MD5 checksum must be {MD5}"):
        downloads.check(tmp_path / "file", MD5)
    assert (tmp_path / "file").read_text() == "another"
