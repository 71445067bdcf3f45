"""Training steps that are recorded once and replayed as a whole, as CUDA graphs.

With small networks, launching kernels one by one from Python leaves a GPU idle; a graph is launched as a whole.
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

EAGER_STEPS = 3  # steps of a kind computed before one is recorded: libraries choose their kernels in them


class CudaGraphs:
    """Records computations as CUDA graphs, on a separate stream, so that they can be replayed without Python."""

    def __init__(self, device: torch.device):
        self._device, self._stream = device, torch.cuda.Stream(device)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Return a context, on the recording stream, for computations that precede a recording."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            yield
        here.wait_stream(self._stream)

    def record(self, compute: Callable[[], Step], generators: Sequence[Generator]) -> tuple[Step, Callable[[], None]]:
        """Return the outcome's tensors and the function that fills them. They have no values before its first call.

        Every call draws further random numbers from the generators, including PyTorch's own.
        """
        graph = torch.cuda.CUDAGraph()
        for each in generators:
            graph.register_generator_state(each)
        with torch.cuda.graph(graph, stream=self._stream):
            step = compute()
        return step, graph.replay


class ReplayedStep:
    """A function that computes the step of a batch and the gradients of parameters, replayed if possible.

    What the function does with Python objects may depend only on the kind of step, which the caller gives, and on the
    epoch. Steps of the same kind and shapes are recorded once per epoch.

    Args:
        compute: the function; it replaces the gradients of the parameters.
        parameters: the parameters that have gradients.
        generators: the generators that the function draws from, apart from PyTorch's own.
        recorder: records the function.
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
        """Forget the recordings: the first step of a kind in an epoch is computed, and the second is recorded."""
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
            except RuntimeError as error:  # a graph cannot contain one of the operations
                warnings.warn(
                    f"steps are computed one by one, as they cannot be recorded: {one_line(error)}", stacklevel=2
                )
                self._recorder = None
        if self._recorder is None:  # the error is gone by now, and with it the graph, which holds the generators
            return self._compute(batch)
        return self._recorded[kind].replay(batch, self._parameters)

    def _record(self, batch: Batch) -> "_Recording":
        inputs = Batch(*(None if each is None else each.clone() for each in _values(batch)))
        step, again = self._recorder.record(lambda: self._compute(inputs), self._generators)
        return _Recording(inputs, step, [each.grad for each in self._parameters], again)


@dataclass
class _Recording:
    """A recorded step: inputs, outcome and gradients, which stay in the same memory, and the function to replay it."""

    inputs: Batch
    step: Step
    gradients: list[Tensor | None]
    again: Callable[[], None]

    def replay(self, batch: Batch, parameters: Sequence[Tensor]) -> Step:
        for mine, given in zip(_tensors(self.inputs), _tensors(batch), strict=True):
            mine.copy_(given)
        self.again()
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient  # a step that was not replayed has set other tensors
        return self.step


def _values(batch: Batch) -> list[Tensor | None]:
    return [getattr(batch, each.name) for each in fields(batch)]


def _tensors(batch: Batch) -> list[Tensor]:
    return [each for each in _values(batch) if each is not None]
