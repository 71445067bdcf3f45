"""Where folders are, and that a file is written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from labelreg import paths
from labelreg.data import data_root


@pytest.mark.parametrize(
    ("name", "folder", "default"),
    [("DATA", paths.data_root, "raw"), ("RESULTS", paths.results_root, "results"), ("RUNS", paths.runs_root, "runs")],
)
def test_a_folder_is_moved_by_its_variable(name, folder, default, monkeypatch):
    for value, expected in (
        ("/elsewhere", Path("/elsewhere")),
        ("~/mine", Path.home() / "mine"),
        ("", paths.project_root() / "data" / default),
    ):
        monkeypatch.setenv(f"LABELREG_{name}", value)
        assert folder() == expected
    monkeypatch.delenv(f"LABELREG_{name}")
    assert folder() == Path(paths.__file__).resolve().parents[1] / "data" / default


def test_the_root_argument_comes_before_the_variable(monkeypatch):
    monkeypatch.setenv("LABELREG_DATA", "/elsewhere")
    assert data_root("/here") == Path("/here")
    assert data_root("~/here") == Path.home() / "here"


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    for content in ("first", "second"):
        with paths.atomic_write(path) as unfinished:
            unfinished.write_text(content)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == content
    with pytest.raises(TypeError), paths.atomic_write(path) as unfinished:
        unfinished.write_text([unfinished.write_text("third")])
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_can_be_found(tmp_path):
    whole = tmp_path / "file"
    whole.touch()
    assert paths.unfinished(tmp_path) == paths.unfinished(tmp_path / "nowhere") == []
    with paths.atomic_write(whole) as unfinished:
        unfinished.touch()
        assert paths.unfinished(tmp_path) == [unfinished]


def test_a_full_disk_is_named_with_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'$"), paths.atomic_write(tmp_path / "file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=r"another'$"), paths.atomic_write(tmp_path / "file"):
        (tmp_path / "no" / "another").touch()
