"""Results on disk: written whole or not at all, read back as they were, and never mistaken for something else."""

import io
import json
import math
import multiprocessing
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from labelreg import results
from labelreg.experiment import Experiment
from labelreg.results import (
    SCHEMA,
    Claimed,
    Recorded,
    Result,
    Store,
    paired_difference,
    provenance,
)

EPOCHS = 3


def short(**settings):
    return Experiment(**{"epochs": EPOCHS} | settings)


METRICS = ("loss", "loss_hard", "train_accuracy", "test_error", "test_nll", "test_ece", "learning_rate", "seconds")
TAUGHT = short(method="born_again", options={"beta": 0.3}, learning_rate=0.1234567890123, teacher=short(seed=1))


def make_result(experiment=None, epochs=EPOCHS, **history):
    generator = np.random.default_rng(0)
    values = {name: generator.random(epochs).tolist() for name in METRICS}
    return Result(
        experiment=experiment or short(),
        history={"epoch": list(range(1, epochs + 1))} | values | history,
        provenance=provenance("cpu") | {"seconds": 12.3},
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def seeds(found):
    return [result.experiment.seed for result in found]


class TestResult:
    def test_last_and_best_are_rows_and_the_best_of_each_split_is_by_perplexity_where_there_is_one(self):
        result = make_result(test_error=[0.3, 0.1, 0.2], test_ece=[1.0, 2.0, 3.0])
        assert (result.last["epoch"], result.last["test_error"], result.last["test_ece"]) == (3, 0.2, 3.0)
        assert (result.best["epoch"], result.best["test_error"], result.best["test_ece"]) == (2, 0.1, 2.0)
        perplexity = [math.nan, 70.0, 60.0]
        result = make_result(test_error=[0.1, 0.2, 0.3], test_perplexity=perplexity, validation_error=[0.1, 0.3, 0.2])
        assert (result.best_epoch("test"), result.best_epoch("validation")) == (2, 0)
        assert result.best["test_perplexity"] == 60.0
        with pytest.raises(KeyError, match="train_error"):
            result.best_epoch("train")


class TestRecorded:
    def test_a_run_that_observed_more_serves_and_one_that_observed_less_does_not(self):
        plain, watched = make_result(), make_result(short(observe=("embedding", "vote")))
        recorded = Recorded([watched])
        for observe in ((), "embedding", ("vote", "embedding")):
            assert recorded.find(short(observe=observe)) is watched
        assert recorded.find(short(observe="reliability")) is None
        assert recorded.find(short(seed=1)) is None
        assert Recorded([plain]).find(short(observe="vote")) is None
        taught = {"method": "born_again", "teacher": short(observe="vote")}
        student = make_result(short(**taught))
        assert Recorded([student]).find(student.experiment.but(teacher=short())) is student
        for both in (Recorded([plain, watched]), Recorded([watched, plain])):
            assert both.find(short()) is both.find(short(observe="vote")) is watched


class TestStore:
    def test_writes_one_small_file_of_known_form_and_reads_it_back(self, store):
        written = make_result(TAUGHT.but(epochs=200), epochs=200)
        path = store.save(written)
        long = written.experiment
        assert path == store.root / "shared" / f"{long.name}-{long.key}.json"
        assert [each.name for each in path.parent.iterdir()] == [path.name]
        assert path.stat().st_size < 30_000
        content = json.loads(path.read_text())
        assert list(content) == ["schema", "experiment", "history", "provenance"]
        assert content["schema"] == SCHEMA == 1
        assert content["experiment"].keys() == content["experiment"]["teacher"].keys() == Experiment.model_fields.keys()

        read = store.find(long)
        assert (read.experiment, read.experiment.key) == (long, long.key)
        assert read.provenance == written.provenance
        assert read.history.keys() == written.history.keys()
        for name, values in written.history.items():
            assert read.history[name] == pytest.approx(values, rel=5e-5)
        assert [type(epoch) for epoch in read.history["epoch"]] == [int] * 200

    def test_keeps_what_is_no_number(self, store):
        path = store.save(make_result(test_nll=[math.inf, math.nan, 0.5]))
        assert "NaN" not in path.read_text()
        assert "Infinity" not in path.read_text()
        np.testing.assert_array_equal(store.find(short()).history["test_nll"], [math.nan, math.nan, 0.5])

    def test_observations_come_back_scalars_whole_others_in_half_precision(self, store):
        scalar = np.array([0.59421, 123456.7, 1e-6], np.float32)
        labels = np.linspace(0, 1, 3 * 100, dtype=np.float32).reshape(3, 10, 10)
        path = store.save(replace(make_result(), observations={"labels": labels, "ratio": scalar}))
        read = store.find(short())
        assert read.observations.keys() == {"labels", "ratio"}
        np.testing.assert_array_equal(read.epochs("loss"), read.history["loss"])
        with pytest.raises(KeyError, match="label"):
            read.epochs("label")
        np.testing.assert_array_equal(read.epochs("ratio"), scalar)
        np.testing.assert_allclose(read.observations["labels"], labels, atol=5e-4)
        assert {values.dtype for values in read.observations.values()} == {np.dtype(np.float32)}
        assert sorted(each.suffix for each in path.parent.iterdir()) == [".json", ".npz"]

    @pytest.mark.parametrize("largest", [65504.0, 65505.0, 1e30])
    def test_observations_too_large_for_half_precision_are_whole(self, store, largest):
        values = np.array([[0.1, largest], [-largest, np.nan]], np.float32)
        store.save(replace(make_result(), observations={"values": values}))
        np.testing.assert_allclose(store.find(short()).observations["values"], values, rtol=1e-3)

    def test_finds_in_every_folder_in_the_order_of_the_files(self, store):
        assert list(store) == []
        assert store.table().empty
        assert not store.root.exists()
        for seed, folder in ((2, "b"), (1, "c/deeper"), (0, "a")):
            path = store.save(make_result(short(seed=seed)))
            (store.root / folder).mkdir(parents=True)
            path.rename(store.root / folder / path.name)
        assert seeds(store) == [0, 2, 1]
        assert seeds(store.find(short(seed=seed)) for seed in range(3)) == [0, 1, 2]
        assert store.find(short(seed=12)) is None

    def test_finds_a_file_under_any_key(self, store):
        """Keys change where settings are added: it is the settings inside that count."""
        path = store.save(make_result())
        path.rename(path.with_name(f"{short().name}-0123456789ab.json"))
        assert store.find(short()).experiment == short()

    def test_a_result_that_is_there_stays(self, store):
        path = store.save(make_result())
        before = path.read_bytes()
        assert store.save(make_result(test_error=[0.0, 0.0, 0.0])) == path
        assert path.read_bytes() == before
        assert len(list(store)) == 1
        # under any key: it may have been recorded when an experiment had fewer settings
        older = path.rename(path.with_name(path.name.replace(make_result().experiment.key, "0" * 12)))
        assert store.save(make_result()) == older
        assert len([*store]) == 1

    def test_a_run_that_observed_more_is_not_written_again_with_less(self, store):
        seen = {"vote_error": np.zeros(EPOCHS)}
        watched = store.save(replace(make_result(short(observe="vote")), observations=seen))
        assert store.save(make_result()) == watched
        assert store.save(make_result(short(observe=("vote", "embedding")))) != watched

    def test_what_was_observed_must_be_there(self, store):
        seen = {"vote_error": np.zeros(EPOCHS)}
        path = store.save(replace(make_result(short(observe="vote")), observations=seen))
        path.with_suffix(".npz").unlink()
        with pytest.warns(UserWarning, match=r"with what was observed, is missing"):
            assert store.find(short(observe="vote")) is None

    def test_another_result_under_this_name_stays_beside(self, store):
        taken = store.save(make_result(short(seed=1)))
        taken.rename(taken.with_name(f"{short().name}-{short().key}.json"))
        path = store.save(make_result())
        assert path.name == f"{short().name}-{short().key}-1.json"
        assert store.save(make_result()) == path
        assert store.find(short()).experiment == short()
        assert set(seeds(store)) == {0, 1}

    @pytest.mark.parametrize("torn", ["os.replace", "labelreg.results._save_arrays", "pathlib.Path.write_text"])
    def test_what_fails_leaves_nothing_and_can_be_done_again(self, torn, store, monkeypatch):
        """A result is there once its observations are, and whole."""

        def fail(*arguments):
            raise OSError("no space left on device")

        result = replace(make_result(), observations={"labels": np.ones(3)})
        with monkeypatch.context() as patched:
            patched.setattr(torn, fail)
            with pytest.raises(OSError, match="no space"):
                store.save(result)
        assert list(store.root.glob("shared/*.json")) == list(store.root.glob("shared/.*")) == []
        assert store.find(short()) is None
        store.save(result)
        assert [each.observations["labels"].tolist() for each in store] == [[1.0, 1.0, 1.0]]

    def test_sweeps_what_a_killed_writer_left(self, store):
        path = store.save(make_result())
        left_over = path.with_name(f".{path.name}.1234.tmp")
        left_over.touch()
        store.save(make_result(short(seed=1)))
        assert not left_over.exists()
        assert len(list(store)) == 2

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_many_writers_leave_one_result(self, store):
        """Saved at once by several processes, also with observations, and never seen half-written meanwhile."""
        result = replace(make_result(), observations={"labels": np.ones((3, 100, 100))})
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=store.save, args=(result,)) for _ in range(6)]
        for writer in writers:
            writer.start()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            while any(writer.is_alive() for writer in writers):
                assert all(each.observations["labels"].shape == (3, 100, 100) for each in store)
        for writer in writers:
            writer.join(60)
        assert [writer.exitcode for writer in writers] == [0] * 6
        name = f"{short().name}-{short().key}"
        assert sorted(path.name for path in (store.root / "shared").iterdir()) == [f"{name}.json", f"{name}.npz"]


def test_a_claim_has_one_holder_at_a_time(tmp_path):
    one, other = Store(tmp_path), Store(tmp_path)
    with one.claim(short()):
        with pytest.raises(Claimed, match="another process holds"), other.claim(short(), lambda: False):
            pass
        with other.claim(short(seed=1), pytest.fail):
            pass
    with pytest.raises(ZeroDivisionError), other.claim(short(), pytest.fail):
        1 / 0  # noqa: B018
    with one.claim(short(), pytest.fail):
        pass
    assert list(one) == []


PLAIN = short(epochs=2).as_dict()


def content(experiment=PLAIN, history=None, **changes):
    history = {"test_error": [0.2]} if history is None else history
    return json.dumps({"schema": 1, "experiment": experiment, "history": history, "provenance": {}} | changes)


def recorded(metrics=(), **changes):
    """A result as it should be, but for some columns and parts."""
    history = {"test_error": [0.2, 0.1], "test_nll": [1, 0.5], "test_ece": [0.1, None]} | dict(metrics)
    return content(history=history, **{"provenance": {"seconds": 1.5}} | changes)


def with_options(name, options, **settings):
    """A result of a network that is not here, whose options nobody knows."""
    return recorded(experiment=PLAIN | {"network": "lost", name: options} | settings)


FOREIGN = {
    "cut short": '{"schema":1,"exper',
    "a list": "[1, 2]",
    "other keys": '{"name": "somebody else\'s"}',
    "another schema": content(schema=2),
    "no history": content(history={}),
    "no epochs": content(history={"test_error": []}),
    "ragged": content(history={"test_error": [0.2, 0.1], "loss": [1]}),
    "a history of text": content(history="abc"),
    "no experiment": content(experiment={}),
    "a setting of another version": content(experiment=PLAIN | {"warmth": 3}),
    "an option of another version": content(experiment=PLAIN | {"options": {"warmth": 3}}),
    "a method of another version": content(experiment=PLAIN | {"method": "lost"}),
    "no text": b"\xff\xfe\x00\x80",
    "a number beyond all floats": recorded(experiment=PLAIN | {"learning_rate": 10**400}),
    "a metric beyond all floats": recorded({"test_nll": [10**400, 1]}),
    "an option that is a list": with_options("network_options", {"key": [1]}),
    "an option that is a mapping": with_options("network_options", {"hidden": {"a": 1}}),
    "a known option that is a mapping": recorded(experiment=PLAIN | {"network_options": {"hidden": {"a": 1}}}),
    "nested beyond all depth": "[" * 100_000,
    "seconds of text": recorded(provenance={"seconds": "abc"}),
    "seconds of null": recorded(provenance={"seconds": None}),
    "no seconds": recorded(provenance={}),
    "a metric of text": recorded({"test_error": "ab"}),
    "a metric of nested lists": recorded({"test_error": [[0.2], [0.1]]}),
    "a metric that is Infinity": recorded({"test_error": [math.inf, 0.1]}),
    "columns of different length": recorded({"test_ece": [0.1]}),
    "no calibration error": json.dumps(
        {**json.loads(recorded()), "history": {"test_error": [0.1, 0.1], "test_nll": [1.0, 1.0]}},
    ),
    "a name that leads out of the folder": recorded(experiment=PLAIN | {"network": "../../n"}),
}


def test_a_file_as_it_should_be_is_a_result(store):
    """So that each of the others differs from one in what it is named for."""
    store.root.mkdir()
    for name, text in (("one", recorded()), ("other", with_options("network_options", {"hidden": 1}))):
        (store.root / f"{name}.json").write_text(text)
    assert [each.last["test_nll"] for each in store] == [0.5, 0.5]


class TestForeignFiles:
    @pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
    def test_are_named_once_and_passed_over_and_left_alone(self, content, store):
        foreign = store.root / "shared" / f"{short().name}-{short().key}.json"
        foreign.parent.mkdir(parents=True)
        before = content if isinstance(content, bytes) else content.encode()
        foreign.write_bytes(before)

        def warned(action):
            with pytest.warns(UserWarning, match=f"{foreign.name} is not a valid result and is skipped: ") as said:
                outcome = action()
            assert len(said) == 1
            return outcome

        assert warned(lambda: list(store)) == []
        assert warned(lambda: store.find(short())) is None
        path = warned(lambda: store.save(make_result()))
        assert path.name == f"{foreign.stem}-1.json"
        assert foreign.read_bytes() == before
        assert warned(lambda: store.find(short())).experiment == short()

    def test_observations_that_cannot_be_read_are_named_too(self, store):
        path = store.save(replace(make_result(), observations={"labels": np.ones(3)}))
        whole = path.with_suffix(".npz").read_bytes()
        path.with_suffix(".npz").write_bytes(b"PK\x03\x04 cut short")
        with pytest.warns(UserWarning, match="is skipped"):
            assert list(store) == []
        for place in range(len(whole)):  # whatever a single wrong byte makes of it
            damaged = bytearray(whole)
            damaged[place] ^= 0xFF
            path.with_suffix(".npz").write_bytes(damaged)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                assert len(list(store)) == 1 - sum("is skipped" in str(each.message) for each in said)

    def test_observations_said_to_be_larger_than_any_memory_are_named_too(self, store):
        path = store.save(replace(make_result(), observations={"labels": np.ones(3)}))
        header = io.BytesIO()
        described = {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
        np.lib.format.write_array_header_1_0(header, described)
        with zipfile.ZipFile(path.with_suffix(".npz"), "w") as archive:
            archive.writestr("labels.npy", header.getvalue())
        with pytest.warns(UserWarning, match="is skipped"):
            assert list(store) == []

    def test_only_files_that_could_be_it_are_opened(self, store):
        store.save(make_result())
        (store.root / "notes.json").write_text("no result")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert store.find(short()) is not None


def test_the_table_has_settings_metrics_and_provenance_per_run(store):
    for seed in (0, 1):
        experiment = short(seed=seed, learning_rate=0.1)
        store.save(make_result(experiment, learning_rate=[0.1, 0.05, 0.0], test_error=[0.2, 0.1, 0.3]))
    table = store.table()
    assert list(table.seed) == [0, 1]
    assert list(table.test_error) == [0.3, 0.3]
    assert list(table.best_test_error) == [0.1, 0.1]
    assert "best_loss" not in table
    # the learning rate is the setting, the seconds are those of the run, not of its last epoch
    assert list(table.learning_rate) == [0.1, 0.1]
    assert list(table.seconds) == [12.3, 12.3]
    assert set(table.torch) == {torch.__version__}


class TestDifferences:
    @given(arrays(float, st.tuples(st.just(2), st.integers(2, 12)), elements=st.floats(0, 1)))
    @example(np.array([[0.3, 0.3 + 1e-16, 0.3], [0.1, 0.1, 0.1]]))  # nearly equal differences
    def test_is_the_paired_t_interval(self, pairs):
        values, baseline = pairs
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # scipy's, of equal differences
            interval = stats.ttest_rel(values, baseline).confidence_interval()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mean, half_width = paired_difference(values.tolist(), baseline.tolist())
        assert mean == pytest.approx((values - baseline).mean(), abs=1e-12)
        if math.isfinite(interval.low):
            assert (mean - half_width, mean + half_width) == pytest.approx((interval.low, interval.high), abs=1e-9)

    def test_known_values(self):
        # mean 2, standard error 1 / sqrt(3), t quantile 4.30265
        assert paired_difference([2, 4, 6], [1, 2, 3]) == pytest.approx((2.0, 4.30265 / math.sqrt(3)), rel=1e-5)
        assert paired_difference([0.3, 0.3, 0.3], [0.1, 0.1, 0.1]) == (pytest.approx(0.2), 0.0)
        assert paired_difference([0.3], [0.1]) == pytest.approx((0.2, math.nan), nan_ok=True)
        with pytest.raises(ValueError, match="got 1 values and 2"):
            paired_difference([1.0], [1.0, 2.0])


def test_provenance_goes_without_a_commit_where_there_is_no_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(results.paths, "checkout", lambda: None)  # a project of the caller's around it is not asked
    monkeypatch.delenv("LABELREG_COMMIT", raising=False)
    assert results._commit.__wrapped__() == ""
    monkeypatch.setenv("LABELREG_COMMIT", "0123456789ab")
    assert results._commit.__wrapped__() == "0123456789ab"
