"""What networks of texts share: texts (B, L) int64 are filled up with 0, which changes nothing of what is returned."""

import torch
from torch import Tensor, nn

PADDING, UNKNOWN = 0, 1  # what fills texts up, and words that are not in the vocabulary
VOCABULARY = 50_000  # the most frequent words, which have vectors of their own
WORDS = (256, VOCABULARY + 2)  # the default shape of a text: at most L words, out of V


class WordVectors(nn.Embedding):
    """Vectors (B, L, D) of words (B, L), numbered by frequency; those beyond ``most`` words share that of unknown ones.

    The vector of what fills texts up is zero, and so is its gradient.
    """

    def __init__(self, words: int, most: int, width: int):
        super().__init__(min(words, most + 2), width, padding_idx=PADDING)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.masked_fill(inputs >= self.num_embeddings, UNKNOWN))


def inside(inputs: Tensor) -> Tensor:
    """Return which tokens belong to the texts, (B, L) bool; to a text of no token its first place belongs."""
    return (inputs != PADDING).index_fill(1, torch.zeros(1, dtype=torch.int64, device=inputs.device), True)


def backwards(inputs: Tensor) -> Tensor:
    """Return the places (B, L) of each text's tokens from its last to its first, then of what fills it up.

    Read by these places twice, texts are as they were.
    """
    place = torch.arange(inputs.shape[1], device=inputs.device)
    return (inside(inputs).sum(1, keepdim=True) - 1 - place) % inputs.shape[1]
