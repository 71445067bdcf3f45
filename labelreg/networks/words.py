"""What networks for texts share: texts (B, L) int64 are padded with 0, and the padding does not change the results."""

import torch
from torch import Tensor, nn

PADDING, UNKNOWN = 0, 1  # the padding, and words that are not in the vocabulary
VOCABULARY = 50_000  # the most frequent words, which have vectors of their own
WORDS = (256, VOCABULARY + 2)  # the default shape of a text: at most L words, out of V


class WordVectors(nn.Embedding):
    """Vectors (B, L, D) of words (B, L), numbered by frequency.

    Words beyond the ``most`` most frequent ones share the vector of unknown words. The vector of the padding is zero,
    and so is its gradient.
    """

    def __init__(self, words: int, most: int, width: int):
        super().__init__(min(words, most + 2), width, padding_idx=PADDING)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.masked_fill(inputs >= self.num_embeddings, UNKNOWN))


def inside(inputs: Tensor) -> Tensor:
    """Return which tokens belong to the texts, (B, L) bool; in a text without tokens it is the first place."""
    return (inputs != PADDING).index_fill(1, torch.zeros(1, dtype=torch.int64, device=inputs.device), True)


def backwards(inputs: Tensor) -> Tensor:
    """Return the places (B, L) of each text's tokens from its last to its first, then those of its padding.

    Reordering twice by these places restores the texts.
    """
    place = torch.arange(inputs.shape[1], device=inputs.device)
    return (inside(inputs).sum(1, keepdim=True) - 1 - place) % inputs.shape[1]
