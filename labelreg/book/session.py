"""A notebook's parameters, runs and provenance, with which every notebook begins and ends."""

import ast
import inspect
import textwrap
import time
from collections.abc import Callable, Mapping
from inspect import Parameter
from types import SimpleNamespace
from typing import Any

import pandas as pd
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import Markdown
from matplotlib_inline.backend_inline import set_matplotlib_formats
from pydantic import ValidationError

from labelreg.book.figures import set_style
from labelreg.experiment import PROFILES, Experiment
from labelreg.names import unknown
from labelreg.options import explain, options_model
from labelreg.results import Result, provenance
from labelreg.running import Trained, resolve_device, run_all, train, trained

COMMON = ("profile", "dataset", "network", "subset", "epochs", "seeds", "jobs", "device")


class Session:
    """The parameters, runs and provenance of a notebook.

    Every notebook has the parameters ``profile``, ``dataset``, ``network``, ``subset``, ``epochs``, ``seeds``, ``jobs``
    and ``device``, and may have others; an empty text or a 0 leaves a choice to the profile.

    ``shell`` is the notebook's ``get_ipython()``, whose parameters cell has been run; what papermill sets is of the
    names and types of that cell.
    """

    def __init__(self, shell: InteractiveShell):
        self.parameters = SimpleNamespace(**_parameters(shell.user_ns))
        if self.parameters.profile not in PROFILES:
            raise unknown("profile", self.parameters.profile, PROFILES)
        set_matplotlib_formats("svg")
        set_style()
        self.started = time.perf_counter()
        self.runs: list[Result] = []

    @property
    def live(self) -> bool:
        """Whether runs are made in memory; the other profiles read recorded runs and record new ones."""
        return self.parameters.profile == "quick"

    @property
    def seeds(self) -> int:
        """The number of seeds of every experiment."""
        return self.parameters.seeds or PROFILES[self.parameters.profile].seeds

    def experiment(self, experiment: Experiment, **settings: Any) -> Experiment:
        """Return an experiment at the notebook's profile and parameters, with further settings by name."""
        names = ("dataset", "network", "subset", "epochs")
        chosen = {name: value for name in names if (value := getattr(self.parameters, name))}
        return experiment.at(self.parameters.profile, **chosen | settings)

    def run(self, experiments: Mapping[Any, Experiment], seeds: int = 0) -> dict[Any, list[Result]]:
        """Run experiments with ``seeds`` seeds, the notebook's number if 0, and return their results in that order."""
        wanted = {label: each.with_seeds(seeds or self.seeds) for label, each in experiments.items()}
        finished = run_all(
            [each for group in wanted.values() for each in group],
            record=not self.live,
            jobs=self.parameters.jobs,
            device=self.parameters.device,
            progress=None if self.live else print,
        )
        self.runs += finished.values()
        return {label: [finished[each] for each in group] for label, group in wanted.items()}

    def trained(self, experiments: Mapping[Any, Experiment]) -> dict[Any, Trained]:
        """Return experiments with their trained networks, one seed each: trained now, or from kept weights."""
        make = train if self.live else trained
        found = {label: make(each, device=self.parameters.device) for label, each in experiments.items()}
        self.runs += [each.result for each in found.values()]
        return found

    def provenance(self) -> pd.Series:
        """Return where this notebook's numbers come from: parameters, runs, versions, device, minutes."""
        chosen = {name: value for name, value in vars(self.parameters).items() if value not in ("", 0)}
        return pd.Series(
            {
                "parameters": ", ".join(f"{name} = {value}" for name, value in chosen.items()),
                "runs": f"{len(self.runs)} {'live' if self.live else 'recorded'}",
                "seeds": f"{self.seeds}, but where the page names another number",
                **provenance(resolve_device(self.parameters.device)),
                "minutes": f"{(time.perf_counter() - self.started) / 60:.1f}",
            },
            name="",
        )


def _parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters in a notebook's namespace, checked by the types that the parameters cell gives them."""
    cells = namespace["In"][::-1]  # the latest first
    injected = next((cell for cell in cells if cell.startswith("# Parameters\n")), "")  # papermill begins it so
    declared = next((cell for cell in cells if cell != injected and set(COMMON) <= set(_assigned(cell))), None)
    if declared is None:
        raise ValueError(f"the parameters cell must be run first: it sets {', '.join(COMMON)}")
    exec(declared, defaults := {**namespace, "__annotations__": {}})
    kinds = {name: defaults["__annotations__"].get(name, type(defaults[name])) for name in _assigned(declared)}
    for name in _assigned(injected):
        if name not in kinds:
            raise unknown("parameter", name, kinds)
    fields = {name: Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in kinds.items()}
    try:
        return options_model("Parameters", fields)(**{name: namespace[name] for name in kinds}).model_dump()
    except ValidationError as error:
        raise ValueError(explain(error, "parameter ")) from None


def _assigned(cell: str) -> list[str]:
    """Return the names that a cell assigns at its top level."""
    try:
        statements = ast.parse(cell).body
    except SyntaxError:
        return []
    targets = [getattr(each, "targets", [getattr(each, "target", None)])[0] for each in statements]
    return [each.id for each in targets if isinstance(each, ast.Name)]


def show_source(*functions: Callable) -> Markdown:
    """Show functions as they stand in the package, without their docstrings."""
    shown = []
    for function in functions:
        lines = textwrap.dedent(inspect.getsource(function)).splitlines()
        first, *others = ast.parse("\n".join(lines)).body[0].body
        if function.__doc__:
            del lines[first.lineno - 1 : others[0].lineno - 1]
        shown += ["```python", *lines, "```"]
    return Markdown("\n".join(shown))
