"""Texts of different lengths in one tensor, and the order in which texts of similar length share a batch."""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

POOL = 64  # batches within which samples are sorted by length: the order must stay random


@dataclass(frozen=True, eq=False)
class Texts:
    """The inputs of a split of texts, with the tokens of all texts one after the other; selections share the tokens.

    Attributes:
        tokens: (T,) uint8 or int32, the tokens of all texts.
        starts, lengths: (N,) int64, where a text begins and how many tokens it has.
        reading: ``"words"``, or ``"characters"``, which are the bytes of UTF-8.
        longest: L, the number of tokens that no text exceeds.
        vocabulary: the V tokens in the order of their numbers; ``""``, number 0, is the padding.
    """

    tokens: Tensor
    starts: Tensor
    lengths: Tensor
    reading: str
    longest: int
    vocabulary: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: Tensor | slice) -> "Texts":
        return replace(self, starts=self.starts[indices], lengths=self.lengths[indices])

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (N, L, V) that the texts would have as one-hot tokens."""
        return len(self), self.longest, len(self.vocabulary)

    @property
    def dtype(self) -> torch.dtype:
        return self.tokens.dtype

    @property
    def device(self) -> torch.device:
        return self.tokens.device

    @property
    def nbytes(self) -> int:
        return self.tokens.nbytes

    def to(self, device: torch.device | str) -> "Texts":
        """Return the texts on another device."""
        parts = (each.to(device) for each in (self.tokens, self.starts, self.lengths))
        return replace(self, **dict(zip(("tokens", "starts", "lengths"), parts, strict=True)))

    def padded(self, width: int | None = None) -> Tensor:
        """Return the texts as rows (N, width) int64, padded with 0; by default as wide as the longest, at least 1.

        The default width is read from the device.
        """
        if width is None:
            width = max(1, int(self.lengths.max()))
        place = torch.arange(width, device=self.device)
        inside = place < self.lengths.unsqueeze(1)
        # what is outside reads the first token of all
        return self.tokens[(self.starts.unsqueeze(1) + place) * inside].long() * inside

    def bucketed(self, order: Tensor, size: int, count: int, draws: Generator) -> Tensor:
        """Return a random order (N,) for batches of similar lengths: ``count`` of a ``size``, then one of the rest.

        Texts are sorted by length within pools of 64 batches. The batches are then shuffled. The rest is taken from a
        random place in the sorted order.
        """
        on_device = {"device": order.device}
        place = torch.arange(len(order), **on_device)
        alike = order[(place // (POOL * size) * (self.longest + 1) + self.lengths[order]).argsort(stable=True)]
        left = len(order) - count * size
        last = size * torch.randint(count + 1, (1,), generator=draws, **on_device)
        whole = place[left:] - left * (place[left:] < last + left)
        shuffled = whole.view(count, size)[torch.randperm(count, generator=draws, **on_device)]
        return alike[torch.cat([shuffled.flatten(), last + place[:left]])]

    def text(self, index: int) -> str:
        """Return a text as it is read."""
        row = self.tokens[self.starts[index] :][: self.lengths[index]].tolist()
        if self.reading == "characters":
            return bytes(row).decode(errors="ignore")  # the cut may go through a character
        return " ".join(self.vocabulary[token] for token in row)
