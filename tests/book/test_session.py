"""What notebooks begin and end with, and the form that all of them keep."""

import ast
import itertools
import json
import statistics

import pytest
import torch
from pydantic import PositiveInt

from labelreg.book import Session
from labelreg.book.session import COMMON
from labelreg.data import Dataset, Split
from labelreg.experiment import Experiment
from labelreg.papers import COLLECTIONS, papers
from labelreg.paths import project_root
from labelreg.reports import is_runnable
from labelreg.results import Store
from labelreg.running import run

NOTEBOOKS = sorted((project_root() / "notebooks").glob("*.ipynb"))
PARAMETERS = """profile = "quick"
dataset = ""
network = ""
subset = 0
epochs: int = 1 * 2
seeds = 2
record = False
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


def parameters_cell(chapter: str) -> list[str]:
    path = project_root() / "notebooks" / f"{chapter}.ipynb"
    return [source(cell) for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])]


def set_up(chapter: str) -> str:
    """The cells after that of the parameters, up to the one that begins the session."""
    cells = code_cells(project_root() / "notebooks" / f"{chapter}.ipynb")
    (first,) = [k for k, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    (last,) = [k for k, cell in enumerate(cells) if "get_ipython()" in source(cell)]
    return "\n".join(map(source, cells[first + 1 : last + 1]))


def source(cell: dict) -> str:
    return "".join(cell["source"])


class TestParameters:
    def test_are_those_of_their_cell_or_what_papermill_sets(self):
        session = Session(Notebook())
        assert vars(session.parameters).keys() == COMMON.keys()
        assert (session.parameters.label_noise, session.parameters.epochs, session.seeds) == (0.3, 2, 2)
        assert session.live
        session = Session(Notebook(injected(seeds=3, profile="fast", label_noise=0)))
        assert (session.seeds, session.live) == (3, False)

    def test_are_read_again_whatever_cells_were_run_since(self):
        notebook = Notebook(injected(seeds=3))
        for cell in ("import math", "epochs = 2 * 3 + 1", "seeds: int = 5", "def f():\n    return 3"):
            notebook.run(cell)
        notebook.user_ns["In"].append("not a line of Python")
        for _ in range(2):
            session = Session(notebook)
            assert (session.parameters.epochs, session.seeds) == (7, 5)

    def test_are_missed_where_their_cell_has_not_been_run(self):
        notebook = Notebook()
        notebook.user_ns = {"In": ["", "x = 3"], "profile": "quick"}
        with pytest.raises(ValueError, match="parameter dataset is missing; parameter network is missing"):
            Session(notebook)

    def test_of_one_notebook_are_named_with_their_kind(self):
        notebook = Notebook("sweep_seeds = 3")
        assert Session(notebook, sweep_seeds=PositiveInt).parameters.sweep_seeds == 3
        notebook.run(injected(sweep_seeds=0))
        with pytest.raises(ValueError, match="parameter sweep_seeds should be greater than 0, got 0"):
            Session(notebook, sweep_seeds=PositiveInt)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"seed": 3}, "no parameter is called 'seed'; did you mean seeds"),
            ({"seeds": "3"}, "parameter seeds should be a valid integer, got '3'"),
            ({"seeds": 2.5}, "parameter seeds should be a valid integer, got 2.5"),
            ({"seeds": True}, "parameter seeds should be a valid integer, got True"),
            ({"dataset": 3}, "parameter dataset should be a valid string, got 3"),
            ({"profile": "quik"}, "no profile is called 'quik'; did you mean quick"),
            ({"dataset": "cifar"}, "no data set is called 'cifar'; did you mean cifar10"),
            ({"network": "resnet9"}, "no network is called 'resnet9'; did you mean resnet"),
            ({"device": "gpu"}, "device"),
            ({"seeds": -1}, "parameter seeds should be greater than or equal to 0, got -1"),
            ({"label_noise": 2.0}, "parameter label_noise should be less than 1, got 2.0"),
        ],
    )
    def test_with_another_name_or_type_are_an_error(self, values, message):
        with pytest.raises(ValueError, match=message):
            Session(Notebook(injected(**values)))


class TestProtocol:
    def test_is_the_papers_at_the_profile(self):
        session = Session(Notebook())
        protocol = session.protocol(papers["kr"])
        assert list(protocol) == ["Baseline", "LS", "KR", "KR-LS"]
        assert protocol["LS"] == papers["kr"].tables["table1"].rows[2].experiment.at("quick", epochs=2)
        assert (len(session.data.train), session.seeds) == (200, 2)

    def test_all_papers_share_one_baseline_at_quick(self):
        baselines = {
            Session(Notebook()).protocol(paper)[paper.baseline].but(observe=()) for paper in COLLECTIONS.values()
        }
        assert len(baselines) == 1

    @pytest.mark.parametrize("network", ["lstm", "fasttext", "alexnet"])
    def test_asks_for_a_network_that_can_read_the_data(self, network):
        with pytest.raises(ValueError, match=f"{network}"):
            Session(Notebook(injected(network=network))).protocol(papers["kr"])

    @pytest.mark.parametrize("subset", [10, 19])
    def test_asks_for_two_samples_of_every_class(self, subset):
        with pytest.raises(ValueError, match="subset must leave two samples of each of 10 classes"):
            Session(Notebook(injected(subset=subset))).protocol(papers["kr"])


@pytest.fixture
def no_data(monkeypatch):
    """Data sets need not be there: only experiments are made."""
    train = Split(torch.zeros(4, 1), torch.tensor([0, 1, 0, 1]))
    data = Dataset("none", train, train, classes=("a", "b"))
    monkeypatch.setattr("labelreg.book.session.prepare_data", lambda experiment: (data, None))
    monkeypatch.setattr("labelreg.book.session.make_network", lambda *arguments: None)


@pytest.mark.usefixtures("no_data")
class TestRecipe:
    """A chapter trains what ``labelreg reproduce`` records, for every data set and network of its tables."""

    PAIRS = [  # noqa: RUF012
        (key, name, *pair)
        for key, collection in COLLECTIONS.items()
        for name, item in collection.tables.items()
        for pair in dict.fromkeys((row.dataset, row.network) for row in item.rows if is_runnable(row))
    ]

    @pytest.mark.parametrize(("key", "name", "dataset", "network"), PAIRS)
    def test_is_that_of_the_first_table_that_has_it(self, key, name, dataset, network, capsys):
        chapter = "benchmark" if key == "shared" else key
        item, _ = COLLECTIONS[key].nearest(dataset, network)
        for profile in ("fast", "paper"):
            notebook = Notebook(
                *parameters_cell(chapter),
                injected(profile=profile, dataset=dataset, network=network, epochs=0, seeds=0),
            )
            made = notebook.user_ns | {"get_ipython": lambda notebook=notebook: notebook}
            exec(set_up(chapter), made)
            rows = [row for row in item.rows if (row.dataset, row.network) == (dataset, network)]
            protocol = {each.but(observe=()) for each in made.get("protocol", made.get("experiments")).values()}
            wanted = {row.experiment.at(profile).but(observe=()) for row in rows}
            assert wanted & protocol
            assert made["base"].but(observe=()) in wanted
            assert made["session"].seeds == item.runs(rows[0], profile)
        assert capsys.readouterr().out == ""

    def test_of_what_no_table_has_is_that_of_the_nearest_row_and_said(self, capsys):
        session = Session(Notebook(injected(profile="paper", dataset="cifar100", network="resnet20", epochs=0)))
        base = session.protocol(papers["nar"])["Baseline"]
        assert (base.network, base.epochs, base.milestones, base.weight_decay) == ("resnet20", 300, (150, 225), 1e-4)
        assert capsys.readouterr().out == "nar has no cifar100 with resnet20; recipe of cifar100, resnet32\n"


class TestSession:
    def test_takes_recorded_runs_only_where_it_is_asked_to(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LABELREG_RESULTS", str(tmp_path))
        recorded = run(Experiment(epochs=2, subset=20), results=tmp_path, progress=None)
        again = {"one": recorded.experiment}
        session, other = Session(Notebook()), Session(Notebook())
        assert session.run(again, seeds=1, recorded=True)["one"] == [recorded]
        assert session.provenance()["runs"] == "1 recorded"
        assert session.run({"two": recorded.experiment.but(seed=1)}, seeds=1, recorded=True)["two"] != [recorded]
        assert session.provenance()["runs"] == "1 live, 1 recorded"
        other.run(again, seeds=1)
        assert other.provenance()["runs"] == "1 live"

    def test_records_where_it_is_asked_to_the_runs_that_may_be_recorded_ones(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LABELREG_RESULTS", str(tmp_path))
        first, second = (Experiment(epochs=2, subset=20, seed=seed) for seed in (1, 2))
        for record, expected in ((False, []), (True, [second])):
            session = Session(Notebook(injected(record=record)))
            session.run({"live": first}, seeds=1)
            session.run({"shown from recorded runs": second}, seeds=1, recorded=True)
            assert [each.experiment for each in Store(tmp_path)] == expected
            assert session.provenance()["runs"] == "2 live"

    def test_experiment_follows_profile_parameters_and_settings_in_that_order(self):
        session = Session(Notebook(injected(network="resnet8", subset=50)))
        each = session.experiment(Experiment(dataset="cifar100", epochs=300), epochs=7)
        assert (each.dataset, each.network, each.subset, each.epochs) == ("digits", "resnet8", 50, 7)

    def test_runs_every_seed_and_says_where_numbers_come_from(self):
        session = Session(Notebook())
        results = session.run({"one": session.experiment(Experiment(), subset=20)})
        assert [result.experiment.seed for result in results["one"]] == [0, 1]
        facts = session.provenance()
        assert (facts["runs"], facts["seeds"]) == ("2 live", "2, except where the page names another number")
        assert "epochs = 2" in facts["parameters"]
        assert {"torch", "python", "device", "commit", "minutes"} <= set(facts.index)

    def test_runs_nothing_twice(self):
        session = Session(Notebook())
        each = session.experiment(Experiment(), subset=20)
        first = session.run({"one": each}, seeds=1)["one"]
        second = session.run({"again": each, "seed 1": each.but(seed=1)})
        assert second["again"][0] is first[0]
        assert [result.experiment.seed for result in session.runs] == [0, 1, 2]
        assert second["seed 1"][0] is second["again"][1]

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
        assert any("get_ipython()" in source(cell) for cell in cells[position + 1 : position + 3])
        assert "session.provenance()" in source(cells[-1])

    def test_cells_are_short_define_nothing_and_keep_no_outputs(self, path):
        cells = code_cells(path)
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
        lengths = [len(source(cell).splitlines()) for cell in cells]
        assert max(lengths) <= 30
        assert statistics.median(lengths) <= 12
        statements = [node for cell in cells for node in ast.parse(source(cell)).body]
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in statements)

    def test_no_line_of_text_is_a_comment(self, path):
        """MyST leaves out a line that begins with %, which a percentage that was wrapped does too."""
        cells = json.loads(path.read_text())["cells"]
        lines = [line for cell in cells if cell["cell_type"] == "markdown" for line in source(cell).splitlines()]
        assert [line for line in lines if line.startswith("%")] == []

    def test_text_leads_into_code(self, path):
        kinds = [cell["cell_type"] for cell in json.loads(path.read_text())["cells"]]
        assert kinds[0] == "markdown"
        assert max(len([*run]) for kind, run in itertools.groupby(kinds) if kind == "code") <= 2
