"""The recorded runs that come with the project: of one layout, small, and of the settings that they carry."""

import json
import math
import re

import pytest

from labelreg.experiments import Experiment, Recorded, as_of_today
from labelreg.paths import project_root
from labelreg.reproduce import COLLECTIONS
from labelreg.results import SCHEMA, Result

ROOT = project_root() / "data" / "results"
FILES = sorted(ROOT.rglob("*.json"))
FRACTIONS = re.compile("error$|accuracy$|ece$")
KILOBYTES = 30


def test_there_are_some():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestFile:
    def test_lies_where_it_belongs(self, path):
        content = json.loads(path.read_text())
        assert path.relative_to(ROOT).parent.name in COLLECTIONS
        assert path.stem == f"{Experiment(**content['experiment']).name}-{content['key']}"
        assert path.stat().st_size < 1000 * KILOBYTES

    def test_is_of_the_layout(self, path):
        content = json.loads(path.read_text())
        assert content.keys() == {"schema", "key", "experiment", "history", "provenance"}
        assert content["schema"] == SCHEMA
        history, provenance = content["history"], content["provenance"]
        assert history["epoch"] == [*range(1, content["experiment"]["epochs"] + 1)]
        assert {len(values) for values in history.values()} == {len(history["epoch"])}
        for name, values in history.items():
            assert all(isinstance(value, int | float) and math.isfinite(value) for value in values), name
            if FRACTIONS.search(name):
                assert all(0 <= value <= 1 for value in values), name
        assert {"loss", "train_accuracy", "test_error", "test_nll", "test_ece", "seconds"} <= history.keys()
        names = ("labelreg", "commit", "python", "torch", "device", "threads", "date", "test_digest", "parameters")
        assert set(names) <= provenance.keys()
        assert re.fullmatch("[0-9a-f]{12}", provenance["commit"]), "a run of code that no commit has"
        assert provenance["seconds"] == pytest.approx(sum(history["seconds"]), abs=0.1)

    def test_is_the_run_of_its_settings(self, path):
        content = json.loads(path.read_text())
        experiment = as_of_today(content["experiment"])
        assert experiment is not None, "these settings cannot be set any more"
        result = Result(**{name: content[name] for name in ("key", "experiment", "history", "provenance")})
        assert Recorded([result]).find(experiment) is result


def test_no_run_is_there_twice():
    keys = [json.loads(path.read_text())["key"] for path in FILES]
    assert len(set(keys)) == len(keys)


def test_those_compared_with_each_other_saw_the_same_samples():
    digests = {}
    for content in (json.loads(path.read_text()) for path in FILES):
        digests.setdefault(content["experiment"]["dataset"], set()).add(content["provenance"]["test_digest"])
    assert all(len(found) == 1 for found in digests.values())
