"""fastText: a linear classifier of the mean vector of words and pairs of words."""

from pydantic import PositiveInt
from torch import Tensor, cat, nn

from labelreg.networks.layers import assemble
from labelreg.networks.registry import register
from labelreg.networks.words import PADDING, UNKNOWN, WORDS
from labelreg.options import Widths

FACTOR = 116_049_371  # of fastText's hash function


class BagOfWords(nn.EmbeddingBag):
    """The mean vector (B, D) of a text's words (B, L) and of its pairs of neighbours, hashed into ``buckets``.

    Unknown words are left out, as are the pairs they are in. The vector of a text without words is zero.
    """

    def __init__(self, words: int, buckets: int, dimension: int):
        super().__init__(words + buckets, dimension, mode="mean", padding_idx=PADDING)
        self.words, self.buckets = words, buckets
        nn.init.uniform_(self.weight, -1 / dimension, 1 / dimension)
        nn.init.zeros_(self.weight[PADDING])

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.masked_fill(inputs == UNKNOWN, PADDING)
        if self.buckets:
            first, second = inputs[:, :-1], inputs[:, 1:]
            pairs = (first * FACTOR + second) % self.buckets + self.words
            inputs = cat((inputs, pairs.masked_fill((first == PADDING) | (second == PADDING), PADDING)), 1)
        return super().forward(inputs)


@register("fasttext", reading="words")
def fasttext(
    num_classes: int,
    input_shape: tuple[int, int] = WORDS,
    bigrams: bool = True,
    dimension: PositiveInt = 10,
    buckets: PositiveInt = 1 << 20,
    hidden: Widths = (),
) -> nn.Module:
    """A linear classifier of the mean vector of a text (Joulin et al., 2017, "Bag of tricks").

    Every word of the training texts has a vector. With ``bigrams`` the pairs of neighbours have vectors too, hashed
    into ``buckets``: 10 * (V + 2^20) + 11 K parameters in all. The paper has ten times as many buckets. The vectors are
    initialised as in the published code.
    """
    vectors = BagOfWords(input_shape[1], buckets if bigrams else 0, dimension)
    return assemble({"vectors": vectors}, dimension, num_classes, hidden)
