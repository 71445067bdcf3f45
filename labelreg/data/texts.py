"""Texts of different lengths in one tensor, and the order in which texts of like lengths share a batch."""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

POOL = 64  # batches among whose samples those of like lengths are put together: an order must stay random


@dataclass(frozen=True, eq=False)
class Texts:
    """The inputs of a split of texts, whose tokens lie one after the other; a selection shares them.

    Attributes:
        tokens: (T,) uint8 or int32, the tokens of all texts.
        starts, lengths: (N,) int64, where a text begins and how many tokens it has.
        reading: ``"words"``, or ``"characters"``, which are the bytes of UTF-8.
        longest: L, no text has more tokens.
        vocabulary: the tokens in the order of their numbers, V; ``""``, number 0, fills texts up.
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
        """The shape (N, L, V) of the texts as indicators of tokens."""
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
        """Return the texts as rows (N, width) int64, filled up with 0; by default as wide as the longest, 1 at least.

        The default width is read from the device.
        """
        if width is None:
            width = max(1, int(self.lengths.max()))
        place = torch.arange(width, device=self.device)
        inside = place < self.lengths.unsqueeze(1)
        # what is outside reads the first token of all
        return self.tokens[(self.starts.unsqueeze(1) + place) * inside].long() * inside

    def bucketed(self, order: Tensor, size: int, count: int, draws: Generator) -> Tensor:
        """Return a random order (N,) whose ``count`` batches of a size, and what is left for a last one, are alike.

        Texts are sorted by length within pools of 64 batches. The batches are then shuffled, of which any may be last.
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
