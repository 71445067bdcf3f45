"""A run as data: what is trained, on what, how, for how long, with which seed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock
from torch import nn

from labelreg import methods, networks, paths
from labelreg.checks import settle, unknown
from labelreg.data import Dataset, Split, hold_out, load, redraw_labels
from labelreg.methods import Method
from labelreg.observers import OBSERVERS
from labelreg.results import Result, Store, provenance
from labelreg.training import Recipe, Trainer

Options = tuple[tuple[str, Any], ...]

# added to the seed for what is drawn during training; PyTorch's CPU generator takes the lower 32 bits of a seed only
TRAINING_STREAM = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Experiment(Recipe):
    """Everything that is needed to run, and nothing else: equal settings are one and the same run.

    Attributes:
        dataset: see :func:`labelreg.data.names`.
        network: see :func:`labelreg.networks.names`.
        method: see :func:`labelreg.methods.names`.
        options: of the method, by name; given as a mapping, kept as sorted pairs. What a method takes a network for
            (``peer``, ``auxiliary``) is named here too, and is the target's network otherwise.
        network_options: of the network, likewise.
        auxiliary_options: of a network that the method trains beside the target, likewise: what differs from the
            target's where it is the same kind of network.
        augmentation: ``"standard"`` for that of the data set, or one of :mod:`labelreg.data.augmentation`.
        subset: train on so many samples, class-balanced; all if None.
        holdout: fraction of the training samples kept for validation.
        label_noise: fraction of the training labels redrawn uniformly.
        seed: of parameters, data order, augmentation, hold-out and label noise.
        teacher: the experiment whose trained network the method consults; it runs first. A mapping of its settings is
            welcome too.
        observe: names of ``labelreg.observers.OBSERVERS``, called after every epoch.

    Raises:
        ValueError: a setting that cannot be, named with what would be right.
    """

    dataset: str = "digits"
    network: str = "mlp"
    method: str = "cross_entropy"
    options: Options | Mapping[str, Any] = ()
    network_options: Options | Mapping[str, Any] = ()
    auxiliary_options: Options | Mapping[str, Any] = ()
    augmentation: str = "standard"
    subset: int | None = None
    holdout: float = 0.0
    label_noise: float = 0.0
    seed: int = 0
    teacher: Experiment | None = None
    observe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            if type(field.default) in (bool, int, float, str):
                object.__setattr__(self, field.name, settle(field.name, getattr(self, field.name), type(field.default)))
        super().__post_init__()
        options = methods.check_options(self.method, dict(self.options))
        object.__setattr__(self, "options", tuple(sorted(options.items())))
        for name in ("network_options", "auxiliary_options"):
            chosen = {option: _hashable(value) for option, value in dict(getattr(self, name)).items()}
            object.__setattr__(self, name, tuple(sorted(chosen.items())))
        observe = (self.observe,) if isinstance(self.observe, str) else tuple(self.observe)
        object.__setattr__(self, "observe", observe)
        if self.subset is not None:
            settle("subset", self.subset, int)
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, not {self.seed}")
        if isinstance(self.teacher, Mapping):
            object.__setattr__(self, "teacher", Experiment(**self.teacher))
        if "teacher" in options or not isinstance(self.teacher, Experiment | None):
            raise ValueError("the teacher is an experiment, not the name of a network: set teacher, not an option")
        for name in ("holdout", "label_noise"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is a fraction in [0, 1), not {value}")
        for name in self.observe:
            if name not in OBSERVERS:
                raise unknown("observer", name, OBSERVERS)

    def as_dict(self) -> dict[str, Any]:
        """Return every setting as plain data, for JSON."""
        settings = asdict(self)
        return settings | {
            "options": dict(self.options),
            "network_options": dict(self.network_options),
            "auxiliary_options": dict(self.auxiliary_options),
            "teacher": self.teacher and self.teacher.as_dict(),
        }

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, as plain data."""
        settings = self.as_dict()
        changed = {field.name for field in fields(self) if getattr(self, field.name) != field.default}
        changes = {name: value for name, value in settings.items() if name in changed}
        return changes | ({"teacher": self.teacher.changes()} if self.teacher else {})

    @property
    def key(self) -> str:
        """Hash of the settings, 12 hexadecimal digits; a setting added later with a default does not change it."""
        canonical = json.dumps(self.changes(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """A readable name, which the key makes unique."""
        return f"{self.dataset}-{self.network}-{self.method}-s{self.seed}"

    def at(self, profile: str, **overrides: Any) -> Self:
        """Return this experiment at a profile, with further settings overridden by name.

        Its teacher goes along, and shares the overrides but for those that make it another experiment. A teacher given
        as a mapping of settings is at the profile too, with these overridden.

        Raises:
            ValueError: an unknown profile, or a name that is no setting.
        """
        if profile not in PROFILES:
            raise unknown("profile", profile, PROFILES)
        known = {field.name for field in fields(self)}
        for name in overrides:
            if name not in known:
                raise unknown("setting", name, known)
        changes = PROFILES[profile].settings | overrides
        if changes.get("optimizer", self.optimizer) != "sgd" and "learning_rate" not in overrides:
            changes["learning_rate"] = self.learning_rate  # the profiles' are for SGD
        if isinstance(chosen := overrides.get("teacher"), Mapping):
            changes["teacher"] = Experiment().at(profile, **chosen)
        elif self.teacher and "teacher" not in overrides:
            own = ("network", "network_options", "auxiliary_options", "method", "options", "observe")
            shared = {name: value for name, value in overrides.items() if name not in own}
            changes["teacher"] = self.teacher.at(profile, **shared)
        return replace(self, **changes)

    def with_seeds(self, count: int) -> list[Self]:
        """Return the experiment with so many consecutive seeds, its own first; a teacher's seed goes along."""
        return [self._shifted(offset) for offset in range(count)]

    def _shifted(self, offset: int) -> Self:
        return replace(self, seed=self.seed + offset, teacher=self.teacher and self.teacher._shifted(offset))


@dataclass(frozen=True)
class Profile:
    """One word for how much: settings that replace an experiment's own, and the number of seeds."""

    settings: dict[str, Any]
    seeds: int


PROFILES: dict[str, Profile] = {
    # the embedded data, small enough that a method can matter: seconds a run on a CPU
    "quick": Profile(
        {
            "dataset": "digits",
            "network": "mlp",
            "network_options": {},
            "auxiliary_options": {},
            "subset": 200,
            "epochs": 40,
            "batch_size": 64,
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "schedule": "one_cycle",
        },
        seeds=8,
    ),
    # the real data set, whole, with a schedule that gets near the full one
    "fast": Profile(
        {"epochs": 30, "schedule": "one_cycle", "learning_rate": 0.2, "precision": "bfloat16"},
        seeds=3,
    ),
    # the printed protocol
    "paper": Profile({}, seeds=5),
}


@dataclass
class Trained:
    """A result together with what only exists in memory: the trained network and its method."""

    result: Result
    network: nn.Module
    method: Method
    dataset: Dataset


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

    Raises:
        ValueError: what cannot be run, named with what would be right.
        FileNotFoundError: the data set is not on disk and cannot be fetched.
        labelreg.training.Interrupted: on SIGINT or SIGTERM; the same call resumes.
    """
    store = Store(results)
    result = store.find(experiment.key)
    if result is None:
        with _lock(experiment):
            # another process may have finished it while this one waited
            if store.find(experiment.key) is None:
                _train_and_record(experiment, store, device, progress)
        result = store.find(experiment.key)
    return result


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


def _train_and_record(
    experiment: Experiment, store: Store, device: str, progress: Callable[[str], None] | None
) -> None:
    """Train with a checkpoint, keep the weights, and record the result; the caller holds the experiment's lock."""
    folder = _folder(experiment)
    checkpoint = folder / "checkpoint.pt"
    trained = _train(
        experiment, device, progress, lambda: _kept_teacher(experiment, store, device, progress), checkpoint
    )
    torch.save(trained.network.state_dict(), folder / "weights.tmp")
    os.replace(folder / "weights.tmp", folder / "weights.pt")
    store.save(trained.result, experiment.name)
    checkpoint.unlink()


def _kept_teacher(
    experiment: Experiment, store: Store, device: str, progress: Callable[[str], None] | None
) -> nn.Module:
    """Return the teacher's network from its kept weights; where there are none, train and record it first."""
    teacher = experiment.teacher
    weights = _folder(teacher) / "weights.pt"
    with _lock(teacher):
        if not weights.exists():
            _train_and_record(teacher, store, device, progress)
    network = _build_network(teacher, load(teacher.dataset))
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network


def _train(
    experiment: Experiment,
    device: str,
    progress: Callable[[str], None] | None,
    teacher: Callable[[], nn.Module],
    checkpoint: Path | None = None,
    shared: dict | None = None,
) -> Trained:
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

    method.prepare(lambda network, method: trainer_of(network, method).fit())
    if shared is not None:
        method.share(shared)
    trainer = trainer_of(network, method, experiment.observe)
    origin = provenance(target)  # before training: a commit made meanwhile is not what runs
    trainer.fit(checkpoint, progress and (lambda row: progress(_progress_line(experiment, row))))
    for common in (shared or {}).values():
        common.finish()
    trained = sum(parameter.numel() for group in trainer.optimizer.param_groups for parameter in group["params"])
    result = Result(
        key=experiment.key,
        experiment=experiment.as_dict(),
        history={name: [row[name] for row in trainer.history] for name in trainer.history[0]},
        provenance=origin
        | {"parameters": trained, "seconds": round(sum(row["seconds"] for row in trainer.history), 1)},
        observations={name: torch.stack(values).numpy() for name, values in trainer.observations.items()},
    )
    return Trained(result, network, method, dataset)


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


def _hashable(value: Any) -> Any:
    """A list as a tuple: JSON knows no tuples, and lists have no hash."""
    return tuple(value) if isinstance(value, list) else value


def _folder(experiment: Experiment) -> Path:
    return paths.runs_root() / f"{experiment.name}-{experiment.key}"


def _lock(experiment: Experiment) -> FileLock:
    """A lock that the operating system frees when its holder dies."""
    folder = _folder(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "lock")


def _progress_line(experiment: Experiment, row: Mapping[str, float]) -> str:
    perplexity = f"{row['test_perplexity']:.1f} perplexity  " if "test_perplexity" in row else ""
    return (
        f"{experiment.name}  epoch {row['epoch']:.0f}/{experiment.epochs}  loss {row['loss']:.4f}  "
        f"train {row['train_accuracy']:.1%} correct  test {row['test_error']:.2%} error  {perplexity}"
        f"{row['seconds']:.1f} s"
    )
