"""States of training in files: read back as they were, or not at all."""

import pytest
import torch

from labelreg.checkpoints import Journal, files, read, write

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


class TestJournal:
    RECORDS = [({"epoch": epoch}, {"seen": torch.full((3,), float(epoch))}) for epoch in range(4)]  # noqa: RUF012

    def test_appends_what_is_new_and_reads_what_its_checkpoint_knows(self, tmp_path):
        journal = Journal(tmp_path / "checkpoint.pt")
        journal.keep([])
        for count in (1, 3):
            journal.keep(self.RECORDS[:count])
            assert_equal(Journal(tmp_path / "checkpoint.pt", journal.ends).read(), self.RECORDS[:count])
        first, *_ = journal.ends
        again = Journal(tmp_path / "checkpoint.pt", [first])
        assert_equal(again.read(), self.RECORDS[:1])
        again.keep(self.RECORDS[:2])  # in place of two others
        assert again.path.stat().st_size == again.ends[-1]
        assert_equal(again.read(), self.RECORDS[:2])
        assert set(tmp_path.iterdir()) == {files(tmp_path / "checkpoint.pt")[1]}

    def test_writes_as_much_for_the_last_epoch_as_for_the_first(self, tmp_path, monkeypatch):
        journal, packed = Journal(tmp_path / "checkpoint.pt"), []
        pack = torch.save
        monkeypatch.setattr(torch, "save", lambda state, file: packed.append(state) or pack(state, file))
        for count in range(len(self.RECORDS)):
            journal.keep(self.RECORDS[: count + 1])
        assert packed == self.RECORDS

    @pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
    def test_that_is_damaged_is_refused(self, damage, tmp_path):
        journal = Journal(tmp_path / "checkpoint.pt")
        journal.keep(self.RECORDS)
        content = bytearray(journal.path.read_bytes())
        content[journal.ends[1] // 2] ^= 1
        match damage:
            case "cut":
                journal.path.write_bytes(content[:-1])
            case "flipped":
                journal.path.write_bytes(content)
            case "gone":
                journal.path.unlink()
        with pytest.raises((ValueError, OSError)):
            journal.read()
