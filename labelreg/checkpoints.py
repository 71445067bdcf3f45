"""States of training in files, which are refused where as much as a bit of them has changed."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from labelreg import paths

_DIGEST_BYTES = hashlib.sha256().digest_size


def write(path: Path, state: Any) -> None:
    """Write a state, whole or not at all: tensors in dictionaries, lists and tuples, with numbers and text."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    with paths.atomic_write(path) as unfinished:
        # torch.load checks nothing, and does not mind bytes at the end
        unfinished.write_bytes(content + hashlib.sha256(content).digest())


def read(path: Path) -> Any:
    """Read a state back, with all tensors on the CPU; a damaged file raises any error."""
    packed = path.read_bytes()
    content, digest = packed[:-_DIGEST_BYTES], packed[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("its checksum does not fit")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
