"""What an experiment is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from labelreg import methods, networks
from labelreg.checks import settle, unknown
from labelreg.experiments.profiles import PROFILES
from labelreg.observers import OBSERVERS
from labelreg.training import Recipe

Options = tuple[tuple[str, Any], ...]


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
        completed = methods.complete_options(self.method, dict(self.options))
        options = {name: completed[name] for name in dict(self.options)}
        object.__setattr__(self, "options", tuple(sorted(options.items())))
        for name in ("network_options", "auxiliary_options"):
            chosen = {option: _hashable(value) for option, value in dict(getattr(self, name)).items()}
            object.__setattr__(self, name, tuple(sorted(chosen.items())))
        observe = (self.observe,) if isinstance(self.observe, str) else tuple(self.observe)
        object.__setattr__(self, "observe", observe)
        if self.subset is not None:
            settle("subset", self.subset, int)
        if not 0 <= self.seed < 1 << 31:
            raise ValueError(f"seed must lie in [0, 2^31), not {self.seed}")
        if isinstance(self.teacher, Mapping):
            object.__setattr__(self, "teacher", Experiment(**self.teacher))
        if any(is_teacher(option) for option in options) or not isinstance(self.teacher, Experiment | None):
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

    def resolved(self) -> Self:
        """Return the same experiment with every option named: what is not chosen, at the default it has today.

        That is all options of the method and of those inside it, of the network and of one trained beside it, and of
        the teacher likewise. Two experiments are the same run today where they are equal when resolved.
        """
        completed = methods.complete_options(self.method, dict(self.options))
        roles = methods.network_roles(self.method, completed)
        options = {name: value for name, value in completed.items() if value or name not in roles}
        network_options = _network_defaults(self.network) | dict(self.network_options)
        auxiliary_options: dict[str, Any] = {}
        for role in roles:
            if not is_teacher(role):
                auxiliary = options.get(role, self.network)
                auxiliary_options |= network_options if auxiliary == self.network else _network_defaults(auxiliary)
        return replace(
            self,
            options=options,
            network_options=network_options,
            auxiliary_options=auxiliary_options | dict(self.auxiliary_options),
            teacher=self.teacher and self.teacher.resolved(),
        )

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, as plain data."""
        settings = self.as_dict()
        changed = {field.name for field in fields(self) if getattr(self, field.name) != field.default}
        changes = {name: value for name, value in settings.items() if name in changed}
        return changes | ({"teacher": self.teacher.changes()} if self.teacher else {})

    @property
    def key(self) -> str:
        """Hash of the settings that are chosen, 12 hexadecimal digits.

        A setting or option added later does not change it, and neither does another default: what was recorded under a
        key is the same run only where the recorded settings are :meth:`resolved`'s of today.
        """
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
        changes = PROFILES[profile].changes(self, overrides)
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


def _hashable(value: Any) -> Any:
    """Lists as tuples: JSON knows no tuples, and lists have no hash."""
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def is_teacher(option: str) -> bool:
    """Whether an option is the teacher of a method or of one inside it."""
    return option.rpartition(".")[2] == "teacher"


def _network_defaults(name: str) -> dict[str, Any]:
    """The options of a network; of one that is not there (a paper's, not built yet) nothing is known."""
    if name not in networks.names():
        return {}
    return {option: parameter.default for option, parameter in networks.options(name).items()}
