"""Running an experiment: recorded, resumed, or trained."""

from __future__ import annotations

import itertools
import json
import os
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
from labelreg.experiments.experiment import Experiment, Options
from labelreg.experiments.recorded import Recorded, as_of_today
from labelreg.methods import Method
from labelreg.observers import OBSERVERS
from labelreg.results import Result, Store, provenance
from labelreg.training import Trainer

# added to the seed for what is drawn during training; PyTorch's CPU generator takes the lower 32 bits of a seed only
TRAINING_STREAM = 1 << 31


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
    device: str = "auto",
    progress: Callable[[str], None] | None = print,
) -> Result:
    """Return the recorded run if there is one, resume an interrupted one, else train; then record.

    Args:
        experiment: what to run.
        results: folder of the recorded runs; by default ``data/results``.
        device: ``"auto"`` for the GPU where there is one, or a PyTorch device.
        progress: called with a line of text after every epoch; None for silence.

    Returns:
        The result. Two processes that share a folder never train the same experiment: the second waits for the first.
        A run that was recorded at other defaults than today's is passed over with a warning, which names them: it is
        that of the experiment that names the old values.

    Raises:
        ValueError: what cannot be run, named with what would be right.
        FileNotFoundError: the data set is not on disk and cannot be fetched.
        labelreg.training.Interrupted: on SIGINT or SIGTERM; the same call resumes.
    """
    store = Store(results)
    result = _find(experiment, store)
    if result is None:
        with _work_folder(experiment) as folder:
            # another process may have finished it while this one waited
            if _find(experiment, store) is None:
                _train_and_record(experiment, folder, store, device, progress)
        result = _find(experiment, store)
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
    kept = _kept_states(experiment, Store(results), device, progress)
    # any teacher will do: what the method's own had learned is part of its state
    network, method, trainer_of = _build(
        experiment, device, lambda: _build_network(experiment.teacher, load(experiment.teacher.dataset))
    )
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
        experiment, device, progress, teacher=lambda: train(experiment.teacher, device=device).network, shared=shared
    )


def _find(experiment: Experiment, store: Store) -> Result | None:
    """Find the run of an experiment: under its key, or else under another one that it had at other defaults."""
    result = store.find(experiment.key)
    if result is not None and as_of_today(result.experiment) == experiment.resolved():
        return result
    return Recorded(store.named(experiment.name)).find(experiment)


def _train_and_record(
    experiment: Experiment, folder: Path, store: Store, device: str, progress: Callable[[str], None] | None
) -> None:
    """Train with a checkpoint, keep the weights, and record the result if there is none yet."""
    checkpoint = folder / "checkpoint.pt"
    trained = _train(
        experiment, device, progress, lambda: _kept_teacher(experiment, store, device, progress), checkpoint
    )
    states = {"network": trained.network.state_dict(), "method": trained.method.state_dict()}
    torch.save(states, folder / "weights.tmp")
    os.replace(folder / "weights.tmp", folder / "weights.pt")
    if _find(experiment, store) is None:
        store.save(trained.result, experiment.name)
    checkpoint.unlink()


def _kept_teacher(
    experiment: Experiment, store: Store, device: str, progress: Callable[[str], None] | None
) -> nn.Module:
    """Return the trained network of an experiment's teacher."""
    network = _build_network(experiment.teacher, load(experiment.teacher.dataset))
    network.load_state_dict(_kept_states(experiment.teacher, store, device, progress)["network"])
    return network


def _kept_states(
    experiment: Experiment, store: Store, device: str, progress: Callable[[str], None] | None
) -> dict[str, dict[str, Any]]:
    """Return the kept states of an experiment's network and method; where there are none, train and record it first."""
    with _work_folder(experiment) as folder:
        if not (folder / "weights.pt").exists():
            _train_and_record(experiment, folder, store, device, progress)
    return torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)


def _train(
    experiment: Experiment,
    device: str,
    progress: Callable[[str], None] | None,
    teacher: Callable[[], nn.Module],
    checkpoint: Path | None = None,
    shared: dict | None = None,
) -> Trained:
    network, method, trainer_of = _build(experiment, device, teacher)
    method.prepare(lambda network, method: trainer_of(network, method).fit())
    if shared is not None:
        method.share(shared)
    trainer = trainer_of(network, method, experiment.observe)
    origin = provenance(trainer.device)  # before training: a commit made meanwhile is not what runs
    trainer.fit(checkpoint, progress and (lambda row: progress(_progress_line(experiment, row))))
    for common in (shared or {}).values():
        common.finish()
    learned = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    result = Result(
        key=experiment.key,
        experiment=experiment.resolved().as_dict(),
        history={name: [row[name] for row in trainer.history] for name in trainer.history[0]},
        provenance=origin
        | {
            "parameters": sum(parameter.numel() for parameter in learned),
            "seconds": round(sum(row["seconds"] for row in trainer.history), 1),
        },
        observations={name: torch.stack(values).numpy() for name, values in trainer.observations.items()},
    )
    return Trained(result, trainer)


def _build(
    experiment: Experiment, device: str, teacher: Callable[[], nn.Module]
) -> tuple[nn.Module, Method, Callable[..., Trainer]]:
    """Build an experiment's network and method, and what makes trainers for its data and recipe."""
    target = resolve_device(device)
    dataset, validation = prepare_data(experiment)
    torch.manual_seed(experiment.seed)
    network = _build_network(experiment, dataset)

    def second_network(role: str, chosen: str | None) -> nn.Module:
        if role != "teacher":
            return _build_network(experiment, dataset, chosen, experiment.auxiliary_options)
        if experiment.teacher is None:
            raise ValueError(f"{experiment.method} learns from a teacher: name another experiment as teacher")
        return teacher()

    method = methods.create(
        experiment.method,
        dataset.num_classes,
        dict(experiment.options),
        second_network,
        pixel_std=dataset.std / (255 if dataset.train.inputs.dtype == torch.uint8 else 1),
    )

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


def prepare_data(experiment: Experiment) -> tuple[Dataset, Split | None]:
    """Load the data set and apply subset, hold-out and label noise; return it with the validation split or None."""
    dataset = load(experiment.dataset, subset=experiment.subset)
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


def _build_network(
    experiment: Experiment, dataset: Dataset, name: str | None = None, changes: Options = ()
) -> nn.Module:
    """Build the experiment's network for a data set, or another one by name, at its defaults; but for the changes."""
    options = dict(experiment.network_options if name in (None, experiment.network) else ()) | dict(changes)
    return networks.build(name or experiment.network, dataset.num_classes, input_shape=dataset.input_shape, **options)


@contextmanager
def _work_folder(experiment: Experiment) -> Iterator[Path]:
    """Hold the folder of an experiment's checkpoint and weights; the operating system frees it when its holder dies."""
    folder = _folder(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        settings = folder / "settings.json"
        if not settings.exists():
            unfinished = settings.with_suffix(".tmp")
            unfinished.write_text(json.dumps(experiment.resolved().as_dict(), indent=1) + "\n")
            os.replace(unfinished, settings)
        yield folder


def _folder(experiment: Experiment) -> Path:
    """The folder named after an experiment; what is there may be of other settings, then it is the next one."""
    for attempt in itertools.count():
        name = f"{experiment.name}-{experiment.key}{f'-{attempt}' if attempt else ''}"
        settings = paths.runs_root() / name / "settings.json"
        if not settings.exists() or as_of_today(json.loads(settings.read_text())) == experiment.resolved():
            return settings.parent


def _progress_line(experiment: Experiment, row: Mapping[str, float]) -> str:
    perplexity = f"{row['test_perplexity']:.1f} perplexity  " if "test_perplexity" in row else ""
    return (
        f"{experiment.name}  epoch {row['epoch']:.0f}/{experiment.epochs}  loss {row['loss']:.4f}  "
        f"train {row['train_accuracy']:.1%} correct  test {row['test_error']:.2%} error  {perplexity}"
        f"{row['seconds']:.1f} s"
    )
