"""The recorded runs that come with the project: small, complete, and each needed by a table, a figure or a page."""

import json
import math
import re

import pytest

from labelreg.experiment import Experiment
from labelreg.papers import COLLECTIONS
from labelreg.paths import project_root
from labelreg.results import SCHEMA, Recorded, Store

ROOT = project_root() / "data" / "results"
FILES = sorted(ROOT.rglob("*.json"))
FRACTIONS = re.compile("error$|accuracy$|ece$")
KILOBYTES = 30
SEEDS = 20


@pytest.fixture(scope="module")
def results():
    return list(Store(ROOT))


@pytest.fixture(scope="module")
def needed():
    """By collection the runs of its rows."""
    return {
        key: {
            each
            for item in collection.items.values()
            for row in item
            for profile in ("fast", "paper")
            for each in (row if key == "shared" and row.epochs < 30 else row.at(profile)).with_seeds(SEEDS)
        }
        for key, collection in COLLECTIONS.items()
    }


def test_every_file_is_a_result_and_none_is_there_twice(results):
    assert len(results) == len(FILES) > 0
    recorded = Recorded(results)
    assert all(recorded.find(each.experiment.but(observe=())) is each for each in results)


def test_every_run_is_found_by_the_row_that_needs_it(results, needed):
    """By the equality of complete experiments, whatever the file is called; ablations on digits are of no row."""
    recorded = Recorded(results)
    for path, result in zip(FILES, results, strict=True):
        collection = path.relative_to(ROOT).parts[0]
        if result.experiment in needed[collection]:
            assert recorded.find(result.experiment) is result
        else:
            assert result.experiment.dataset == "digits", f"no row of {collection} needs {path.name}"


def test_side_by_side_finds_what_its_runs_on_digits_observed(results):
    recorded, experiments = Recorded(results), COLLECTIONS["shared"].compared("cifar100", "resnet18").values()
    for each in (each for experiment in experiments for each in experiment.at("quick").with_seeds(8)):
        assert {"recall_at_1", "fgsm_error"} <= recorded.find(each).observations.keys()


def test_runs_that_are_compared_saw_the_same_samples(results):
    digests = {}
    for result in results:
        digests.setdefault(result.experiment.dataset, set()).add(result.provenance["test_digest"])
    assert all(len(found) == 1 for found in digests.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_small_complete_and_of_a_clean_commit(path):
    content = json.loads(path.read_text())
    experiment = Experiment.from_recorded(content["experiment"])
    assert content["schema"] == SCHEMA
    assert {"experiment", "history", "provenance"} <= content.keys()
    assert re.fullmatch(f"{experiment.name}-[0-9a-f]{{12}}", path.stem)
    assert path.stat().st_size < 1000 * KILOBYTES
    assert {name for name in Experiment.model_fields if name not in content["experiment"]} == set()

    history, provenance = content["history"], content["provenance"]
    assert history["epoch"] == [*range(1, experiment.epochs + 1)]
    assert {len(values) for values in history.values()} == {experiment.epochs}
    for name, values in history.items():
        assert all(isinstance(value, int | float) and math.isfinite(value) for value in values), name
        assert not FRACTIONS.search(name) or all(0 <= value <= 1 for value in values), name
    assert {"loss", "train_accuracy", "test_error", "test_nll", "test_ece", "seconds"} <= history.keys()
    names = ("labelreg", "commit", "python", "torch", "device", "threads", "date", "test_digest", "parameters")
    assert set(names) <= provenance.keys()
    assert re.fullmatch("[0-9a-f]{12}", provenance["commit"]), "a run of code that no commit has"
    assert provenance["seconds"] == pytest.approx(sum(history["seconds"]), abs=0.1)
