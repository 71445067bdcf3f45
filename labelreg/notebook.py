"""What every notebook of the book begins and ends with: its parameters, and where its numbers come from."""

from __future__ import annotations

import ast
import inspect
import textwrap
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pandas as pd
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import Markdown
from matplotlib_inline.backend_inline import set_matplotlib_formats

from labelreg.checks import settle, unknown
from labelreg.experiments import PROFILES, Experiment, Trained, resolve_device, train, trained
from labelreg.results import Result, provenance
from labelreg.sweeps import run_all

_INJECTED = "# Parameters\n"  # how papermill begins the cell in which it sets parameters


class Session:
    """One notebook at work: its parameters, its runs, its provenance.

    Every notebook has the parameters ``profile``, ``dataset``, ``network``, ``subset``, ``epochs``, ``seeds``, ``jobs``
    and ``device``; an empty text or a 0 leaves a choice to the profile.

    Args:
        shell: the notebook's ``get_ipython()``. The call belongs into the cell after the parameters.

    Raises:
        ValueError: papermill set a name that the parameters cell does not have, or a value of another type.
    """

    def __init__(self, shell: InteractiveShell):
        cells = [cell for cell in shell.user_ns["In"] if cell.strip()][:-1]
        injected = _assigned(cells.pop()) if cells[-1].startswith(_INJECTED) else {}
        defaults = _assigned(cells[-1])
        for name, value in injected.items():
            if name not in defaults:
                raise unknown("parameter", name, defaults)
            settle(f"parameter {name}", value, type(defaults[name]))
        self.parameters = SimpleNamespace(**{name: shell.user_ns[name] for name in defaults})
        set_matplotlib_formats("svg")
        self.started = time.perf_counter()
        self.runs: list[Result] = []
        if self.parameters.profile not in PROFILES:
            raise unknown("profile", self.parameters.profile, PROFILES)

    @property
    def live(self) -> bool:
        """Whether runs are made now, in memory; the other profiles take recorded runs and record new ones."""
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
        """Run labelled experiments and return their results, in the order of seeds, by label.

        Args:
            experiments: label to experiment.
            seeds: runs of each; 0 for the notebook's number.
        """
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
        """Return labelled experiments with their trained networks, of one seed each: live, or from kept weights.

        Args:
            experiments: label to experiment.
        """
        device = self.parameters.device
        found = {
            label: train(each, device=device) if self.live else trained(each, device=device)
            for label, each in experiments.items()
        }
        self.runs += [each.result for each in found.values()]
        return found

    def provenance(self) -> pd.Series:
        """Say where this notebook's numbers come from: parameters, runs, versions, device, minutes."""
        facts = provenance(resolve_device(self.parameters.device))
        chosen = {name: value for name, value in vars(self.parameters).items() if value not in ("", 0)}
        return pd.Series(
            {
                "parameters": ", ".join(f"{name} = {value}" for name, value in chosen.items()),
                "runs": f"{len(self.runs)} {'live' if self.live else 'recorded'}",
                "seeds": f"{self.seeds}, but where the page names another number",
                **facts,
                "minutes": f"{(time.perf_counter() - self.started) / 60:.1f}",
            },
            name="",
        )


def show_source(*functions: Callable) -> Markdown:
    """Show functions as they stand in the package, without their docstrings."""
    return Markdown("\n".join(f"```python\n{_without_docstring(function)}\n```" for function in functions))


def _without_docstring(function: Callable) -> str:
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    body = ast.parse("\n".join(lines)).body[0].body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        del lines[body[0].lineno - 1 : body[1].lineno - 1]
    return "\n".join(lines)


def _assigned(cell: str) -> dict[str, Any]:
    """The names that a cell of plain assignments sets, with their values."""
    return {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(cell).body
        if isinstance(statement, ast.Assign)
    }
