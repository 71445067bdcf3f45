"""The recurrent language model of Network as Regularization, and the state that it carries from batch to batch."""

import torch
from torch import Tensor, nn

from labelreg.networks.registry import register


class LanguageModel(nn.Module):
    """Layers of LSTM between an embedding and a softmax over the words (Zaremba et al., 2014).

    Dropout lies on every connection but the recurrent ones: between embedding, layers and classifier. What the layers
    remember at the end of one call is where the next call starts, without gradient, so that consecutive pieces of a
    text are read as one and back-propagation ends at the piece. A new text begins after ``reset_state``. The state is
    part of the ``state_dict``: training resumes in the middle of a text.

    Args:
        num_classes: V, the number of words, which are both inputs and outputs.
        hidden: H, the width of the embedding and of every layer.
        layers: how many layers of LSTM.
        dropout: the probability that a unit is dropped in training.
        init_range: all parameters are drawn uniformly from within plus and minus this.

    Raises:
        ValueError: there is no layer.
    """

    def __init__(self, num_classes: int, hidden: int, layers: int, dropout: float, init_range: float):
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        self.embedding = nn.Embedding(num_classes, hidden)
        # one module a layer, since cuDNN's own dropout between layers does not obey PyTorch's random seed
        self.layers = nn.ModuleList(nn.LSTM(hidden, hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_classes)
        # not persistent, since a state_dict refuses buffers of another size: the batch size is not the network's
        self.register_buffer("_state", torch.empty(layers, 2, 0, hidden), persistent=False)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init_range, init_range)

    def forward(self, inputs: Tensor) -> Tensor:
        """Predict the next word at every place of B texts, read side by side.

        Args:
            inputs: (T, B) int64, the next T words of each text.

        Returns:
            (T * B, V) logits, text by text within each place: the order of ``inputs.flatten()``.

        Raises:
            ValueError: the inputs are not (T, B), or there are not as many texts as the state is of.
        """
        if inputs.dim() != 2:
            raise ValueError(f"a language model takes (T, B) words, T of each of B texts, got {tuple(inputs.shape)}")
        state = self._state_for(inputs.shape[1])
        values = self.dropout(self.embedding(inputs))
        after = []
        for layer, (hidden, cell) in zip(self.layers, state.unsqueeze(2), strict=True):
            values, (hidden, cell) = layer(values, (hidden, cell))
            values = self.dropout(values)
            after.append(torch.cat((hidden, cell)))
        self._state = torch.stack(after).detach().to(state.dtype)
        return self.classifier(values.flatten(0, 1))

    def reset_state(self) -> None:
        """Forget what was read: the next inputs begin new texts."""
        self._state = self._state[:, :, :0]

    def get_extra_state(self) -> Tensor:
        """The state, (layers, 2, B, H): hidden and cell of every layer; B is 0 where nothing was read."""
        return self._state

    def set_extra_state(self, state: Tensor) -> None:
        self._state = state.to(self._state)

    def _state_for(self, texts: int) -> Tensor:
        layers, pair, known, hidden = self._state.shape
        if known not in (0, texts):
            raise ValueError(
                f"the network is in the midst of {known} texts, got inputs of {texts}; reset_state() begins new texts"
            )
        return self._state if known else self._state.new_zeros(layers, pair, texts, hidden)


def reset_state(*modules: nn.Module) -> None:
    """Reset every network within the modules that carries a state, as ``LanguageModel`` does."""
    for module in modules:
        for part in module.modules():
            if hasattr(part, "reset_state"):
                part.reset_state()


@register("lstm")
def lstm(
    num_classes: int,
    input_shape: tuple[()] = (),
    hidden: int = 1500,
    layers: int = 2,
    dropout: float = 0.65,
    init_range: float = 0.04,
) -> nn.Module:
    """The language model of Network as Regularization, that of Zaremba et al. (2014) and Pereyra et al. (2017).

    66.0 M parameters for the 10,000 words of Penn Treebank.

    Args:
        num_classes: V, the number of words.
        input_shape: (), that of a single word.
        hidden: H, the width of the embedding and of every layer.
        layers: how many layers of LSTM.
        dropout: the probability that a unit is dropped in training, on all but the recurrent connections.
        init_range: all parameters are drawn uniformly from within plus and minus this. Not stated in the paper; Zaremba
            et al. take 0.04 for this size, 0.05 for 650 units and 0.1 for 200.
    """
    return LanguageModel(num_classes, hidden, layers, dropout, init_range)
