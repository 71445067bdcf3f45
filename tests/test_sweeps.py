"""Many runs: the same results as one by one, however many at once."""

import os
from dataclasses import replace

import pytest

from labelreg import sweeps
from labelreg.experiments import Experiment, run
from labelreg.results import Store
from labelreg.sweeps import run_all

SHORT = Experiment(subset=100, epochs=2, batch_size=32, schedule="one_cycle")
SEEDS = SHORT.with_seeds(3)


def metrics(results):
    return [[value for name, value in result.last.items() if name != "seconds"] for result in results.values()]


def test_returns_every_experiment_with_its_result_in_order():
    finished = run_all(reversed(SEEDS), jobs=1, progress=None)
    assert list(finished) == list(reversed(SEEDS))
    assert [result.key for result in finished.values()] == [each.key for each in finished]
    assert len(list(Store())) == 3


def test_runs_a_repeated_experiment_once():
    lines = []
    finished = run_all([SHORT, replace(SHORT), SHORT], jobs=1, progress=lines.append)
    assert list(finished) == [SHORT]
    assert lines == [*lines[:2], "1 of 1 runs done"]


def test_takes_recorded_runs():
    recorded = run(SEEDS[1], progress=None)
    lines = []
    finished = run_all(SEEDS, jobs=1, progress=lines.append)
    assert finished[SEEDS[1]] == recorded
    assert sum("epoch" in line for line in lines) == 2 * 2


def test_live_runs_are_trained_anew_and_leave_nothing(tmp_path):
    recorded = run(SHORT, results=tmp_path / "elsewhere", progress=None)
    lines = []
    live = run_all([SHORT], record=False, jobs=1, progress=lines.append)
    assert [line.split("  ")[1:2] for line in lines] == [["epoch 1/2"], ["epoch 2/2"], []]
    assert live[SHORT].last["test_error"] == pytest.approx(recorded.last["test_error"], rel=1e-5)
    assert live[SHORT].provenance["date"] >= recorded.provenance["date"]
    assert not Store().root.exists()


def test_records_where_it_is_told(tmp_path):
    run_all([SHORT], jobs=1, results=tmp_path / "elsewhere", progress=None)
    assert len(list(Store(tmp_path / "elsewhere"))) == 1
    assert list(Store()) == []


def test_tells_every_tenth_of_the_way(monkeypatch):
    monkeypatch.setattr(sweeps, "run", lambda experiment, **options: None)
    for total in (1, 7, 10, 25):
        lines = []
        run_all(SHORT.with_seeds(total), jobs=1, progress=lines.append)
        assert len(lines) == min(total, 10)
        assert lines[-1] == f"{total} of {total} runs done"


@pytest.mark.parametrize(("jobs", "cores", "expected"), [(0, 4, 4), (0, 100, 20), (3, 100, 3), (1, 8, 1), (50, 8, 20)])
def test_runs_no_more_at_once_than_asked_or_needed(jobs, cores, expected, monkeypatch):
    used = []

    class Parallel:
        def __init__(self, workers, return_as):
            used.append(workers)

        def __call__(self, calls):
            return (function(*arguments, **options) for function, arguments, options in calls)

    monkeypatch.setattr(sweeps.joblib, "Parallel", Parallel)
    monkeypatch.setattr(sweeps, "run", lambda experiment, **options: None)
    monkeypatch.setattr(sweeps.joblib, "cpu_count", lambda: cores)
    run_all(SHORT.with_seeds(20), jobs=jobs, device="cpu", progress=None)
    assert used == [expected]


def test_nothing_to_run_is_nothing():
    assert run_all([], progress=None) == {}


def test_errors_come_through():
    with pytest.raises(ValueError, match="jobs is a number of processes, 0 for as many as there are cores, not -1"):
        run_all([SHORT], jobs=-1)
    with pytest.raises(ValueError, match="mpl"):
        run_all([SEEDS[0], replace(SHORT, network="mpl"), SEEDS[1]], jobs=1, progress=None)
    assert [result.key for result in Store()] == [SEEDS[0].key]  # what was finished stays


def test_two_at_once_give_what_one_gives():
    student = replace(SHORT, method="knowledge_distillation", teacher=replace(SHORT, seed=9))
    todo = [*SEEDS[:2], student, replace(student, options={"alpha": 0.2})]
    together = run_all(todo, jobs=2, progress=None)
    with pytest.raises(ValueError, match="mpl"):
        run_all([replace(each, network="mpl") for each in todo], jobs=2, progress=None)
    assert [result.provenance["threads"] for result in together.values()] == [max(1, (os.cpu_count() or 1) // 2)] * 4
    assert len(list(Store())) == 5  # the two students share their teacher
    alone = run_all(todo, jobs=1, record=False, progress=None)
    assert metrics(alone) == [pytest.approx(values, rel=1e-3) for values in metrics(together)]
