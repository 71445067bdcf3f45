"""States of training in files: read back as they were, or not at all."""

import pytest
import torch

from labelreg.checkpoints import read, write

STATE = {"weights": {"a": torch.arange(6.0).view(2, 3)}, "history": [{"epoch": 1, "loss": 0.5}], "seconds": 0.1}


def assert_equal(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_state_comes_back(tmp_path):
    path = tmp_path / "folder" / "state.pt"
    write(path, STATE)
    assert_equal(read(path), STATE)
    assert_equal(torch.load(path, weights_only=True), STATE)  # a file like any other
    assert list(path.parent.iterdir()) == [path]


def test_every_bit_counts(tmp_path):
    """PyTorch itself reads a file with a wrong number in it, or an empty tensor, without a word."""
    path = tmp_path / "state.pt"
    write(path, STATE)
    whole, unseen = path.read_bytes(), 0
    for place in range(0, 8 * len(whole), 101):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="its checksum does not fit"):
            read(path)
        try:
            unseen += str(torch.load(path, weights_only=True)) != str(STATE)
        except Exception:
            continue
    assert unseen > 0, "otherwise there is no need for a checksum"
