"""What a method is: a module that turns (network, batch) into a loss, and the facts that it carries."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from labelreg.data import Batch
from labelreg.options import PLAIN, options_of


@dataclass
class Step:
    """The outcome of one batch.

    Attributes:
        loss: scalar to minimise.
        logits: (B, K) of the trained network on the batch's inputs.
        terms: the named parts of the loss, scalars that add up to it.
    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]

    @classmethod
    def of(cls, logits: Tensor, terms: dict[str, Tensor]) -> Self:
        """The step whose loss is the sum of the terms."""
        return cls(sum(terms.values()), logits, terms)


class Method(nn.Module, ABC):
    """A way to train a network. What it learns apart from the network is stored in its own parameters.

    The parameters of its constructor are its options. Each has an annotation, against which its value is checked before
    anything is trained. To find options that exclude each other, the method is also made once on the meta device, with
    10 classes and empty networks. :func:`labelreg.options.takes_options` sets plain options as attributes before the
    constructor runs.

    Attributes:
        title: the printed name where there is little room.
        aliases: other names in the papers.
        paper: key of the paper whose method it is, such as ``"kr"``; empty for a baseline.
        colour: colour of its curves.
        place: place on the map of methods: whose distribution softens the label, and when that distribution is known.
            The second is empty if the label stays one-hot, and both are empty if the method is not on the map.
        capturable: whether a step is a pure function of tensors, apart from what :meth:`start_epoch` and
            :meth:`start_step` decide, so that a CUDA graph can hold it. A buffer that a step changes must be changed in
            place: a graph goes on reading the memory that the buffer had when the graph was recorded.
        benchmark: its rows in the benchmark of all methods: printed name to options.
        on_text: whether it is in the benchmark of language models too.
        on_tokens: whether it can train on inputs that are numbers of words or characters. A method that changes,
            compares or copies inputs cannot.
        added: options added since runs were recorded, each with the value that reproduces the earlier runs.
        views: the extra views of the data that :meth:`step` reads from the batch: ``"partner"`` (another sample of the
            same class), ``"source"`` (the sample before augmentation).
        copies: number of copies of each sample in a batch, each augmented independently.
        takes_probabilities: whether targets may be probabilities, which :class:`.Mixup` makes, or only class indices.
        lr_mult: factor on the learning rate of the method's own parameters.
        one_update: whether the method makes one update per batch, as every method inside another must.
        prepares: whether :meth:`prepare` trains a network on plain batches, which no method inside another may.
        mixes: whether the method trains on mixed samples, which a method around it does not see.
        divisible: whether several processes can each compute the loss of a part of a batch. The loss must be a mean
            over samples, and what the method keeps of the samples must be in ``counted``.
        counted: buffers that count the samples of an epoch; at its end, the counts of several processes are added.
    """

    title: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = ""
    colour: ClassVar[str]
    place: ClassVar[tuple[str, str]] = ("", "")
    capturable: bool = True
    benchmark: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    on_text: ClassVar[bool] = False
    on_tokens: ClassVar[bool] = True
    added: ClassVar[Mapping[str, Any]] = {}

    views: frozenset[str] = frozenset()
    copies: int = 1
    takes_probabilities: bool = True
    lr_mult: float = 1.0
    one_update: bool = True
    prepares: bool = False
    mixes: bool = False
    divisible: bool = False
    counted: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def called(cls, printed: str) -> str:
        """Return a printed name, followed by the title if it begins with an alias: ``"LS (label smoothing)"``."""
        spelled_alike = re.sub(r"\W", " ", printed).lower() == cls.title.lower()
        is_alias = not {printed, re.split(r"\W", printed)[0]}.isdisjoint(cls.aliases)
        return f"{printed} ({cls.title})" if is_alias and not spelled_alike else printed

    @abstractmethod
    def step(self, network: nn.Module, batch: Batch) -> Step:
        """Compute the loss of one batch; the caller runs ``backward``."""

    def updates(self, network: nn.Module, batch: Batch) -> Iterator[Step]:
        """Yield the loss of each update of a batch; the caller makes each update before asking for the next loss.

        There is one update, by the loss of :meth:`step`, unless a method makes more.
        """
        yield self.step(network, batch)

    def prepare(self, train: Callable[[nn.Module, Method], None]) -> None:
        """Train what must be trained beforehand: called once, before an optimizer asks for the parameter groups.

        Args:
            train: trains a network with a method in the same way as this method will train its network: on the same
                data, in the same order and for as long.
        """

    def start_epoch(self, epoch: int) -> None:
        """Prepare for an epoch, counted from 0: called once before its first batch.

        State that cannot be recomputed from the arguments must be kept in buffers, so that checkpoints restore it.
        """

    def start_step(self) -> Hashable:
        """Make the decisions of the next step in Python; steps for which the result is equal are of one kind.

        Within an epoch, steps of one kind and shape are the same function of tensors, so that one may be replayed. A
        custom training loop need not call this: the step then makes its decisions itself.
        """
        return None

    def generators(self, device: torch.device) -> Sequence[Generator]:
        """Return the generators that steps use besides PyTorch's; :meth:`start_step` seeds them from then on."""
        return ()

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Logits (B, K) by which the network is evaluated."""
        return network(inputs)

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """Return what the method trains as parameter groups of an optimizer whose defaults are the network's."""
        groups = []
        if own := [parameter for parameter in self.parameters(recurse=False) if parameter.requires_grad]:
            # weight decay would pull labels towards zero
            groups.append({"params": own, "weight_decay": 0.0, "lr": learning_rate * self.lr_mult})
        for child in self.children():
            if isinstance(child, Method):
                groups.extend(child.parameter_groups(learning_rate))
            elif trained := [parameter for parameter in child.parameters() if parameter.requires_grad]:
                groups.append({"params": trained})
        return groups

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the method; its own buffers, such as running averages, stay in single precision at least."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.is_floating_point() and buffer.dtype.itemsize < torch.float32.itemsize:
                self._buffers[name] = before[name].to(buffer.device, torch.float32)
        return self

    def extra_repr(self) -> str:
        shown = {name: getattr(self, name, None) for name in options_of(type(self))}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if isinstance(value, PLAIN))


class Wrapper(Method):
    """A method around another: it changes the batch or the loss and leaves everything else to the method inside."""

    def __init__(self, method: Method):
        super().__init__()
        if not method.one_update:
            raise ValueError(f"{method.title} makes several updates of a batch, which no method can be put around")
        if method.prepares:
            raise ValueError(f"{method.title} first trains on plain batches, which no method can be put around")
        self.method = method
        self.views = method.views
        self.copies = method.copies
        self.takes_probabilities = method.takes_probabilities
        self.mixes = method.mixes

    @property
    def capturable(self) -> bool:
        return self.method.capturable

    @property
    def divisible(self) -> bool:
        return self.method.divisible

    def start_epoch(self, epoch: int) -> None:
        self.method.start_epoch(epoch)

    def start_step(self) -> Hashable:
        return self.method.start_step()

    def generators(self, device: torch.device) -> Sequence[Generator]:
        return self.method.generators(device)

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        return self.method.predict(network, inputs)

    def _check_not_mixed(self) -> None:
        if self.mixes:
            raise ValueError(f"put mixup around {type(self).__name__}, not inside it")

    def _check_inputs(self, inputs: Tensor) -> None:
        if not inputs.is_floating_point():
            raise TypeError(f"{type(self).__name__} changes inputs, which must be floating-point, got {inputs.dtype}")


class Criterion(Method):
    """A method that needs only logits and labels, so it drops into any training loop.

    In a custom loop: ``loss = criterion(network(inputs), targets)``. Subclasses implement :meth:`terms`.
    """

    divisible = True

    @abstractmethod
    def terms(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the named parts of the loss, scalars that add up to it.

        Targets are class indices, (B,), or probabilities, (B, K), where the criterion allows them.
        """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss, a scalar: the mean over the batch."""
        return sum(self.terms(logits, targets).values())

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits = network(batch.inputs)
        return Step.of(logits, self.terms(logits, batch.targets))


def check_samples(method: Method, batch: Batch) -> None:
    """Check that a batch has one target per sample, for a method that cannot learn from one target per word."""
    if len(batch.inputs) != len(batch.targets):
        got = f"inputs {tuple(batch.inputs.shape)} with targets {tuple(batch.targets.shape)}"
        raise ValueError(f"{type(method).__name__} needs one class per sample, not one per word: got {got}")


def frozen_copy(network: nn.Module) -> nn.Module:
    """Return a copy that is not trained, in evaluation mode; it shares nothing with the network."""
    return copy.deepcopy(network).requires_grad_(False).eval()
