"""Checks of arguments: each names the one that is wrong, what it should be and what it is.

A wrong dtype raises ``TypeError``, a wrong shape or value ``ValueError``. A shape is given in sizes, or in letters that
stand for any size, the same letter for the same.
"""

import torch
from torch import Tensor


def check_choice(name: str, value: str, *choices: str) -> None:
    """The value is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _check_shape(name: str, tensor: Tensor, *shape: int | str) -> None:
    sizes = {}
    if tensor.ndim != len(shape) or any(
        size != (want if isinstance(want, int) else sizes.setdefault(want, size))
        for want, size in zip(shape, tensor.shape, strict=True)
    ):
        expected = str(shape).replace("'", "")
        raise ValueError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}")


def check_floating(name: str, tensor: Tensor, *shape: int | str) -> None:
    """A floating-point tensor of that shape."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {_kind(tensor)}")
    _check_shape(name, tensor, *shape)


def check_indices(targets: Tensor, batch: int | str, num_classes: float) -> None:
    """Class indices (B,) int64; that they lie below the number of classes is seen on the CPU only."""
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64:
        raise TypeError(f"targets must be class indices in an int64 tensor, got {_kind(targets)}")
    _check_shape("targets", targets, batch)
    if targets.device.type == "cpu" and targets.numel():
        _check_range(targets, num_classes)


def _check_range(targets: Tensor, num_classes: float) -> None:
    low, high = map(int, targets.aminmax())
    if low < 0 or high >= num_classes:
        raise ValueError(f"targets must lie in [0, {num_classes - 1}], got {low} to {high}")


def check_targets(targets: Tensor, batch: int | str, num_classes: int) -> None:
    """Class indices (B,) or class probabilities (B, K)."""
    if isinstance(targets, Tensor) and targets.ndim == 2:
        check_floating("targets", targets, batch, num_classes)
    else:
        check_indices(targets, batch, num_classes)


def _kind(value: object) -> str:
    return f"a tensor of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
