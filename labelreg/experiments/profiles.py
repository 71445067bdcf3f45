"""One word for how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelreg.training import Recipe


@dataclass(frozen=True)
class Profile:
    """One word for how much: what replaces an experiment's own settings, and the number of seeds.

    Attributes:
        settings: setting to value.
        seeds: how many.
        peak: where it is not 0, the schedule becomes one cycle, up to so many times the experiment's own learning rate;
            Adam keeps its own. A ``"plateau"`` schedule, which follows the validation loss, stays with its learning
            rate; so do a cycle, which has its peak already, and a schedule that is overridden.
    """

    settings: dict[str, Any]
    seeds: int
    peak: float = 0.0

    def changes(self, recipe: Recipe, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that replace a recipe's own, with overrides, which win.

        A profile's learning rate is for SGD: with another optimizer the recipe's own stays.
        """
        changes = self.settings | overrides
        if self.peak and "schedule" not in changes and recipe.schedule not in ("plateau", "one_cycle"):
            changes = {"learning_rate": self.peak * recipe.learning_rate} | changes | {"schedule": "one_cycle"}
        if changes.get("optimizer", recipe.optimizer) != "sgd":
            changes["learning_rate"] = overrides.get("learning_rate", recipe.learning_rate)
        return changes


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
    # the real data set, whole, with a schedule that gets near the full one: 0.2 at most for the usual 0.1
    "fast": Profile({"epochs": 30, "precision": "bfloat16"}, seeds=3, peak=2.0),
    # the printed protocol
    "paper": Profile({}, seeds=5),
}
