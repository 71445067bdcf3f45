"""A run as data: what is trained, on what, how, for how long and with which seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from labelreg.names import unknown
from labelreg.options import FractionBelowOne, Options, as_tuple
from labelreg.recipe import Count, Recipe

# Methods and networks are imported where they are needed: a mistyped setting is answered without loading PyTorch.


def _options(chosen: Any) -> Options:
    try:
        options = Options(chosen)
    except (TypeError, ValueError):
        options = None
    if options is None or not all(isinstance(name, str) for name in options):
        raise ValueError(f"options must be a mapping from their names to values, got {chosen!r}")
    return options


# part of file names, so that no name leads out of a folder
_Name = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")]
_OptionsByName = Annotated[Options, BeforeValidator(_options), PlainSerializer(dict)]


MOST_SEEDS = 10_000  # of one experiment: what is asked for at once is held in memory


class Experiment(Recipe):
    """Everything that determines a run, and nothing else: equal experiments are the same run.

    All options are filled in and checked when an experiment is made, so that what is written to a file is complete.

    Attributes:
        dataset, network, method: see :func:`labelreg.data.names`, :func:`labelreg.networks.names` and
            :func:`labelreg.methods.names`.
        options: of the method; those of a method inside it under dotted names, such as ``"method.lam"``. A network that
            the method trains beside the target (``peer``, ``auxiliary``) is named here too; empty for the same kind.
        network_options, auxiliary_options: options of the target, and of a network trained beside it. The latter are
            by default the target's if both networks are of the same kind.
        augmentation: ``"standard"`` for that of the data set, or a key of :data:`labelreg.data.augmentations`.
        subset: number of training samples, class-balanced; all if None.
        holdout: fraction of the training samples held out for validation, in [0, 1).
        label_noise: fraction of the training labels redrawn uniformly over all classes, in [0, 1).
        seed: random seed of parameters, data order, augmentation, hold-out and label noise, in [0, 2^31).
        teacher: the experiment, or its settings, whose trained network the method learns from; it is run first.
        observe: keys of :data:`labelreg.observers.OBSERVERS`.
    """

    dataset: _Name = "digits"
    network: _Name = "mlp"
    network_options: _OptionsByName = Options()
    method: str = "cross_entropy"
    options: _OptionsByName = Options()
    auxiliary_options: _OptionsByName = Options()
    augmentation: str = "standard"
    subset: Count | None = None
    holdout: FractionBelowOne = 0.0
    label_noise: FractionBelowOne = 0.0
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    teacher: Experiment | None = None
    observe: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()

    @field_validator("network_options")
    @classmethod
    def _complete_network_options(cls, chosen: Options, info: ValidationInfo) -> Options:
        return _network_options(info.data.get("network"), chosen)

    @field_validator("options")
    @classmethod
    def _complete_options(cls, chosen: Options, info: ValidationInfo) -> Options:
        from labelreg import methods

        if not info.data.keys() >= {"method", "network"}:  # which is the error to report
            return chosen
        method, network = info.data["method"], info.data["network"]
        options = methods.complete_options(method, chosen)
        # the target's own kind has one name only, so that equal runs are equal
        same = {role for role in _roles(method, options) if options.get(role) == network}
        return Options(options | dict.fromkeys(same, ""))

    @field_validator("auxiliary_options")
    @classmethod
    def _complete_auxiliary_options(cls, chosen: Options, info: ValidationInfo) -> Options:
        if not info.data.keys() >= {"method", "options", "network_options"}:
            return chosen
        method, options = info.data["method"], info.data["options"]
        kinds = {options[role] for role in _roles(method, options) if role in options}
        if not kinds:
            if chosen:
                raise ValueError(f"auxiliary_options must be empty: {method} trains no network beside the target")
            return chosen
        if len(kinds) > 1:
            raise ValueError(f"{method} trains networks of different kinds: {', '.join(sorted(kinds))}")
        (kind,) = kinds
        inherited = {} if kind else info.data["network_options"]
        return _network_options(kind or info.data["network"], Options({**inherited, **chosen}))

    @field_validator("augmentation")
    @classmethod
    def _known_augmentation(cls, name: str) -> str:
        if name != "standard":
            from labelreg.data import augmentations

            if name not in augmentations:
                raise unknown("augmentation", name, ("standard", *augmentations))
        return name

    @field_validator("observe")
    @classmethod
    def _known_observers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if names:
            from labelreg.observers import OBSERVERS

            for name in names:
                if name not in OBSERVERS:
                    raise unknown("observer", name, OBSERVERS)
        if len(set(names)) < len(names):
            raise ValueError(f"observe names an observer twice: {', '.join(names)}")
        return names

    @field_validator("teacher", mode="before")
    @classmethod
    def _teacher_of_settings(cls, chosen: Any) -> Any:
        return _teacher(lambda: cls(**chosen)) if isinstance(chosen, Mapping) else chosen

    @model_validator(mode="after")
    def _taught_if_it_learns_from_a_teacher(self) -> Self:
        learns = any(is_teacher(role) for role in _roles(self.method, self.options))
        if learns and self.teacher is None:
            raise ValueError(f"{self.method} learns from a teacher: name another experiment as teacher")
        if self.teacher and not learns:
            raise ValueError(f"{self.method} learns from no teacher, and {self.teacher.name} is given as one")
        if self.teacher and self.teacher.dataset != self.dataset:
            raise ValueError(f"the teacher learns {self.teacher.dataset}, the student {self.dataset}: it must be one")
        return self

    @classmethod
    def from_recorded(cls, settings: Mapping[str, Any]) -> Self:
        """Return the experiment of recorded settings; for options added since, see :attr:`.Method.added`."""
        from labelreg import methods

        options = methods.complete_options(settings["method"], settings["options"], recorded=True)
        teacher = settings.get("teacher")
        return cls(**{**settings, "options": options, "teacher": teacher and cls.from_recorded(teacher)})

    def as_dict(self) -> dict[str, Any]:
        """Return all settings as plain data, for JSON."""
        return self.model_dump(mode="json")

    def but(self, **changes: Any) -> Self:
        """Return a copy with other settings; options that are given replace all options.

        If the method changes, its options and the teacher return to their defaults unless they are given. If the
        network changes, its options do. If either changes, the options of the auxiliary do.
        """
        settings = {name: getattr(self, name) for name in type(self).model_fields}
        for cause, follows in _FOLLOWS.items():
            if cause in changes and changes[cause] != getattr(self, cause):
                for name in follows:
                    settings.pop(name, None)
        return type(self)(**settings | changes)

    def changes(self) -> dict[str, Any]:
        """Return the settings and options that differ from their defaults, as plain data."""
        from labelreg import methods

        inner = {name: value for name, value in self.options.items() if name.rpartition(".")[2] == "method"}
        fields = type(self).model_fields
        defaults = {
            "network_options": _network_options(self.network, {}),
            # those of a method inside are that method's
            "options": methods.complete_options(self.method, inner) | dict.fromkeys(inner, fields["method"].default),
            "auxiliary_options": self.but(auxiliary_options={}).auxiliary_options,
        }
        changed: dict[str, Any] = {}
        for name, field in fields.items():
            value, default = getattr(self, name), field.default
            if name in defaults:
                value = {option: each for option, each in value.items() if each != defaults[name].get(option)}
                default = {}
            if value != default:
                changed[name] = self.teacher.changes() if name == "teacher" else value
        return changed

    @property
    def key(self) -> str:
        """Hash of all settings for file names, 12 hexadecimal digits."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """A readable name, which the key makes unique."""
        return f"{self.dataset}-{self.network}-{self.method}-s{self.seed}"

    def at(self, profile: str, **overrides: Any) -> Self:
        """Return this experiment at a profile, with further settings overridden by name.

        Profile and overrides apply to its teacher too, except network, method, their options and observers. A teacher
        given as a mapping of settings is at the profile as well.
        """
        if profile not in PROFILES:
            raise unknown("profile", profile, PROFILES)
        changes = PROFILES[profile].changes(self, overrides)
        if isinstance(chosen := overrides.get("teacher"), Mapping):
            changes["teacher"] = _teacher(lambda: Experiment().at(profile, **chosen))
        elif self.teacher and not overrides.keys() & {"teacher", "method"}:
            own = ("network", "network_options", "auxiliary_options", "options", "observe")
            shared = {name: value for name, value in overrides.items() if name not in own}
            changes["teacher"] = self.teacher.at(profile, **shared)
        return self.but(**changes)

    def with_seeds(self, count: int) -> list[Self]:
        """Return the experiment with ``count`` consecutive seeds, its own first; a teacher's seed is shifted alike."""
        if not isinstance(count, int) or not 0 <= count <= MOST_SEEDS:
            raise ValueError(f"the number of seeds must be an integer from 0 to {MOST_SEEDS}, got {count!r}")
        if count:
            self.but(seed=self.seed + count - 1)  # refuses what is too large
        teachers = self.teacher.with_seeds(count) if self.teacher else [None] * count
        changes = [{"seed": self.seed + offset, "teacher": teacher} for offset, teacher in enumerate(teachers)]
        return [self.model_copy(update=each) for each in changes]


# what starts over where a setting changes
_FOLLOWS = {
    "method": ("options", "auxiliary_options", "teacher"),
    "network": ("network_options", "auxiliary_options"),
    "network_options": ("auxiliary_options",),
}


def _teacher(make: Callable[[], Experiment]) -> Experiment:
    """Make a teacher; what is wrong with it is said to be the teacher's."""
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"the teacher: {error}") from None


def is_teacher(role: str) -> bool:
    """Return whether a network role of a method, such as ``"method.teacher"``, is a teacher."""
    return role.rpartition(".")[2] == "teacher"


def _roles(method: str, options: Mapping[str, Any]) -> set[str]:
    from labelreg import methods

    return methods.network_roles(method, options)


def _network_options(name: str, chosen: Mapping[str, Any]) -> Options:
    from labelreg import networks

    # the options of networks that a paper names and this package lacks are unknown
    return Options(networks.complete_options(name, chosen) if name in networks.names() else chosen)


@dataclass(frozen=True)
class Profile:
    """Preset of the size of a run: settings that replace an experiment's own, and the number of seeds.

    With a ``peak``, the schedule becomes one cycle up to ``peak`` times the experiment's own learning rate; a
    ``"plateau"`` schedule, a cycle and an overridden schedule stay as they are. If the optimizer is Adam, the settings
    of ``adam`` take precedence over the others, and those of ``networks``, by the network's name, over both. If neither
    sets a learning rate, the experiment's own stays.
    """

    settings: Mapping[str, Any]
    seeds: int
    peak: float = 0.0
    adam: Mapping[str, Any] = Options()
    networks: Mapping[str, Mapping[str, Any]] = Options()

    def changes(self, experiment: Experiment, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that replace those of an experiment, with overrides, which win."""
        changes = {**self.settings, **overrides}
        if self.peak and "schedule" not in changes and experiment.schedule not in ("plateau", "one_cycle"):
            changes = {"learning_rate": self.peak * experiment.learning_rate} | changes | {"schedule": "one_cycle"}
        if changes.get("optimizer", experiment.optimizer) != "sgd":  # which the learning rate above is for
            own = self.networks.get(changes.get("network", experiment.network), {})
            changes |= {"learning_rate": experiment.learning_rate, **self.adam, **own, **overrides}
        return changes


PROFILES: dict[str, Profile] = {
    # the embedded data, small enough that a method can matter: seconds per run on a CPU
    "quick": Profile(
        Recipe(epochs=40, batch_size=64, schedule="one_cycle").model_dump()
        | {"dataset": "digits", "subset": 200, "holdout": 0.0}
        | {"network": "mlp", "network_options": {}, "auxiliary_options": {}},
        seeds=8,
    ),
    # the real data set, whole, with a schedule that gets near the full one: a peak of 0.2 for the usual 0.1
    "fast": Profile(
        {"epochs": 30, "precision": "bfloat16"},
        seeds=3,
        peak=2.0,
        # which trains the networks of texts: small ones, that float32 does not slow down
        adam={"epochs": 10, "precision": "float32", "learning_rate": 1e-3},
        # of the AG News 15k subset, a tenth held out: fastText has errors of 10.1 % at 0.03, 10.7 % at 0.01, 11.7 % at
        # 0.003; TextRNN of 13.3 % at 0.003, 13.4 % at 0.01
        networks={"fasttext": {"learning_rate": 3e-2}, "textrnn": {"learning_rate": 3e-3}},
    ),
    # the printed protocol
    "paper": Profile({}, seeds=5),
}
