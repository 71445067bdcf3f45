"""What notebooks begin and end with, and the form that all of them keep."""

import ast
import json
import statistics
from types import SimpleNamespace

import pytest

from labelreg import losses
from labelreg.experiments import Experiment
from labelreg.notebook import Session, show_source
from labelreg.paths import project_root
from labelreg.results import Store

NOTEBOOKS = sorted((project_root() / "notebooks").glob("*.ipynb"))
COMMON = {"profile": str, "dataset": str, "network": str, "subset": int, "epochs": int, "seeds": int, "jobs": int}
PARAMETERS = """profile = "quick"
dataset = ""
network = ""
subset = 0
epochs = 2
seeds = 2
jobs = 1
device = "cpu"
label_noise = 0.3
"""


def shell(injected: str = "") -> SimpleNamespace:
    """A notebook whose parameters cell, and perhaps papermill's, have been executed."""
    names: dict = {}
    exec(PARAMETERS + injected, names)
    cells = ["", PARAMETERS, *([injected] if injected else []), "session = Session(get_ipython())"]
    return SimpleNamespace(user_ns=names | {"In": cells})


def code_cells(path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


class TestSession:
    def test_takes_the_defaults(self):
        session = Session(shell())
        assert session.parameters.label_noise == 0.3
        assert session.seeds == 2
        assert session.live

    def test_takes_what_papermill_sets(self):
        session = Session(shell('# Parameters\nseeds = 3\nprofile = "fast"\nlabel_noise = 1\n'))
        assert session.seeds == 3
        assert not session.live

    def test_unknown_name_is_an_error_with_the_nearest(self):
        with pytest.raises(ValueError, match="no parameter is called 'seed'; did you mean seeds"):
            Session(shell("# Parameters\nseed = 3\n"))

    @pytest.mark.parametrize(
        ("injected", "message"),
        [
            ('seeds = "3"', "parameter seeds must be a whole number, not '3'"),
            ("seeds = 2.5", "parameter seeds must be a whole number, not 2.5"),
            ("seeds = True", "parameter seeds must be a whole number, not True"),
            ("dataset = 3", "parameter dataset must be a text, not 3"),
        ],
    )
    def test_ill_typed_value_is_an_error(self, injected, message):
        with pytest.raises(ValueError, match=message):
            Session(shell(f"# Parameters\n{injected}\n"))

    def test_unknown_profile_is_an_error(self):
        with pytest.raises(ValueError, match="no profile is called 'quik'; did you mean quick"):
            Session(shell('# Parameters\nprofile = "quik"\n'))

    def test_experiment_follows_profile_parameters_and_settings_in_that_order(self):
        session = Session(shell('# Parameters\nnetwork = "resnet8"\nsubset = 50\n'))
        experiment = session.experiment(Experiment(dataset="cifar100", epochs=300), epochs=7)
        assert (experiment.dataset, experiment.network, experiment.subset, experiment.epochs) == (
            "digits",
            "resnet8",
            50,
            7,
        )

    def test_runs_every_seed_and_says_where_numbers_come_from(self):
        session = Session(shell())
        results = session.run({"one": session.experiment(Experiment(), subset=20)})
        assert [result.experiment["seed"] for result in results["one"]] == [0, 1]
        facts = session.provenance()
        assert facts["runs"] == "2 live"
        assert facts["seeds"] == "2, but where the page names another number"
        assert "epochs = 2" in facts["parameters"]
        assert {"torch", "python", "device", "commit", "minutes"} <= set(facts.index)

    def test_trained_networks_are_live_and_counted(self, tmp_path):
        session = Session(shell())
        found = session.trained({"one": session.experiment(Experiment(), subset=20)})
        logits, _, targets = found["one"].predict(found["one"].dataset.test)
        assert logits.shape == (len(targets), 10)
        assert session.runs == [found["one"].result]
        assert list(tmp_path.rglob("*")) == []

    def test_trained_networks_are_recorded_at_the_other_profiles(self, tmp_path):
        session = Session(shell('# Parameters\nprofile = "fast"\n'))
        small = {"dataset": "digits", "network": "mlp", "subset": 20, "precision": "float32"}
        experiment = session.experiment(Experiment(), **small)
        found = session.trained({"one": experiment})
        assert found["one"].result == Store().find(experiment.key)
        assert len(list(tmp_path.rglob("weights.pt"))) == 1


def test_source_is_shown_without_its_docstring():
    shown = show_source(losses.js_divergence).data
    assert shown.startswith("```python\ndef js_divergence(")
    assert "Symmetric" not in shown
    assert "return reduce(" in shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestForm:
    def test_one_cell_of_plain_typed_parameters_with_a_comment_each(self, path):
        cells = [cell for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
        assert len(cells) == 1
        lines = source(cells[0]).splitlines()
        assert all("  # " in line for line in lines)
        values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(source(cells[0])).body}
        assert len(values) == len(lines)
        assert all(type(value) in (bool, int, float, str) for value in values.values())
        assert COMMON.items() <= {name: type(value) for name, value in values.items()}.items()
        assert values["profile"] == "quick"

    def test_parameters_are_checked_in_the_next_cell(self, path):
        cells = code_cells(path)
        position = next(i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", []))
        assert "Session(get_ipython())" in source(cells[position + 1])

    def test_last_cell_prints_provenance(self, path):
        assert "session.provenance()" in source(code_cells(path)[-1])

    def test_no_outputs_and_no_counts_are_kept(self, path):
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code_cells(path))

    def test_cells_are_short_and_define_nothing(self, path):
        lengths = [len(source(cell).splitlines()) for cell in code_cells(path)]
        assert max(lengths) <= 30
        assert statistics.median(lengths) <= 12
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in _nodes(path))

    def test_text_leads_into_code(self, path):
        cells = json.loads(path.read_text())["cells"]
        assert cells[0]["cell_type"] == "markdown"
        runs, longest = 0, 0
        for cell in cells:
            runs = runs + 1 if cell["cell_type"] == "code" else 0
            longest = max(longest, runs)
        assert longest <= 2


def _nodes(path):
    return [node for cell in code_cells(path) for node in ast.parse(source(cell)).body]
