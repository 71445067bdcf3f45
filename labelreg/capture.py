"""Training steps that are recorded once and replayed as a whole, as CUDA graphs.

Launching one kernel after another from Python leaves a GPU idle where networks are small; a graph is launched at once.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

from labelreg.data import Batch
from labelreg.methods import Step
from labelreg.names import one_line

EAGER_STEPS = 3  # of a kind, before one is recorded: libraries choose their kernels in them


class CudaGraphs:
    """Records computations as CUDA graphs, on a stream of its own, so that they run again without Python."""

    def __init__(self, device: torch.device):
        self._device, self._stream = device, torch.cuda.Stream(device)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Return the context for what runs before something is recorded."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            yield
        here.wait_stream(self._stream)

    def record(self, compute: Callable[[], Step], generators: Sequence[Generator]) -> tuple[Step, Callable[[], None]]:
        """Return the tensors of the outcome, and what computes their values; they have none before it is called.

        Every call goes on drawing from the generators, PyTorch's own among them.
        """
        graph = torch.cuda.CUDAGraph()
        for each in generators:
            graph.register_generator_state(each)
        with torch.cuda.graph(graph, stream=self._stream):
            step = compute()
        return step, graph.replay


class ReplayedStep:
    """A function from a batch to its step, and to the gradients of parameters, replayed where it can be.

    The function may do nothing with Python objects but what is decided by the kind of step that it is told, and by the
    epoch. Steps of equal kinds and shapes are recorded once per epoch.

    Args:
        compute: the function; it sets the gradients of the parameters anew.
        parameters: what has gradients.
        generators: what it draws from, apart from PyTorch's own generators.
        recorder: records it.
    """

    def __init__(
        self,
        compute: Callable[[Batch], Step],
        parameters: Sequence[Tensor],
        generators: Sequence[Generator],
        recorder: CudaGraphs,
    ):
        self._compute, self._parameters, self._generators = compute, parameters, generators
        self._recorder: CudaGraphs | None = recorder
        self._recorded: dict[Hashable, _Recording] = {}
        self._seen: Counter[Hashable] = Counter()

    def start_epoch(self) -> None:
        """Forget what is recorded: the first step of a kind in an epoch is computed, the second recorded."""
        self._recorded.clear()
        self._seen = Counter({kind: min(count, EAGER_STEPS - 1) for kind, count in self._seen.items()})

    def __call__(self, batch: Batch, kind: Hashable = None) -> Step:
        if self._recorder is None:
            return self._compute(batch)
        kind = kind, *(each.shape for each in _tensors(batch))
        if kind not in self._recorded:
            self._seen[kind] += 1
            if self._seen[kind] <= EAGER_STEPS:
                with self._recorder.aside():
                    return self._compute(batch)
            try:
                self._recorded[kind] = self._record(batch)
            except RuntimeError as error:  # an operation that a graph cannot hold
                warnings.warn(
                    f"steps are computed one by one, as they cannot be recorded: {one_line(error)}", stacklevel=2
                )
                self._recorder = None
                return self._compute(batch)
        return self._recorded[kind].replay(batch, self._parameters)

    def _record(self, batch: Batch) -> "_Recording":
        inputs = Batch(*(None if each is None else each.clone() for each in _values(batch)))
        step, again = self._recorder.record(lambda: self._compute(inputs), self._generators)
        return _Recording(inputs, step, [each.grad for each in self._parameters], again)


@dataclass
class _Recording:
    """A recorded step: its inputs, its outcome and the gradients, which stay where they are, and what computes it."""

    inputs: Batch
    step: Step
    gradients: list[Tensor | None]
    again: Callable[[], None]

    def replay(self, batch: Batch, parameters: Sequence[Tensor]) -> Step:
        for mine, given in zip(_tensors(self.inputs), _tensors(batch), strict=True):
            mine.copy_(given)
        self.again()
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient  # a step that was not replayed has others
        return self.step


def _values(batch: Batch) -> list[Tensor | None]:
    return [getattr(batch, each.name) for each in fields(batch)]


def _tensors(batch: Batch) -> list[Tensor]:
    return [each for each in _values(batch) if each is not None]
