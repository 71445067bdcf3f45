"""A convolutional network for texts as characters."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import embedding, pad

from labelreg.networks.registry import register
from labelreg.networks.words import backwards

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{}\n"
KERNELS, POOLED = (7, 7, 3, 3, 3, 3), (0, 1, 5)  # the pooled are followed by a maximum over 3
STRIDE, FIELD = 27, 123  # characters between two places of the result, and seen by one
# width of the convolutions, of the hidden layers, and standard deviation of the initial weights
SIZES = {"small": (256, 1024, 0.05), "large": (1024, 2048, 0.02)}


class Characters(nn.Module):
    """Texts (B, L) of bytes as one-hot letters of the alphabet, (B, 69, width), from the last letter to the first.

    Letters are taken as lower case. Characters outside the alphabet are zero vectors, and so is the padding.
    """

    def __init__(self) -> None:
        super().__init__()
        table = torch.zeros(256, len(ALPHABET))
        for column, letter in enumerate(ALPHABET):
            for form in (letter, letter.upper()):
                table[ord(form), column] = 1
        self.register_buffer("table", table, persistent=False)

    def forward(self, inputs: Tensor, width: int) -> Tensor:
        letters = embedding(inputs.gather(1, backwards(inputs)), self.table).transpose(1, 2)
        return pad(letters, (0, width - letters.shape[2]))


@register("charcnn", reading="characters")
class CharCNN(nn.Module):
    """Six convolutions over characters and two hidden layers (Zhang, Zhao and LeCun, 2015).

    The first ``length`` characters of a text are read, backwards. 11,337,988 parameters with K = 4 classes and the
    paper's alphabet, whose 70 characters are really 69: the hyphen is counted twice.

    Args:
        size: ``"small"`` or ``"large"``, that is 256 or 1024 channels and 1024 or 2048 hidden units. Weights are drawn
            from the paper's normal distribution for the size.
        length: number of characters that a text is padded to; texts read as characters have at most 1014.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, int] = (1014, 256),
        size: Literal["small", "large"] = "small",
        length: Annotated[int, Ge(FIELD)] = 1014,
    ):
        super().__init__()
        channels, hidden, deviation = SIZES[size]
        self.length, self.places = length, (length - FIELD) // STRIDE + 1
        self.characters = Characters()
        layers, inputs = [], len(ALPHABET)
        for number, kernel in enumerate(KERNELS):
            layers += [nn.Conv1d(inputs, channels, kernel), nn.ReLU()] + [nn.MaxPool1d(3)] * (number in POOLED)
            inputs = channels
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten())
        inputs = channels * self.places
        for _ in range(2):
            self.head += nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(0.5))
            inputs = hidden
        self.classifier = nn.Linear(hidden, num_classes)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, std=deviation)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K) of texts (B, L) int64, bytes of UTF-8."""
        inputs = inputs[:, : self.length]
        used = min(self.places, -(-inputs.shape[1] // STRIDE))
        maps = self.convolutions(self.characters(inputs, FIELD + STRIDE * (used - 1)))
        if used < self.places:  # after the end of all texts of the batch, every place sees the same
            blank = self.convolutions(maps.new_zeros(1, len(ALPHABET), FIELD))
            maps = torch.cat([maps, blank.expand(len(maps), -1, self.places - used)], 2)
        return self.classifier(self.head(maps))
