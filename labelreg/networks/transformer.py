"""The encoder of the Transformer as a network for texts."""

import math
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from labelreg.networks.registry import register
from labelreg.networks.words import VOCABULARY, WORDS, WordVectors, inside
from labelreg.options import FractionBelowOne


@register("transformer", reading="words")
class Transformer(nn.Module):
    """The encoder of Vaswani et al. (2017), the mean over the words, and a linear classifier.

    Word vectors are multiplied by the square root of their width, and sinusoids for the positions are added. They pass
    through layers of self-attention and two fully connected layers each, with a normalisation after each of these two
    parts. 527,104 parameters per layer.

    Args:
        layers, width, feedforward, heads: the paper has 6, 512, 2048 and 8.
        dropout: probability of dropout, which is applied as in section 5.4: to the outputs of the parts of a layer, and
            to the sums of vectors and sinusoids. PyTorch's layer also drops attention weights and hidden units, at half
            the speed on a CPU.
        pooling: ``"mean"`` or ``"max"`` over the words.
        vocabulary: number of words that have vectors, the most frequent ones.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, int] = WORDS,
        layers: PositiveInt = 1,
        width: PositiveInt = 256,
        feedforward: PositiveInt = 512,
        heads: PositiveInt = 8,
        dropout: FractionBelowOne = 0.1,
        pooling: Literal["mean", "max"] = "mean",
        vocabulary: PositiveInt = VOCABULARY,
    ):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"the width must be a multiple of twice the heads, {2 * heads}, got {width}")
        self.pooling = pooling
        self.vectors = WordVectors(input_shape[1], vocabulary, width)
        nn.init.normal_(self.vectors.weight[1:], std=width**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True) for _ in range(layers)
        )
        for layer in self.layers:
            layer.self_attn.dropout, layer.dropout = 0.0, nn.Identity()
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K) of texts (B, L) int64."""
        width, text = self.vectors.embedding_dim, inside(inputs)
        words = self.dropout(self.vectors(inputs) * math.sqrt(width) + sinusoids(inputs.shape[1], width, inputs.device))
        for layer in self.layers:
            words = layer(words, src_key_padding_mask=~text)
        text = text.unsqueeze(2)
        if self.pooling == "max":
            return self.classifier(words.masked_fill(~text, -torch.inf).amax(1))
        return self.classifier((words * text).sum(1) / text.sum(1))


def sinusoids(places: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the alternating sines and cosines of positions, (places, width) (Vaswani et al., section 3.5)."""
    place = torch.arange(places, device=device).unsqueeze(1)
    angles = place * torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000) / width))
    return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)
