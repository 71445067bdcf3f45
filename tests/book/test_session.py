"""What notebooks begin and end with, and the form that all of them keep."""

import ast
import itertools
import json
import statistics

import pytest

from labelreg.book import Session, show_source
from labelreg.book.session import COMMON
from labelreg.experiment import Experiment
from labelreg.losses import js_divergence
from labelreg.paths import project_root
from labelreg.results import Store

NOTEBOOKS = sorted((project_root() / "notebooks").glob("*.ipynb"))
PARAMETERS = """profile = "quick"
dataset = ""
network = ""
subset = 0
epochs: int = 1 * 2
seeds = 2
jobs = 1
device = "cpu"
label_noise = 0.3
"""


class Notebook:
    """A notebook whose cells have been run, the parameters cell first, papermill's perhaps second."""

    def __init__(self, *cells: str):
        self.user_ns = {"In": [""]}
        for cell in (PARAMETERS, *cells):
            self.run(cell)

    def run(self, cell: str) -> None:
        self.user_ns["In"].append(cell)
        exec(cell, self.user_ns)


def injected(**values) -> str:
    return "# Parameters\n" + "".join(f"{name} = {value!r}\n" for name, value in values.items())


def code_cells(path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


class TestParameters:
    def test_are_those_of_their_cell_or_what_papermill_sets(self):
        session = Session(Notebook())
        assert vars(session.parameters).keys() == set(COMMON) | {"label_noise"}
        assert (session.parameters.label_noise, session.parameters.epochs, session.seeds) == (0.3, 2, 2)
        assert session.live
        session = Session(Notebook(injected(seeds=3, profile="fast", label_noise=1)))
        assert (session.seeds, session.live) == (3, False)

    def test_are_read_again_after_other_cells(self):
        notebook = Notebook(injected(seeds=3))
        for cell in ("import math", "epochs = 7", "seeds: int = 5"):
            notebook.run(cell)
        notebook.user_ns["In"].append("not a line of Python")
        assert (Session(notebook).parameters.epochs, Session(notebook).seeds) == (7, 5)

    def test_are_missed_where_their_cell_has_not_been_run(self):
        notebook = Notebook()
        notebook.user_ns["In"] = ["", "x = 3", "not a line of Python"]
        with pytest.raises(ValueError, match="the parameters cell must be run first: it sets profile, dataset"):
            Session(notebook)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"seed": 3}, "no parameter is called 'seed'; did you mean seeds"),
            ({"seeds": "3"}, "parameter seeds should be a valid integer, got '3'"),
            ({"seeds": 2.5}, "parameter seeds should be a valid integer, got 2.5"),
            ({"seeds": True}, "parameter seeds should be a valid integer, got True"),
            ({"epochs": "3"}, "parameter epochs should be a valid integer, got '3'"),
            ({"dataset": 3}, "parameter dataset should be a valid string, got 3"),
            ({"profile": "quik"}, "no profile is called 'quik'; did you mean quick"),
        ],
    )
    def test_with_another_name_or_type_are_an_error(self, values, message):
        with pytest.raises(ValueError, match=message):
            Session(Notebook(injected(**values)))


class TestSession:
    def test_experiment_follows_profile_parameters_and_settings_in_that_order(self):
        session = Session(Notebook(injected(network="resnet8", subset=50)))
        each = session.experiment(Experiment(dataset="cifar100", epochs=300), epochs=7)
        assert (each.dataset, each.network, each.subset, each.epochs) == ("digits", "resnet8", 50, 7)

    def test_runs_every_seed_and_says_where_numbers_come_from(self):
        session = Session(Notebook())
        results = session.run({"one": session.experiment(Experiment(), subset=20)})
        assert [result.experiment.seed for result in results["one"]] == [0, 1]
        facts = session.provenance()
        assert (facts["runs"], facts["seeds"]) == ("2 live", "2, but where the page names another number")
        assert "epochs = 2" in facts["parameters"]
        assert {"torch", "python", "device", "commit", "minutes"} <= set(facts.index)

    def test_trained_networks_are_live_and_counted(self, tmp_path):
        session = Session(Notebook())
        found = session.trained({"one": session.experiment(Experiment(), subset=20)})
        logits, _, targets = found["one"].predict(found["one"].dataset.test)
        assert logits.shape == (len(targets), 10)
        assert session.runs == [found["one"].result]
        assert list(tmp_path.rglob("*")) == []

    def test_trained_networks_are_recorded_at_the_other_profiles(self, tmp_path):
        session = Session(Notebook(injected(profile="fast")))
        small = {"dataset": "digits", "network": "mlp", "subset": 20, "precision": "float32"}
        experiment = session.experiment(Experiment(), **small)
        found = session.trained({"one": experiment})
        assert found["one"].result == Store().find(experiment)
        assert len(list(tmp_path.rglob("weights.pt"))) == 1


def test_source_is_shown_without_its_docstring():
    shown = show_source(js_divergence).data
    assert shown.startswith("```python\ndef js_divergence(")
    assert ("Args:" in shown, "return reduce(" in shown) == (False, True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestForm:
    def test_begins_with_plain_typed_parameters_and_ends_with_provenance(self, path):
        cells = code_cells(path)
        (position,) = [k for k, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
        parameters = source(cells[position])
        assert all("  # " in line for line in parameters.splitlines())
        values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(parameters).body}
        assert len(values) == len(parameters.splitlines())
        assert all(type(value) in (bool, int, float, str) for value in values.values())
        assert set(COMMON) <= values.keys()
        assert values["profile"] == "quick"
        assert "Session(get_ipython())" in source(cells[position + 1])
        assert "session.provenance()" in source(cells[-1])

    def test_cells_are_short_define_nothing_and_keep_no_outputs(self, path):
        cells = code_cells(path)
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
        lengths = [len(source(cell).splitlines()) for cell in cells]
        assert max(lengths) <= 30
        assert statistics.median(lengths) <= 12
        statements = [node for cell in cells for node in ast.parse(source(cell)).body]
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in statements)

    def test_text_leads_into_code(self, path):
        kinds = [cell["cell_type"] for cell in json.loads(path.read_text())["cells"]]
        assert kinds[0] == "markdown"
        assert max(len([*run]) for kind, run in itertools.groupby(kinds) if kind == "code") <= 2
