"""Running an experiment: recorded, resumed, or trained."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from labelreg import methods, networks, paths
from labelreg.data import Dataset, Split, hold_out, load, redraw_labels
from labelreg.experiments.experiment import Experiment, Options, is_teacher
from labelreg.experiments.recorded import Recorded, as_of_today
from labelreg.methods import Method
from labelreg.observers import OBSERVERS
from labelreg.results import Result, Store, provenance
from labelreg.training import Trainer

# added to the seed for what is drawn during training; PyTorch's CPU generator takes the lower 32 bits of a seed only
TRAINING_STREAM = 1 << 31
# added for every teacher before: a student that starts with its teacher's own initial parameters is no new network
GENERATION_STREAM = 1 << 24


@dataclass(frozen=True)
class Trained:
    """A result together with what it was measured with.

    Attributes:
        result: what came out.
        trainer: the trainer, with the network at the end of training.
    """

    result: Result
    trainer: Trainer

    @property
    def network(self) -> nn.Module:
        """The trained network."""
        return self.trainer.network

    @property
    def method(self) -> Method:
        """The method, with what it has learned itself."""
        return self.trainer.method

    @property
    def dataset(self) -> Dataset:
        """The data set, on the device of the network."""
        return self.trainer.dataset

    def predict(self, split: Split) -> tuple[Tensor, Tensor, Tensor]:
        """Predict a split in evaluation mode.

        Args:
            split: of this data set or another one whose inputs have the same shape and units; it is normalised by the
                mean and standard deviation of the data that was trained on.

        Returns:
            The logits (N, K) by which the method is judged, the penultimate features (N, D) of the network, both
            float32, and the targets (N,); all on the CPU.
        """
        split = split.to(self.trainer.device)
        logits, targets = self.trainer.predict(split)
        return logits.cpu(), self.trainer.features(split).cpu(), targets.cpu()


def run(
    experiment: Experiment,
    *,
    results: Path | str | None = None,
    folder: str = "shared",
    device: str = "auto",
    wait: bool = True,
    progress: Callable[[str], None] | None = print,
) -> Result:
    """Return the recorded run if there is one, resume an interrupted one, else train; then record.

    Args:
        experiment: what to run.
        results: folder of the recorded runs; by default ``data/results``.
        folder: where in it the run is recorded, and its teacher's.
        device: ``"auto"`` for the GPU where there is one, or a PyTorch device.
        wait: for another process that shares the results and is at work on this experiment.
        progress: called with a line of text after every epoch; None for silence.

    Returns:
        The result. Two processes that share a folder of results never train the same experiment.
        A run that was recorded at other defaults than today's is passed over with a warning, which names them: it is
        that of the experiment that names the old values.

    Raises:
        ValueError: what cannot be run, named with what would be right.
        FileNotFoundError: the data set is not on disk and cannot be fetched.
        labelreg.results.Claimed: another process is at work on it, and this one does not wait.
        labelreg.training.Interrupted: on SIGINT or SIGTERM; the same call resumes.
    """
    recorder = _Recorder(Store(results), folder, device, progress)
    result = recorder.find(experiment)
    if result is None:
        with recorder.at_work(experiment, wait) as work:
            # another process may have finished it while this one waited
            if recorder.find(experiment) is None:
                recorder.train(experiment, work)
        result = recorder.find(experiment)
    return result


def trained(
    experiment: Experiment,
    *,
    results: Path | str | None = None,
    device: str = "auto",
    progress: Callable[[str], None] | None = print,
) -> Trained:
    """Return :func:`run`'s result together with the network, from its kept weights; where there are none, train again.

    Weights stay on the machine that trained, so a result from another one comes without. The network is then trained
    anew at the same settings, and may differ in the last digits from the one that the result tells of.

    Args:
        experiment: what to run.
        results: see :func:`run`.
        device: see :func:`run`.
        progress: see :func:`run`.

    Raises:
        ValueError: see :func:`run`.
    """
    result = run(experiment, results=results, device=device, progress=progress)
    kept = _Recorder(Store(results), "shared", device, progress).states(experiment)
    # any teacher will do: what the method's own had learned is part of its state
    network, method, trainer_of = _build(experiment, device, lambda: _untrained(experiment.teacher))
    network.load_state_dict(kept["network"])
    # not strictly: a method may have made in preparation what predictions have no use for
    method.load_state_dict(kept["method"], strict=False)
    return Trained(result, trainer_of(network, method))


def train(
    experiment: Experiment,
    *,
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
    shared: dict | None = None,
) -> Trained:
    """Train in memory, a teacher too, and return the result with the network; nothing is read or written but the data.

    Args:
        experiment: what to run.
        device: see :func:`run`.
        progress: see :func:`run`.
        shared: what runs have in common that differ in nothing but their method's ``shareable_options``: the same
            dictionary, empty at first, for all of them.

    Raises:
        ValueError: see :func:`run`.
    """
    return _train(
        experiment,
        device,
        progress,
        teacher=lambda: train(experiment.teacher, device=device, progress=progress).network,
        shared=shared,
    )


@dataclass(frozen=True)
class _Recorder:
    """Trains with checkpoints, and keeps what comes out: results in a store, weights in the folder of the work."""

    store: Store
    folder: str
    device: str
    progress: Callable[[str], None] | None

    def find(self, experiment: Experiment) -> Result | None:
        """Find the run of an experiment: under its key, or else under another one that it had at other defaults."""
        result = self.store.find(experiment.key)
        if result is not None and as_of_today(result.experiment) == experiment.resolved():
            return result
        return Recorded(self.store.named(experiment.name)).find(experiment)

    @contextmanager
    def at_work(self, experiment: Experiment, wait: bool = True) -> Iterator[Path]:
        """Hold an experiment among all who share the results or the folders of the work."""
        with self.store.claim(experiment.resolved().key, wait), _work_folder(experiment) as work:
            yield work

    def train(self, experiment: Experiment, work: Path) -> None:
        """Train with a checkpoint, keep the weights, and record the result if there is none yet."""
        checkpoint = work / "checkpoint.pt"
        trained = _train(
            experiment, self.device, self.progress, lambda: self._trained_network(experiment.teacher), checkpoint
        )
        states = {"network": trained.network.state_dict(), "method": trained.method.state_dict()}
        with paths.atomic_write(work / "weights.pt") as unfinished:
            torch.save(states, unfinished)
        if self.find(experiment) is None:
            self.store.save(trained.result, experiment.name, self.folder)
        for finished in (checkpoint, checkpoint.with_name("preparation.pt")):
            finished.unlink(missing_ok=True)

    def states(self, experiment: Experiment) -> dict[str, dict[str, Any]]:
        """Return the kept states of network and method; where there are none, train and record the experiment first."""
        with self.at_work(experiment) as work:
            if not (work / "weights.pt").exists():
                self.train(experiment, work)
        try:
            return torch.load(work / "weights.pt", map_location="cpu", weights_only=True)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"{work / 'weights.pt'} cannot be read ({reason}); move it away to train {experiment.name} anew"
            ) from error

    def _trained_network(self, experiment: Experiment) -> nn.Module:
        network = _untrained(experiment)
        network.load_state_dict(self.states(experiment)["network"])
        return network


def _train(
    experiment: Experiment,
    device: str,
    progress: Callable[[str], None] | None,
    teacher: Callable[[], nn.Module],
    checkpoint: Path | None = None,
    shared: dict | None = None,
) -> Trained:
    network, method, trainer_of = _build(experiment, device, teacher)
    tell = progress and (lambda row: progress(_progress_line(experiment, row)))
    tell_before = progress and (lambda row: progress(f"preparing {_progress_line(experiment, row)}"))
    preparation = checkpoint and checkpoint.with_name("preparation.pt")
    method.prepare(lambda network, method: trainer_of(network, method).fit(preparation, tell_before))
    if shared is not None:
        method.share(shared)
    trainer = trainer_of(network, method, experiment.observe)
    origin = provenance(trainer.device)  # before training: a commit made meanwhile is not what runs
    trainer.fit(checkpoint, tell)
    for common in (shared or {}).values():
        common.finish()
    learned = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    result = Result(
        key=experiment.key,
        experiment=experiment.resolved().as_dict(),
        history={name: [row[name] for row in trainer.history] for name in trainer.history[0]},
        provenance=origin
        | {
            "test_digest": trainer.dataset.test.digest,
            "parameters": sum(parameter.numel() for parameter in learned),
            "seconds": round(sum(row["seconds"] for row in trainer.history), 1),
        },
        observations={name: torch.stack(values).numpy() for name, values in trainer.observations.items()},
    )
    return Trained(result, trainer)


def prepare_training(experiment: Experiment, device: str = "auto") -> Trainer:
    """Return an experiment's trainer before its first step; a teacher is as untrained as the network."""
    network, method, trainer_of = _build(experiment, device, lambda: _untrained(experiment.teacher))
    return trainer_of(network, method)


def _build(
    experiment: Experiment, device: str, teacher: Callable[[], nn.Module]
) -> tuple[nn.Module, Method, Callable[..., Trainer]]:
    """Build an experiment's network and method, and what makes trainers for its data and recipe."""
    target = resolve_device(device)
    roles = methods.network_roles(experiment.method, dict(experiment.options))
    if experiment.teacher and not any(is_teacher(role) for role in roles):
        raise ValueError(f"{experiment.method} learns from no teacher, and {experiment.teacher.name} is given as one")
    dataset, validation = prepare_data(experiment)
    torch.manual_seed(experiment.seed + GENERATION_STREAM * _generation(experiment))
    network, method = assemble(experiment, dataset, teacher)

    def trainer_of(network: nn.Module, method: Method, observe: tuple[str, ...] = ()) -> Trainer:
        # a stream of its own: what methods draw while they are made must not change what training draws
        torch.manual_seed(experiment.seed + TRAINING_STREAM)
        return Trainer(
            network,
            method,
            dataset,
            experiment,
            augmentation=dataset.augmentation if experiment.augmentation == "standard" else experiment.augmentation,
            validation=validation,
            seed=experiment.seed,
            observers=tuple(OBSERVERS[name] for name in observe),
            device=target,
        )

    return network, method, trainer_of


def _generation(experiment: Experiment) -> int:
    """How many teachers came before."""
    return 1 + _generation(experiment.teacher) if experiment.teacher else 0


def assemble(experiment: Experiment, dataset: Dataset, teacher: Callable[[], nn.Module]) -> tuple[nn.Module, Method]:
    """Build an experiment's network and method for a data set; parameters are drawn from PyTorch's generator."""
    network = network_for(experiment, dataset)

    def second_network(role: str, chosen: str | None) -> nn.Module:
        if role != "teacher":
            return network_for(experiment, dataset, chosen, experiment.auxiliary_options)
        if experiment.teacher is None:
            raise ValueError(f"{experiment.method} learns from a teacher: name another experiment as teacher")
        return teacher()

    method = methods.create(
        experiment.method,
        dataset.num_classes,
        dict(experiment.options),
        second_network,
        pixel_std=dataset.std / dataset.pixel_range,
    )
    return network, method


def prepare_data(experiment: Experiment) -> tuple[Dataset, Split | None]:
    """Load the data set and apply subset, hold-out and label noise; return it with the validation split or None."""
    dataset = load(experiment.dataset, subset=experiment.subset)
    if dataset.task == "regression":
        raise ValueError(
            f"{dataset.name} is a regression task, for labelreg.regression; experiments need classes or words"
        )
    training, validation = dataset.train, dataset.validation
    if experiment.holdout:
        if validation:
            raise ValueError(f"{dataset.name} comes with a validation split; holdout={experiment.holdout} must be 0")
        training, validation = hold_out(training, experiment.holdout, experiment.seed)
    if experiment.label_noise:
        training = redraw_labels(training, experiment.label_noise, dataset.num_classes, experiment.seed)
    return replace(dataset, train=training), validation


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; ``"auto"`` is the GPU where there is one.

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def network_for(experiment: Experiment, dataset: Dataset, name: str | None = None, changes: Options = ()) -> nn.Module:
    """Build the experiment's network for a data set, or another one by name, at its defaults; but for the changes."""
    options = dict(experiment.network_options if name in (None, experiment.network) else ()) | dict(changes)
    return networks.build(name or experiment.network, dataset.num_classes, input_shape=dataset.input_shape, **options)


def _untrained(experiment: Experiment) -> nn.Module:
    return network_for(experiment, load(experiment.dataset))


@contextmanager
def _work_folder(experiment: Experiment) -> Iterator[Path]:
    """Hold the folder of an experiment's checkpoint and weights; the operating system frees it when its holder dies."""
    folder = _folder(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        settings = folder / "settings.json"
        if not settings.exists():
            with paths.atomic_write(settings) as unfinished:
                unfinished.write_text(json.dumps(experiment.resolved().as_dict(), indent=1) + "\n")
        yield folder


def _folder(experiment: Experiment) -> Path:
    """The folder named after an experiment; what is there may be of other settings, then it is the next one."""
    for attempt in itertools.count():
        name = f"{experiment.name}-{experiment.key}{f'-{attempt}' if attempt else ''}"
        settings = paths.runs_root() / name / "settings.json"
        if not settings.exists() or _experiment_of(settings) == experiment.resolved():
            return settings.parent


def _experiment_of(settings: Path) -> Experiment | None:
    """The experiment of a folder; None where its settings cannot be read or cannot be set any more."""
    try:
        return as_of_today(json.loads(settings.read_text()))
    except ValueError:
        return None


def _progress_line(experiment: Experiment, row: Mapping[str, float]) -> str:
    perplexity = f"{row['test_perplexity']:.1f} perplexity  " if "test_perplexity" in row else ""
    return (
        f"{experiment.name}  epoch {row['epoch']:.0f}/{experiment.epochs}  loss {row['loss']:.4f}  "
        f"train {row['train_accuracy']:.1%} correct  test {row['test_error']:.2%} error  {perplexity}"
        f"{row['seconds']:.1f} s"
    )
