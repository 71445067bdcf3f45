"""A recurrent network for texts: every word in its context to the left and to the right."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import pad

from labelreg.networks.registry import register
from labelreg.networks.words import VOCABULARY, WORDS, WordVectors, backwards, inside

CELLS = {"lstm": nn.LSTM, "tanh": nn.RNN}
INITIAL_DEVIATION = 0.02  # of the vectors; Lai et al. begin with pretrained ones


@register("textrnn", reading="words")
class TextRNN(nn.Module):
    """The recurrent convolutional network of Lai et al. (2015).

    A word is represented by its vector between its left and its right context, which are the states of two recurrent
    networks that have read the words before and after it. A tanh layer and a maximum over the words compute the
    features. With K = 4 classes, 40,800 + 15,100 + 404 parameters besides the vectors.

    Args:
        kind: ``"bilstm"`` for the maximum over the states themselves, without the tanh layer; a state has then read the
            word itself too.
        cell: ``"lstm"``, our choice, or ``"tanh"``, the paper's.
        dimension, context, hidden: widths of a word's vector, of each context, and of the layer; as in the paper.
        vocabulary: number of words that have vectors, the most frequent ones.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, int] = WORDS,
        kind: Literal["recurrent_convolutional", "bilstm"] = "recurrent_convolutional",
        cell: Literal["lstm", "tanh"] = "lstm",
        dimension: PositiveInt = 50,
        context: PositiveInt = 50,
        hidden: PositiveInt = 100,
        vocabulary: PositiveInt = VOCABULARY,
    ):
        super().__init__()
        self.kind = kind
        self.vectors = WordVectors(input_shape[1], vocabulary, dimension)
        # with PyTorch's deviation of 1 the network memorises the training texts, and the vectors hardly move
        nn.init.normal_(self.vectors.weight[1:], std=INITIAL_DEVIATION)
        self.left, self.right = (CELLS[cell](dimension, context, batch_first=True) for _ in range(2))
        if kind == "bilstm":
            self.layer, hidden = nn.Identity(), 2 * context
        else:
            self.layer = nn.Sequential(nn.Linear(2 * context + dimension, hidden), nn.Tanh())
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K) of texts (B, L) int64."""
        vectors, order = self.vectors(inputs), backwards(inputs)
        left = self._contexts(self.left, vectors)
        right = _reordered(self._contexts(self.right, _reordered(vectors, order)), order)
        parts = (left, right) if self.kind == "bilstm" else (left, vectors, right)
        words = self.layer(torch.cat(parts, 2))
        outside = ~inside(inputs).unsqueeze(2)
        return self.classifier(words.masked_fill(outside, -torch.inf).amax(1))

    def _contexts(self, recurrent: nn.RNNBase, vectors: Tensor) -> Tensor:
        """The state at each word (B, L, C): before it, zero at the first, or for ``"bilstm"`` after it."""
        states, _ = recurrent(vectors)
        return states if self.kind == "bilstm" else pad(states, (0, 0, 1, -1))


def _reordered(vectors: Tensor, order: Tensor) -> Tensor:
    return vectors.gather(1, order.unsqueeze(2).expand_as(vectors))
