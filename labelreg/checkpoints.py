"""States of training in files; a file is refused if even one bit of it has changed."""

import hashlib
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from labelreg import paths

_DIGEST = hashlib.sha256
_DIGEST_BYTES = _DIGEST().digest_size


def write(path: Path, state: Any) -> None:
    """Write a state atomically: dictionaries, lists and tuples of tensors, numbers and text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with paths.atomic_write(path) as unfinished:
        unfinished.write_bytes(_packed(state))


def read(path: Path) -> Any:
    """Read a state back, with all tensors on the CPU; a damaged file may raise any error."""
    return _unpacked(path.read_bytes())


class Journal:
    """Records in a file beside a checkpoint; the cost of appending one does not depend on how many there are.

    ``ends`` are the positions in the file, in bytes, at which the records end. They must be stored in the checkpoint:
    if a process is killed after it has appended a record and before it has written the checkpoint, that record is not
    read, and is overwritten later.
    """

    def __init__(self, checkpoint: Path, ends: Sequence[int] = ()):
        self.path = checkpoint.with_suffix(".epochs")
        self.ends = list(ends)

    def keep(self, records: Sequence[Any]) -> None:
        """Append those records that are not in the file yet; ``records`` are all of them."""
        with paths.blamed(self.path), open(self.path, "r+b" if self.ends else "wb") as file:
            file.truncate(file.seek(self.ends[-1] if self.ends else 0))
            ends = [file.tell() for record in records[len(self.ends) :] if file.write(_packed(record))]
        self.ends += ends

    def read(self) -> list[Any]:
        """Return all records; a damaged file may raise any error."""
        content = self.path.read_bytes() if self.ends else b""
        return [_unpacked(content[start:end]) for start, end in pairwise([0, *self.ends])]


def files(checkpoint: Path) -> tuple[Path, Path]:
    """Return the files of a checkpoint: itself and its journal."""
    return checkpoint, Journal(checkpoint).path


def _packed(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    return content + _DIGEST(content).digest()  # torch.load checks nothing, and ignores bytes at the end


def _unpacked(packed: bytes) -> Any:
    content, digest = packed[:-_DIGEST_BYTES], packed[-_DIGEST_BYTES:]
    if _DIGEST(content).digest() != digest:
        raise ValueError("its checksum does not fit")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
