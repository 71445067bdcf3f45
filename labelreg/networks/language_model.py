"""The recurrent language model of Network as Regularization, which carries its state from batch to batch."""

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from labelreg.networks.registry import register
from labelreg.options import Count, FractionBelowOne


@register("lstm")
class LanguageModel(nn.Module):
    """LSTM layers between an embedding and a classifier of the next word (Zaremba et al., 2014; Pereyra et al., 2017).

    A call starts from the state in which the previous call ended, without its gradient, so that consecutive pieces of a
    text are read as one text with truncated back-propagation. :meth:`reset_state` begins new texts. The state is part
    of the ``state_dict``, so that training can resume in the middle of a text.

    66.0 M parameters for the 10,000 words of Penn Treebank; ``num_classes`` is V, the number of words.

    Args:
        hidden: H, the width of the embedding and of every LSTM layer.
        dropout: probability that a unit is dropped between embedding, layers and classifier; recurrent units never are.
        init_range: bound of the uniform distribution, symmetric about zero, of all initial parameters. Not stated in
            the paper; Zaremba et al. use 0.04 for this size, 0.05 for 650 units and 0.1 for 200.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[()] = (),
        hidden: Count = 1500,
        layers: Count = 2,
        dropout: FractionBelowOne = 0.65,
        init_range: PositiveFloat = 0.04,
    ):
        super().__init__()
        self.embedding = nn.Embedding(num_classes, hidden)
        # one module per layer, since cuDNN's dropout between layers does not obey PyTorch's random seed
        self.layers = nn.ModuleList(nn.LSTM(hidden, hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_classes)
        # not persistent, since a state_dict refuses buffers of another batch size
        self.register_buffer("_state", torch.empty(layers, 2, 0, hidden), persistent=False)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init_range, init_range)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (T * B, V) of the words that follow each of (T, B) int64, flattened."""
        if inputs.dim() != 2:
            raise ValueError(f"a language model takes (T, B) words, T of each of B texts, got {tuple(inputs.shape)}")
        texts = inputs.shape[1]
        layers, pair, known, width = self._state.shape
        if known not in (0, texts):
            what = f"the network is in the midst of {known} texts, got inputs of {texts}"
            raise ValueError(f"{what}; reset_state() begins new texts")
        state = self._state if known else self._state.new_zeros(layers, pair, texts, width)
        values = self.dropout(self.embedding(inputs))
        after = []
        for layer, (hidden, cell) in zip(self.layers, state.unsqueeze(2), strict=True):
            values, (hidden, cell) = layer(values, (hidden, cell))
            values = self.dropout(values)
            after.append(torch.cat((hidden, cell)))
        self._state = torch.stack(after).detach().to(state.dtype)
        return self.classifier(values.flatten(0, 1))

    def reset_state(self) -> None:
        """Forget the state: the next inputs begin new texts."""
        self._state = self._state[:, :, :0]

    def get_extra_state(self) -> Tensor:
        """Return the state, (layers, 2, B, H): hidden and cell per layer; B is 0 after :meth:`reset_state`."""
        return self._state

    def set_extra_state(self, state: Tensor) -> None:
        self._state = state.to(self._state)


def reset_state(*modules: nn.Module) -> None:
    """Reset the state of every language model within the modules."""
    for module in modules:
        for part in module.modules():
            if hasattr(part, "reset_state"):
                part.reset_state()
