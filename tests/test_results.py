"""Results on disk: written whole or not at all, read back as they were, and never mistaken for something else."""

import errno
import json
import math
import multiprocessing
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from labelreg import results
from labelreg.experiments import Experiment
from labelreg.results import SCHEMA, Result, Store, paired_difference, provenance

EPOCHS = 3
METRICS = ("loss", "loss_hard", "train_accuracy", "test_error", "test_nll", "test_ece", "learning_rate", "seconds")


def make_result(experiment=None, epochs=EPOCHS, **history):
    experiment = experiment or Experiment()
    generator = np.random.default_rng(0)
    values = {name: generator.random(epochs).tolist() for name in METRICS}
    return Result(
        key=experiment.key,
        experiment=experiment.as_dict(),
        history={"epoch": list(range(1, epochs + 1))} | values | history,
        provenance=provenance("cpu") | {"seconds": 12.3},
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


class TestResult:
    def test_last_and_best_are_rows_of_the_history(self):
        result = make_result(test_error=[0.3, 0.1, 0.2], test_ece=[1.0, 2.0, 3.0])
        assert (result.last["epoch"], result.last["test_error"], result.last["test_ece"]) == (3, 0.2, 3.0)
        assert (result.best["epoch"], result.best["test_error"], result.best["test_ece"]) == (2, 0.1, 2.0)

    def test_the_best_epoch_of_each_split(self):
        result = make_result(test_error=[0.3, 0.1, 0.2], validation_error=[0.1, 0.3, 0.2])
        assert (result.best_epoch("test"), result.best_epoch("validation")) == (1, 0)
        with pytest.raises(KeyError, match="train_error"):
            result.best_epoch("train")

    def test_perplexity_comes_before_error_and_what_is_infinite_is_not_best(self):
        result = make_result(test_error=[0.1, 0.2, 0.3], test_perplexity=[math.nan, 70.0, 60.0])
        assert result.best_epoch("test") == 2

    def test_epochs_of_what_was_recorded_or_observed(self):
        result = replace(make_result(test_error=[0.3, 0.1, 0.2]), observations={"recall": np.array([0.1, 0.2, 0.3])})
        np.testing.assert_array_equal(result.epochs("test_error"), [0.3, 0.1, 0.2])
        np.testing.assert_array_equal(result.epochs("recall"), [0.1, 0.2, 0.3])
        with pytest.raises(KeyError, match="recal"):
            result.epochs("recal")


class TestStore:
    def test_reads_back_what_it_wrote(self, store):
        experiment = Experiment(
            method="knowledge_refinery",
            options={"smoothing": 0.1},
            learning_rate=0.123456789012345,
            teacher=Experiment(seed=1),
        )
        written = make_result(experiment)
        store.save(written, experiment.name)
        read = store.find(experiment.key)
        assert read.key == written.key
        assert Experiment(**read.experiment) == experiment
        assert Experiment(**read.experiment).key == read.key
        assert read.provenance == written.provenance
        assert read.history.keys() == written.history.keys()
        for name, values in written.history.items():
            assert read.history[name] == pytest.approx(values, rel=5e-5)
        assert read.history["epoch"] == [1, 2, 3]
        assert [type(epoch) for epoch in read.history["epoch"]] == [int] * 3

    def test_writes_one_small_file_of_known_form(self, store):
        experiment = Experiment(method="knowledge_refinery", options={"smoothing": 0.1}, teacher=Experiment())
        path = store.save(make_result(experiment, epochs=200), experiment.name)
        assert path == store.root / "shared" / f"{experiment.name}-{experiment.key}.json"
        assert [each.name for each in path.parent.iterdir()] == [path.name]
        assert path.stat().st_size < 30_000
        content = json.loads(path.read_text())
        assert list(content) == ["schema", "key", "experiment", "history", "provenance"]
        assert content["schema"] == SCHEMA == 1

    def test_keeps_what_is_no_number(self, store):
        result = make_result(test_nll=[math.inf, math.nan, 0.5])
        path = store.save(result, "run")
        assert "NaN" not in path.read_text()
        assert "Infinity" not in path.read_text()
        first, second, third = store.find(result.key).history["test_nll"]
        assert math.isnan(first)
        assert math.isnan(second)
        assert third == 0.5

    def test_scalar_observations_come_back_whole(self, store):
        seen = np.array([0.59421, 123456.7, 1e-6], np.float32)
        store.save(replace(make_result(), observations={"ratio": seen}), "run")
        np.testing.assert_array_equal(store.find(Experiment().key).epochs("ratio"), seen)

    def test_other_observations_come_back_in_half_precision(self, store):
        seen = {"labels": np.linspace(0, 1, 3 * 100, dtype=np.float32).reshape(3, 10, 10), "divergence": np.ones(3)}
        path = store.save(replace(make_result(), observations=seen), "run")
        read = store.find(Experiment().key).observations
        assert read.keys() == seen.keys()
        for name, values in seen.items():
            assert read[name].dtype == np.float32
            np.testing.assert_allclose(read[name], values, atol=5e-4)
        assert sorted(each.suffix for each in path.parent.iterdir()) == [".json", ".npz"]

    def test_a_folder_that_is_not_there_is_empty(self, store):
        assert list(store) == []
        assert store.find(Experiment().key) is None
        assert store.table().empty
        assert not store.root.exists()

    def test_is_where_the_environment_says(self, tmp_path):
        assert Store().root == tmp_path / "results"

    def test_finds_in_every_folder_in_the_order_of_the_files(self, store):
        for seed, folder in ((2, "b"), (1, "c/deeper"), (0, "a")):
            experiment = Experiment(seed=seed)
            store.save(make_result(experiment), experiment.name, folder=folder)
        assert [result.experiment["seed"] for result in store] == [0, 2, 1]
        assert store.find(Experiment(seed=0).key).experiment["seed"] == 0

    def test_a_result_that_is_there_stays(self, store):
        first = make_result()
        path = store.save(first, "run")
        before = path.read_bytes()
        assert store.save(make_result(test_error=[0.0, 0.0, 0.0]), "run") == path
        assert path.read_bytes() == before
        assert len(list(store)) == 1

    def test_one_of_other_settings_under_this_key_stays_beside(self, store):
        old = replace(make_result(), experiment=Experiment(decay=0.7).as_dict())
        first, second = store.save(old, "run"), store.save(make_result(), "run")
        assert second.name == f"{first.stem}-1.json"
        assert {result.experiment["decay"] for result in store} == {0.7, 0.1}
        assert store.save(make_result(), "run") == second
        assert store.save(old, "run") == first

    def test_results_by_the_beginning_of_their_name(self, store):
        for seed, name in enumerate(("run-s1", "run-s12", "other-run-s1")):
            store.save(make_result(Experiment(seed=seed)), name, folder=f"folder{seed}")
        assert [result.experiment["seed"] for result in store.named("run-s1")] == [0, 1]
        assert [result.experiment["seed"] for result in store.named("run-s1-")] == [0]

    def test_a_torn_write_leaves_nothing(self, store, monkeypatch):
        def tear(source, target):
            raise OSError("no space left on device")

        monkeypatch.setattr(os, "link", tear)
        with pytest.raises(OSError, match="no space"):
            store.save(make_result(), "run")
        assert list((store.root / "shared").iterdir()) == []

    def test_on_a_file_system_without_links(self, store, monkeypatch):
        def refuse(source, target):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        path = store.save(make_result(), "run")
        assert store.save(make_result(test_error=[0.0, 0.0, 0.0]), "run") == path
        assert [result.last["test_error"] for result in store] == [
            pytest.approx(make_result().last["test_error"], rel=1e-4)
        ]

    def test_is_not_there_before_its_observations(self, store, monkeypatch):
        def fail(path, arrays):
            raise OSError("no space left on device")

        result = replace(make_result(), observations={"labels": np.ones(3)})
        with monkeypatch.context() as patched:
            patched.setattr(results, "_save_arrays", fail)
            with pytest.raises(OSError, match="no space"):
                store.save(result, "run")
        assert list((store.root / "shared").iterdir()) == []
        store.save(result, "run")
        assert [each.observations["labels"].tolist() for each in store] == [[1.0, 1.0, 1.0]]

    @pytest.mark.parametrize("folder", ["../elsewhere", "/tmp"])
    def test_lies_in_its_folder(self, folder, store):
        with pytest.raises(ValueError, match=f"folder must lie in .*, and '{folder}' does not"):
            store.save(make_result(), "run", folder=folder)

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_many_writers_leave_one_result(self, store):
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=store.save, args=(make_result(), "run")) for _ in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(30)
        assert [writer.exitcode for writer in writers] == [0] * 8
        assert [path.name for path in (store.root / "shared").iterdir()] == [f"run-{Experiment().key}.json"]


FOREIGN = {
    "empty": "",
    "cut short": '{"schema":1,"key":"44136fa355b3","exper',
    "no object": "[1, 2]",
    "null": "null",
    "a number": "3",
    "other keys": '{"name": "somebody else\'s"}',
    "another schema": json.dumps({"schema": 2, "key": "k", "experiment": {}, "history": {}, "provenance": {}}),
    "no history": json.dumps({"schema": 1, "key": "k", "experiment": {}, "history": {}, "provenance": {}}),
    "no epochs": json.dumps(
        {"schema": 1, "key": "k", "experiment": {}, "history": {"test_error": []}, "provenance": {}}
    ),
    "ragged": json.dumps(
        {
            "schema": 1,
            "key": "k",
            "experiment": {},
            "history": {"test_error": [0.2, 0.1], "loss": [1]},
            "provenance": {},
        }
    ),
    "a history of text": json.dumps({"schema": 1, "key": "k", "experiment": {}, "history": "abc", "provenance": {}}),
    "no text": b"\xff\xfe\x00\x80",
}


class TestForeignFiles:
    @pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
    def test_are_named_and_passed_over_and_left_alone(self, content, store):
        result = make_result()
        foreign = store.root / "shared" / f"run-{result.key}.json"
        foreign.parent.mkdir(parents=True)
        foreign.write_bytes(content if isinstance(content, bytes) else content.encode())
        before = foreign.read_bytes()
        with pytest.warns(UserWarning, match=f"{foreign.name} is no result and is passed over"):
            assert list(store) == []
        with pytest.warns(UserWarning, match="is passed over"):
            assert store.find(result.key) is None
        with pytest.warns(UserWarning, match="is passed over"):
            path = store.save(result, "run")
        assert path.name == f"run-{result.key}-1.json"
        assert foreign.read_bytes() == before
        assert store.find(result.key).key == result.key

    def test_observations_that_cannot_be_read_are_named_too(self, store):
        path = store.save(replace(make_result(), observations={"labels": np.ones(3)}), "run")
        whole = path.with_suffix(".npz").read_bytes()
        path.with_suffix(".npz").write_bytes(b"PK\x03\x04 cut short")
        with pytest.warns(UserWarning, match="is passed over"):
            assert list(store) == []
        for place in range(len(whole)):  # whatever a single wrong byte makes of it
            damaged = bytearray(whole)
            damaged[place] ^= 0xFF
            path.with_suffix(".npz").write_bytes(damaged)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                assert len(list(store)) == 1 - sum("is passed over" in str(each.message) for each in said)

    def test_a_result_of_another_experiment_under_this_name_is_left_alone(self, store):
        other = make_result(Experiment(seed=1))
        taken = store.save(other, "run")
        renamed = taken.with_name(f"run-{Experiment().key}.json")
        taken.rename(renamed)
        path = store.save(make_result(), "run")
        assert path.name == f"run-{Experiment().key}-1.json"
        assert store.find(Experiment().key).experiment["seed"] == 0
        assert {result.experiment["seed"] for result in store} == {0, 1}

    def test_only_files_that_could_be_it_are_opened(self, store):
        store.save(make_result(), "run")
        (store.root / "notes.json").write_text("no result")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert store.find(Experiment().key) is not None


class TestTable:
    def test_has_a_row_a_run_with_settings_metrics_and_provenance(self, store):
        for seed in (0, 1):
            experiment = Experiment(seed=seed, learning_rate=0.1)
            result = make_result(experiment, learning_rate=[0.1, 0.05, 0.0], test_error=[0.2, 0.1, 0.3])
            store.save(result, experiment.name)
        table = store.table()
        assert list(table.seed) == [0, 1]
        assert list(table.key) == [Experiment(seed=seed).key for seed in (0, 1)]
        assert list(table.test_error) == [0.3, 0.3]
        assert list(table.best_test_error) == [0.1, 0.1]
        assert "best_loss" not in table
        # the learning rate is the setting, the seconds are those of the run, not of its last epoch
        assert list(table.learning_rate) == [0.1, 0.1]
        assert list(table.seconds) == [12.3, 12.3]
        assert set(table.torch) == {torch.__version__}


class TestPairedDifference:
    @given(arrays(float, st.tuples(st.just(2), st.integers(2, 12)), elements=st.floats(0, 1)), st.floats(0.5, 0.99))
    def test_is_the_paired_t_interval(self, pairs, confidence):
        values, baseline = pairs
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # scipy's, of equal differences
            interval = stats.ttest_rel(values, baseline).confidence_interval(confidence)
        mean, half_width = paired_difference(values.tolist(), baseline.tolist(), confidence)
        assert mean == pytest.approx((values - baseline).mean(), abs=1e-12)
        if math.isfinite(interval.low):
            assert (mean - half_width, mean + half_width) == pytest.approx((interval.low, interval.high), abs=1e-9)

    def test_known_values(self):
        # mean 2, standard error 1 / sqrt(3), t quantile 4.30265
        assert paired_difference([2, 4, 6], [1, 2, 3]) == pytest.approx((2.0, 4.30265 / math.sqrt(3)), rel=1e-5)

    def test_one_seed_has_no_interval(self):
        mean, half_width = paired_difference([0.3], [0.1])
        assert mean == pytest.approx(0.2)
        assert math.isnan(half_width)

    @pytest.mark.parametrize(("values", "baseline"), [([1.0], [1.0, 2.0]), ([], [])])
    def test_needs_the_same_seeds(self, values, baseline):
        with pytest.raises(ValueError, match=f"got {len(values)} values and {len(baseline)}"):
            paired_difference(values, baseline)


class TestProvenance:
    def test_names_versions_device_commit_and_date(self):
        origin = provenance("cpu")
        assert origin["torch"] == torch.__version__
        assert origin["device"].endswith(" CPU")
        assert origin["threads"] == torch.get_num_threads()
        assert origin["date"].endswith("+00:00")
        json.dumps(origin)

    def test_goes_without_a_commit_where_there_is_no_checkout(self, monkeypatch, tmp_path):
        monkeypatch.setattr(results.paths, "project_root", lambda: tmp_path)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert results._commit.__wrapped__() == ""
        monkeypatch.setenv("LABELREG_COMMIT", "0123456789ab")
        assert results._commit.__wrapped__() == "0123456789ab"
