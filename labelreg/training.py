"""The training loop: it knows networks, methods and data by their interfaces only."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from labelreg import checkpoints
from labelreg.capture import CudaGraphs, ReplayedStep
from labelreg.data import Batch, Dataset, Loader, SequenceLoader, Split, batches
from labelreg.methods import Method, Step
from labelreg.metrics import perplexity_from_nll, summarise_batches
from labelreg.names import one_line
from labelreg.networks import features, reset_state
from labelreg.processes import ALONE, Processes
from labelreg.recipe import Recipe

EVALUATION_VALUES = 1 << 24  # per batch: 1024 images of up to 73 pixels, 111 of 224
EVALUATION_STREAMS = 10  # of an evaluated text: each starts without context; a single one would be exact but slow

Observer = Callable[["Trainer"], dict[str, Any]]
Progress = Callable[[dict[str, float]], None]
Stop = Callable[[], bool]


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, and stopped between two steps, after saving a checkpoint if it was given a file."""


class Diverged(RuntimeError):
    """The training loss, or the network's loss on a split that it is evaluated on, is no longer finite."""


class Trainer:
    """Network, method, data and recipe, and the state of training.

    Args:
        network, method: what to train, and how a batch becomes a loss; both are moved to the device.
        dataset: its training split is used for training, and its test split for evaluation after every epoch.
        augmentation: a key of :data:`labelreg.data.augmentations`.
        validation: a held-out split for further evaluation; by default that of the data set, if it has one.
        seed: random seed of the order and augmentation of the data; all else is drawn from PyTorch's global generator.
        observers: called after every epoch; those whose attribute ``at_end`` is true, only after the last. Their
            ``check``, if they have one, is called before training.
        owner: the run that checkpoints belong to; checkpoints of another run are refused.
        graph: whether steps on a GPU are replayed as CUDA graphs, if the method allows it and all samples have the same
            shape.
        processes: the processes that train together; each gets a part of every batch.

    Attributes:
        epoch: number of finished epochs.
        history: one dict per epoch: ``epoch``, ``loss``, its terms as ``loss_NAME``, ``train_accuracy``,
            ``test_error``, ``test_nll``, ``test_ece`` (fractions, nats), ``test_perplexity`` for a language model, the
            same for the validation split, ``learning_rate`` at the end of the epoch, ``seconds``.
        observations: name to what the observers returned, one value per call.

    Raises:
        ValueError: the method, the augmentation, the schedule or an observer does not fit the data set.
    """

    def __init__(
        self,
        network: nn.Module,
        method: Method,
        dataset: Dataset,
        recipe: Recipe,
        *,
        augmentation: str = "none",
        validation: Split | None = None,
        seed: int = 0,
        observers: tuple[Observer, ...] = (),
        device: torch.device | str = "cpu",
        graph: bool = True,
        owner: str = "",
        processes: Processes = ALONE,
    ):
        self.owner, self.processes = owner, processes
        self.device = torch.device(device)
        self.dataset = dataset.to(self.device)
        self.validation = validation.to(self.device) if validation else self.dataset.validation
        if recipe.schedule == "plateau" and not self.validation:
            name = dataset.name
            raise ValueError(f"schedule 'plateau' watches a validation split, and {name} comes with none: hold one out")
        memory_format = torch.channels_last if len(dataset.input_shape) == 3 else torch.preserve_format
        self.network = network.to(self.device, memory_format=memory_format)
        self.method = method.to(self.device, memory_format=memory_format)
        self.recipe = recipe
        self.observers = observers
        for observer in observers:
            if hasattr(observer, "check"):
                observer.check(self)
        self.loader = _make_loader(self.dataset, recipe, augmentation, method, seed, processes)
        self.optimizer = _make_optimizer(self.network, self.method, recipe)
        self.scheduler = _make_scheduler(self.optimizer, recipe, len(self.loader))
        self.position, self.seconds = 0, 0.0
        self.totals: dict[str, Tensor] = {}
        self._replayed: ReplayedStep | None = None
        samples_have_one_shape = dataset.task == "classification" and not dataset.reading
        if (
            graph
            and self.device.type == "cuda"
            and processes.count == 1
            and method.capturable
            and samples_have_one_shape
        ):
            self.replay_steps(CudaGraphs(self.device))
        self._finished: list[tuple[dict[str, float], dict[str, Tensor]]] = []
        self._journal: checkpoints.Journal | None = None

    @property
    def _parameters(self) -> list[nn.Parameter]:
        return [each for group in self.optimizer.param_groups for each in group["params"]]

    @property
    def epoch(self) -> int:
        return len(self._finished)

    @property
    def history(self) -> list[dict[str, float]]:
        return [row for row, _ in self._finished]

    @property
    def observations(self) -> dict[str, list[Tensor]]:
        names = dict.fromkeys(name for _, seen in self._finished for name in seen)
        return {name: [seen[name] for _, seen in self._finished if name in seen] for name in names}

    def fit(self, checkpoint: Path | None = None, progress: Progress | None = None, stop: Stop | None = None) -> None:
        """Train from the current state to the recipe's last epoch.

        Args:
            checkpoint: file to save to after every epoch and on interruption, and to resume from if it exists.
            progress: called with the history's new row after every epoch.
            stop: called after every step; training is interrupted when it returns True.

        Raises:
            Interrupted: on SIGINT, SIGTERM or ``stop``, after the current step; a second signal acts at once.
            Diverged: the loss of an epoch, or of the evaluation after it, is not finite.
            ValueError: the checkpoint cannot be resumed from, or the call is within autocast.
        """
        if torch.is_autocast_enabled(self.device.type):
            raise ValueError("training sets its own precision, see the recipe, and must not be called within autocast")
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint)
        signalled, stops = threading.Event(), False
        with stop_on_signals(signalled.set), torch.enable_grad():
            while self.epoch < self.recipe.epochs:
                for _ in self._epoch():
                    stops = signalled.is_set() or (stop is not None and stop())
                    if self.processes.wanted(stops, self.position):
                        self._interrupt(checkpoint)
                if progress is not None:
                    progress(self.history[-1])
                if checkpoint is not None:
                    self.save(checkpoint)
                if self.processes.wanted(stops or signalled.is_set(), self.position):
                    self._interrupt(checkpoint)

    def _interrupt(self, checkpoint: Path | None) -> NoReturn:
        within = f"in epoch {self.epoch + 1}, step {self.position} of {len(self.loader)}"
        where = within if self.position else f"after epoch {self.epoch}"
        if checkpoint is not None:
            self.save(checkpoint)
        raise Interrupted(f"interrupted {where}" + ("; saved, the same call resumes there" if checkpoint else ""))

    def _epoch(self) -> Iterator[None]:
        """Train for an epoch, from the current position, and evaluate; pause after each step."""
        started = time.perf_counter() - self.seconds
        self.network.train()
        self.method.train()
        if self.position == 0:
            reset_state(self.network, self.method)
            self.method.start_epoch(self.epoch)
        if self._replayed:
            self._replayed.start_epoch()
        for batch in self.loader.epoch(self.epoch, start=self.position):
            self.step(batch)
            self.position += 1
            self.seconds = time.perf_counter() - started
            yield
        self._finish_epoch(started)

    def step(self, batch: Batch) -> Step:
        """Update network and method on a batch, add it to the epoch's totals, and return its loss."""
        kind = self.method.start_step()
        if self.method.one_update:
            step = self._replayed(batch, kind) if self._replayed else self._compute(batch)
            self.optimizer.step()
        else:
            step = self._update_repeatedly(batch)
        if self.recipe.schedule != "plateau":
            self.scheduler.step()
        return step

    def replay_steps(self, recorder: CudaGraphs) -> None:
        """Replay steps if possible, see :class:`labelreg.capture.ReplayedStep`."""
        self._replayed = ReplayedStep(self._compute, self._parameters, self.method.generators(self.device), recorder)

    def _compute(self, batch: Batch) -> Step:
        """Compute the step of a batch and its gradients, and count it."""
        with self.autocast():
            step = self.method.step(self.network, batch)
        self._differentiate(step.loss)
        self._count(step, batch)
        return step

    def _update_repeatedly(self, batch: Batch) -> Step:
        """Make the updates of a batch one after another, and count the sum of their losses."""
        updates, made = self.method.updates(self.network, batch), []
        while step := self._next(updates):
            made.append(step)
            self._differentiate(step.loss)
            self.optimizer.step()
        terms = {name: term for each in made for name, term in each.terms.items()}
        step = Step(sum(each.loss for each in made), made[0].logits, terms)
        self._count(step, batch)
        return step

    def _next(self, updates: Iterator[Step]) -> Step | None:
        with self.autocast():
            return next(updates, None)

    def _differentiate(self, loss: Tensor) -> None:
        """Compute the gradients, and clip them."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average_gradients(self._parameters)
        if self.recipe.clip_norm:
            for group in self.optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], self.recipe.clip_norm)

    @torch.no_grad()
    def _count(self, step: Step, batch: Batch) -> None:
        """Add a batch to the epoch's totals, on the device, because reading a number would wait for it."""
        size = len(batch.targets)
        counted = {f"loss_{name}": term * size for name, term in step.terms.items()} | {"loss": step.loss * size}
        predicted = step.logits.max(1).indices  # faster than argmax on a CPU
        counted["train_accuracy"] = (predicted == batch.targets).sum()
        for name, value in counted.items():
            if name in self.totals:
                self.totals[name] += value.double()  # in place, so that it can be replayed
            else:
                self.totals[name] = value.double()

    def _finish_epoch(self, started: float) -> None:
        self.processes.join(self.network, self.method)
        self.processes.add([*self.totals.values()])
        samples = self.method.copies * self.loader.samples
        values = (torch.stack(list(self.totals.values())) / samples).tolist()
        row = {"epoch": self.epoch + 1} | dict(zip(self.totals, values, strict=True))
        _check_finite(row, "loss")
        splits = {"test": self.dataset.test} | ({"validation": self.validation} if self.validation else {})
        for name, split in splits.items():
            row |= {f"{name}_{key}": value for key, value in self._summarise(split).items()}
            _check_finite(row, f"{name}_nll")  # it may be the last step that diverged
        seen: dict[str, Tensor] = {}
        for observer in self.observers:
            if not getattr(observer, "at_end", False) or self.epoch + 1 == self.recipe.epochs:
                seen |= {name: torch.as_tensor(value, device="cpu") for name, value in observer(self).items()}
        if self.recipe.schedule == "plateau":
            self.scheduler.step(row["validation_nll"])
        row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        row["seconds"] = time.perf_counter() - started
        self._finished.append((row, seen))
        self.position, self.seconds, self.totals = 0, 0.0, {}

    def predict(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return the method's logits (N, K) in float32 and the targets (N,) of a split.

        They are in the split's order, except for a language model, see :class:`labelreg.data.SequenceLoader`.
        """
        logits, targets = zip(*self._predictions(split), strict=True)
        return torch.cat(logits), torch.cat(targets)

    def features(self, split: Split) -> Tensor:
        """Return the inputs of the network's classifier on a split, (N, D) in float32, in evaluation mode."""
        penultimate = self.evaluate(split, lambda inputs: features(self.network, inputs)[1].flatten(0, -2))
        return torch.cat([each for each, _ in penultimate])

    @torch.no_grad()
    def evaluate(self, split: Split, function: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a function's outputs, in float32, and the targets, per batch of a split, in evaluation mode.

        Batches are yielded, because the logits of a whole text may not fit into memory. The split is on the
        device, and is normalised here.
        """
        self.network.eval()
        self.method.eval()
        reset_state(self.network, self.method)
        for batch in self.evaluation_batches(split):
            with self.autocast():
                values = function(batch.inputs)
            yield values.float(), batch.targets

    def _predictions(self, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        return self.evaluate(split, lambda inputs: self.method.predict(self.network, inputs))

    def _summarise(self, split: Split) -> dict[str, float]:
        summary = summarise_batches(self._predictions(split))
        if self.dataset.task == "language_modelling":
            summary["perplexity"] = perplexity_from_nll(summary["nll"])
        return summary

    def evaluation_batches(self, split: Split) -> Iterator[Batch]:
        """Return the batches of a split for evaluation: in stored order, normalised, not augmented."""
        if self.dataset.task == "language_modelling":
            return SequenceLoader(split, EVALUATION_STREAMS, self.recipe.sequence_length).epoch(0)
        size = min(1024, max(1, EVALUATION_VALUES // self.dataset.sample_values))
        return batches(split, size, self.dataset.mean, self.dataset.std)

    def autocast(self) -> torch.autocast:
        """Return the context of the recipe's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16")

    def save(self, path: Path) -> None:
        """Save the state of training atomically; the records of finished epochs are appended to a file beside it."""
        if self._journal is None or self._journal.path != checkpoints.Journal(path).path:
            self._journal = checkpoints.Journal(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {"owner": self.owner}
        state |= {name: getattr(self, name) for name in _PROGRESS}
        state |= {name: getattr(self, name).state_dict() for name in _MODULES}
        state["parts"] = self.processes.each(self._own_state())

        def write() -> None:
            self._journal.keep(self._finished)
            checkpoints.write(path, state | {"ends": self._journal.ends})

        self.processes.first(write)

    def _own_state(self) -> dict[str, Any]:
        """The state that a process does not share with the processes that it trains with."""
        parts = (self.network, self.method) if self.processes.count > 1 else ()
        buffers = [[buffer.cpu() for buffer in part.buffers()] for part in parts]
        totals = {name: total.cpu() for name, total in self.totals.items()}
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        return {"totals": totals, "buffers": buffers, "random": random}

    def load(self, path: Path) -> None:
        """Restore the state of training; raise ``ValueError`` for a file that does not hold it."""
        try:
            state = checkpoints.read(path)
            if state["owner"] != self.owner:
                raise ValueError("it is that of another run")
            self._journal = checkpoints.Journal(path, state["ends"])
            self._finished = self._journal.read()
            for name in _PROGRESS:
                setattr(self, name, state[name])
            if self.epoch > self.recipe.epochs or self.position > len(self.loader):
                raise ValueError(f"it is in epoch {self.epoch + 1}, step {self.position}, which this run has not")
            # what start_epoch derives from the epoch is not part of the method's state
            self.method.start_epoch(self.epoch)
            for name in _MODULES:
                getattr(self, name).load_state_dict(state[name])
            if len(state["parts"]) != self.processes.count:
                raise ValueError(f"{len(state['parts'])} processes have saved it, and here are {self.processes.count}")
            self._take_own_state(**state["parts"][self.processes.rank])
        except Exception as error:
            reason = one_line(error)
            raise ValueError(f"{path} cannot be resumed from ({reason}); move it away to start anew") from error

    def _take_own_state(
        self, totals: dict[str, Tensor], buffers: list[list[Tensor]], random: dict[str, Tensor]
    ) -> None:
        # what belongs on the device is copied there; observations are kept on the CPU
        self.totals = {name: total.to(self.device) for name, total in totals.items()}
        for module, kept in zip((self.network, self.method), buffers, strict=bool(buffers)):
            for buffer, value in zip(module.buffers(), kept, strict=True):
                buffer.copy_(value)
        torch.set_rng_state(random["cpu"])
        if self.device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.device)


_PROGRESS = ("position", "seconds")
_MODULES = ("network", "method", "optimizer", "scheduler")


def _check_finite(row: dict[str, float], name: str) -> None:
    if not math.isfinite(row[name]):
        raise Diverged(f"the {name} is {row[name]} in epoch {row['epoch']}; a lower learning_rate may help")


def _make_loader(
    dataset: Dataset, recipe: Recipe, augmentation: str, method: Method, seed: int, processes: Processes
) -> Loader | SequenceLoader:
    if dataset.task != "language_modelling":
        asked = {"augmentation": augmentation, "views": method.views, "copies": method.copies}
        asked |= {"part": processes.rank, "parts": processes.count}
        known = {"mean": dataset.mean, "std": dataset.std, "num_classes": dataset.num_classes}
        return Loader(dataset.train, recipe.batch_size, seed=seed, **asked, **known)
    if augmentation != "none" or method.views or method.copies > 1:
        views = [f"view {view!r}" for view in sorted(method.views)]
        asked = ", ".join([*views, f"augmentation {augmentation!r}", f"copies={method.copies}"])
        raise ValueError(f"{dataset.name} is a text: it has no views, copies or augmentation, got {asked}")
    return SequenceLoader(dataset.train, recipe.batch_size, recipe.sequence_length)


def _make_optimizer(network: nn.Module, method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    groups = [{"params": list(network.parameters())}, *method.parameter_groups(recipe.learning_rate)]
    common = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, **common, fused=True)  # several times as fast for a large vocabulary
    if all(each.is_cuda for each in network.parameters()):
        common["fused"] = True  # one kernel; on a CPU it is no faster
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(groups, **common, momentum=recipe.momentum, nesterov=nesterov)


def _make_scheduler(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a scheduler to be stepped after every update, so milestones are in steps; plateau is stepped per epoch."""
    steps = recipe.epochs * steps_per_epoch
    schedulers = torch.optim.lr_scheduler
    match recipe.schedule:
        case "multi_step":
            milestones = [epoch * steps_per_epoch for epoch in recipe.milestones]
            return schedulers.MultiStepLR(optimizer, milestones, recipe.decay)
        case "one_cycle":
            peaks = [group["lr"] for group in optimizer.param_groups]
            # one more than the updates: the scheduler is also stepped after the last one
            return schedulers.OneCycleLR(optimizer, peaks, total_steps=steps + 1, cycle_momentum=False)
        case "cosine":
            return schedulers.CosineAnnealingLR(optimizer, steps)
        case "plateau":
            # without PyTorch's tolerances: any improvement counts, and any decrease is made
            return schedulers.ReduceLROnPlateau(optimizer, factor=recipe.decay, patience=0, threshold=0.0, eps=0.0)
        case _:
            return schedulers.ConstantLR(optimizer, factor=1.0)


@contextlib.contextmanager
def stop_on_signals(request: Callable[[], object]) -> Iterator[None]:
    """Call a function at the first SIGINT or SIGTERM, so that the current step completes; a second acts at once.

    Inside another such block, this one leaves the signals to the outer one, whose function must reach the inner block.
    """
    inside = getattr(signal.getsignal(signal.SIGINT), "__module__", None) == __name__
    if inside or threading.current_thread() is not threading.main_thread():
        yield
        return
    with contextlib.ExitStack() as previous:

        def handle(number: int, frame: FrameType | None) -> None:
            previous.close()
            request()

        for number in (signal.SIGINT, signal.SIGTERM):
            previous.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(number, handle)
        yield
