"""A notebook's parameters, runs and provenance, with which every notebook begins and ends."""

import time
from collections.abc import Mapping
from inspect import Parameter
from types import SimpleNamespace
from typing import Annotated, Any

import pandas as pd
from annotated_types import Ge, Le
from IPython.core.interactiveshell import InteractiveShell
from pydantic import NonNegativeInt, ValidationError

from labelreg import data, networks
from labelreg.book.figures import set_style
from labelreg.build import make_network, prepare_data, resolve_device
from labelreg.experiment import MOST_SEEDS, PROFILES, Experiment
from labelreg.names import unknown
from labelreg.options import FractionBelowOne, explain, options_model
from labelreg.papers import Paper
from labelreg.results import Result, Store, provenance
from labelreg.running import Trained, train, trained
from labelreg.sweeps import run_all

# the parameters that every notebook has; an empty text or a 0 leaves the choice to the profile
COMMON = {
    "profile": str,
    "dataset": str,
    "network": str,
    "subset": NonNegativeInt,
    "epochs": NonNegativeInt,
    "seeds": Annotated[int, Ge(0), Le(MOST_SEEDS)],
    "label_noise": FractionBelowOne,
    "record": bool,
    "jobs": NonNegativeInt,
    "device": str,
}


class Session:
    """The parameters, runs and provenance of a notebook.

    Args:
        shell: the notebook's ``get_ipython()``, after its parameters cell has been run.
        own: the parameters of this notebook that are not in ``COMMON``, by name, as annotations for pydantic.

    Raises:
        ValueError: a parameter is missing, has an invalid value, or does not exist in this notebook.
    """

    def __init__(self, shell: InteractiveShell, **own: Any):
        self.parameters = SimpleNamespace(**_parameters(shell.user_ns, COMMON | own))
        for kind, name, known in (
            ("profile", self.parameters.profile, PROFILES),
            ("data set", self.parameters.dataset, ("", *data.names())),
            ("network", self.parameters.network, ("", *networks.names())),
        ):
            if name not in known:
                raise unknown(kind, name, known)
        resolve_device(self.parameters.device)
        set_style()
        pd.set_option("display.max_colwidth", None)  # tables are shown whole
        self.started = time.perf_counter()
        self.runs: list[Result] = []
        self._taken = 0  # how many of the runs were taken from the recorded ones
        self._found: dict[Experiment, Result] = {}  # kept in case a later cell asks for them again
        self._seeds = PROFILES[self.parameters.profile].seeds

    @property
    def live(self) -> bool:
        """Whether runs are made in memory, at ``quick``; the other profiles read recorded runs and record new ones."""
        return self.parameters.profile == "quick"

    @property
    def seeds(self) -> int:
        """The number of seeds of every experiment."""
        return self.parameters.seeds or self._seeds

    def protocol(self, paper: Paper) -> dict[str, Experiment]:
        """Return a paper's methods by printed names, with its recipe for the data set and network of the parameters.

        If the paper has no recipe for these two, that of the nearest row of its tables is used, and a printed line says
        so. All methods have the notebook's profile and parameters. The data set is loaded as the attribute ``data``.
        """
        asked = self.parameters.dataset, self.parameters.network
        item, row = paper.nearest(*asked)
        if not self.live:
            self._seeds = item.runs(row, self.parameters.profile)
            if any(name and name not in (row.dataset, row.network) for name in asked):
                print(
                    f"{paper.key} has no {' with '.join(filter(None, asked))}; recipe of {row.dataset}, {row.network}"
                )
        methods = {name: self.experiment(each) for name, each in paper.compared(row.dataset, row.network).items()}
        base = methods[paper.baseline]
        self.data, _ = prepare_data(base)
        make_network(base.network, base.network_options, self.data)  # raises an error if it cannot read the data
        if self.data.train.targets.bincount(minlength=self.data.num_classes).min() < 2:
            raise ValueError(f"parameter subset must leave two samples of each of {self.data.num_classes} classes")
        return methods

    def experiment(self, experiment: Experiment, **settings: Any) -> Experiment:
        """Return an experiment at the notebook's profile and parameters, with further settings by name."""
        names = ("dataset", "network", "subset", "epochs")
        chosen = {name: value for name in names if (value := getattr(self.parameters, name))}
        return experiment.at(self.parameters.profile, **chosen | settings)

    def run(
        self, experiments: Mapping[Any, Experiment], seeds: int = 0, recorded: bool = False
    ) -> dict[Any, list[Result]]:
        """Run experiments with ``seeds`` seeds, the notebook's number if 0, and return their results in that order.

        Runs that the notebook has asked for before are not repeated. With ``recorded``, recorded runs are used even if
        runs are made in memory, and the others are recorded if the parameter ``record`` is set.
        """
        wanted = {label: each.with_seeds(seeds or self.seeds) for label, each in experiments.items()}
        missing = [each for group in wanted.values() for each in group if each not in self._found]
        taken = Store().find_all(missing) if recorded and self.live else {}
        self._taken += len(taken)
        found = taken | run_all(
            [each for each in missing if each not in taken],
            record=not self.live or (recorded and self.parameters.record),
            jobs=self.parameters.jobs,
            device=self.parameters.device,
            progress=None if self.live else print,
        )
        self._found |= found
        self.runs += found.values()
        return {label: [self._found[each] for each in group] for label, group in wanted.items()}

    def trained(self, experiments: Mapping[Any, Experiment]) -> dict[Any, Trained]:
        """Return experiments with their trained networks, one seed each: trained now, or loaded from stored weights."""
        make = train if self.live else trained
        found = {label: make(each, device=self.parameters.device) for label, each in experiments.items()}
        self.runs += [each.result for each in found.values()]
        return found

    def provenance(self) -> pd.Series:
        """Return where this notebook's numbers come from: parameters, runs, versions, device, minutes."""
        chosen = {name: value for name, value in vars(self.parameters).items() if value not in ("", 0)}
        facts = {"parameters": ", ".join(f"{name} = {value}" for name, value in chosen.items())}
        if self.runs:
            live = len(self.runs) - self._taken if self.live else 0
            counts = {"live": live, "recorded": len(self.runs) - live}
            facts["runs"] = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
            facts["seeds"] = f"{self.seeds}, except where the page names another number"
        return pd.Series(
            {
                **facts,
                **provenance(resolve_device(self.parameters.device)),
                "minutes": f"{(time.perf_counter() - self.started) / 60:.1f}",
            },
            name="",
        )


def _parameters(namespace: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters in a notebook's namespace, checked by their annotations."""
    for name in _injected(namespace):
        if name not in kinds:
            raise unknown("parameter", name, kinds)
    fields = {name: Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in kinds.items()}
    found = {name: namespace[name] for name in kinds if name in namespace}
    try:
        return options_model("Parameters", fields)(**found).model_dump()
    except ValidationError as error:
        raise ValueError(explain(error, "parameter ")) from None


def _injected(namespace: Mapping[str, Any]) -> list[str]:
    """Return the names that papermill sets, in a cell that begins with its comment."""
    cells = [cell for cell in namespace["In"] if cell.startswith("# Parameters\n")]
    names = (line.partition(" = ")[0] for cell in cells for line in cell.splitlines())
    return [name for name in names if name.isidentifier()]
