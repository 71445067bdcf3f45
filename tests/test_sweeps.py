"""Running many experiments: the same results as one by one, however many at once and whatever stops them."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from interruption import assert_is_the_straight_run, folder

from labelreg import checkpoints, pools, sweeps
from labelreg.experiment import Experiment
from labelreg.results import Claimed, Result, Store
from labelreg.running import run, train
from labelreg.sweeps import Runtimes, run_all
from labelreg.training import Interrupted

SHORT = Experiment(subset=100, epochs=2, batch_size=32, schedule="one_cycle")
SEEDS = SHORT.with_seeds(3)
STUDENT = SHORT.but(method="knowledge_distillation", teacher=SHORT.but(seed=9))
BROKEN = SHORT.but(observe="residual_labels")
LOST = SHORT.but(network="mpl")
LONG = SHORT.but(epochs=4, seed=11).with_seeds(2)


def metrics(results, digits=5):
    """Each run's history but for the time it took, to so many digits."""
    return [
        {name: [float(f"{value:.{digits}g}") for value in values] for name, values in each.history.items()}
        | {"seconds": None}
        for each in results
    ]


def epochs_saved(experiment):
    path = folder(experiment) / "checkpoint.pt"
    return len(checkpoints.read(path)["ends"]) if path.exists() else 0


class TestOneProcess:
    def test_returns_every_experiment_with_its_result_in_order(self):
        finished = run_all(reversed(SEEDS), jobs=1, progress=None)
        assert list(finished) == list(reversed(SEEDS))
        assert [result.experiment for result in finished.values()] == list(finished)
        assert metrics(finished.values()) == metrics(train(each).result for each in finished)
        assert len(list(Store())) == 3

    def test_runs_equal_experiments_once_and_tells_of_each_epoch_and_run(self):
        lines = []
        finished = run_all([SHORT, SHORT.but(), SHORT.but(learning_rate=0.1)], jobs=1, progress=lines.append)
        assert list(finished) == [SHORT]
        error = finished[SHORT].last["test_error"]
        assert [line.split("  ")[1] for line in lines[:2]] == ["epoch 1/2", "epoch 2/2"]
        assert lines[2].startswith(f"1 of 1: {SHORT.name}: error {error:.2%}, ")
        assert len(lines) == 3

    def test_live_runs_are_trained_anew_and_leave_nothing(self, tmp_path):
        recorded = run(SHORT, results=tmp_path / "elsewhere", progress=None)
        before = sorted(tmp_path.rglob("*"))
        lines = []
        live = run_all([SHORT], record=False, jobs=1, results=tmp_path / "elsewhere", progress=lines.append)
        assert sum("epoch" in line for line in lines) == 2
        assert metrics(live.values()) == metrics([recorded])
        assert live[SHORT].provenance["date"] >= recorded.provenance["date"]
        assert sorted(tmp_path.rglob("*")) == before

    def test_nothing_to_run_is_nothing_and_no_process_can_be_less(self):
        assert run_all([], progress=None) == {}
        for jobs in (-1, "2", 1.5):
            with pytest.raises(ValueError, match="jobs is a number of processes, 0 for as many as there is room"):
                run_all([SHORT], jobs=jobs)
        for minutes in (-1, "2", math.nan):
            with pytest.raises(ValueError, match="minutes is a budget of time, at least 0, not"):
                run_all([SHORT], minutes=minutes)

    @pytest.mark.parametrize("record", [True, False])
    def test_a_run_that_fails_does_not_stop_the_others(self, record):
        """One error is raised as it is, several together; what ended stays."""
        lines = []
        with pytest.raises(ValueError, match="no network is called 'mpl'"):
            run_all([SEEDS[0], LOST, SEEDS[1]], jobs=1, record=record, progress=lines.append)
        assert [line.split(":")[0] for line in lines if "epoch" not in line] == ["1 of 3", "1 of 3", "2 of 3"]
        assert f"{LOST.name}: ValueError: no network is called 'mpl'; did you mean mlp" in lines[-4]
        with pytest.raises(ExceptionGroup, match="2 of 3 runs failed") as caught:
            run_all([LOST, BROKEN, SEEDS[2]], jobs=1, record=record, progress=None)
        assert ["mpl" in str(each) for each in caught.value.exceptions] == [True, False]
        assert {each.experiment for each in Store()} == ({*SEEDS} if record else set())

    @pytest.mark.parametrize(
        ("jobs", "cores", "expected"), [(0, 4, 4), (0, 100, 20), (3, 100, 3), (1, 8, 1), (50, 8, 20)]
    )
    def test_runs_no_more_at_once_than_asked_or_needed(self, jobs, cores, expected, monkeypatch):
        used = []

        def parallel(workers, **options):
            used.append(workers)
            return lambda calls: ((experiment, Claimed("")) for _, (experiment, *_), _ in calls)

        monkeypatch.setattr(pools.joblib, "Parallel", parallel)
        monkeypatch.setattr(pools.joblib, "cpu_count", lambda: cores)
        assert run_all(SHORT.with_seeds(20), jobs=jobs, device="cpu", progress=None) == {}
        assert used == [expected]


class TestStopping:
    def test_a_deadline_saves_what_is_under_way_and_the_same_call_goes_on(self, monkeypatch):
        """Time passes in the second epoch of the second run; nothing is started afterwards."""
        now, lines = [0.0], []
        monkeypatch.setattr(sweeps.time, "time", lambda: now[0])

        def tell(line):
            lines.append(line)
            if "s1  epoch 1/2" in line:
                now[0] += 61

        finished = run_all(SEEDS, jobs=1, minutes=1, progress=tell)
        assert list(finished) == SEEDS[:1]
        assert lines[-1] == f"1 of 3: {SEEDS[1].name}: stopped; the same call resumes there"
        assert epochs_saved(SEEDS[1]) == 1
        assert not folder(SEEDS[2]).exists()
        assert run_all(SEEDS, jobs=1, minutes=0, progress=pytest.fail) == finished
        lines.clear()
        finished = run_all(SEEDS, jobs=1, minutes=1, progress=tell)
        assert [line for line in lines if "s1  epoch" in line] == [lines[0]]
        assert metrics(finished.values()) == metrics(train(each).result for each in SEEDS)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("record", [True, False])
    def test_a_signal_stops_the_run_under_way_and_starts_no_other(self, number, record):
        def tell(line):
            lines.append(line)
            if "s1  epoch 1/2" in line:
                os.kill(os.getpid(), number)

        lines = []
        with pytest.raises(
            Interrupted, match="^interrupted; saved, the same call resumes there$" if record else "^interr"
        ):
            run_all(SEEDS, jobs=1, record=record, progress=tell)
        assert lines[-1].startswith(f"1 of 3: {SEEDS[1].name}: stopped")
        assert not any("s2" in line for line in lines)
        assert epochs_saved(SEEDS[1]) == record
        finished = run_all(SEEDS, jobs=1, progress=None)
        assert metrics(finished.values()) == metrics(train(each).result for each in SEEDS)

    def test_a_second_signal_acts_at_once_and_does_not_say_that_all_is_saved(self):
        def tell(line):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt) as caught:
            run_all(SEEDS, jobs=1, progress=tell)
        assert type(caught.value) is KeyboardInterrupt
        assert epochs_saved(SEEDS[0]) == 0  # which was about to be

    @pytest.mark.parametrize(("seconds", "expected"), [(200, 0), (10, 1), (2, 2), (0.5, 0)])
    def test_what_ends_in_time_goes_first_and_what_takes_unknown_time_in_its_turn(self, seconds, expected):
        known = SimpleNamespace(seconds=lambda experiment: (100.0, 5.0, 1.0)[experiment.seed])
        unknown = SimpleNamespace(seconds=lambda experiment: math.nan)
        assert sweeps._next(SEEDS, known, seconds) == SEEDS[expected]
        assert sweeps._next(SEEDS, unknown, seconds) == SEEDS[0]


class TestRuntimes:
    CPU = torch.device("cpu")

    @staticmethod
    def result(experiment, seconds, device="x"):
        return Result(experiment, {"test_error": [0.2]}, {"device": device, "seconds": seconds})

    @pytest.fixture(autouse=True)
    def _device(self, monkeypatch):
        monkeypatch.setattr(sweeps, "provenance", lambda device: {"device": "x"})

    def test_the_speed_of_the_same_method_or_else_of_the_same_network(self):
        known = [self.result(SHORT.but(seed=seed), seconds) for seed, seconds in enumerate((3.0, 5.0, 99.0))]
        runtimes = Runtimes([*known, self.result(SHORT, 0.01, device="y"), self.result(SHORT, None)], self.CPU)
        assert runtimes.seconds(SHORT.but(epochs=4)) == pytest.approx(10.0)
        assert runtimes.seconds(SHORT.but(method="mixup")) == pytest.approx(5.0)
        runtimes = Runtimes([*known, self.result(SHORT.but(method="mixup"), 8.0)], self.CPU)
        assert runtimes.seconds(SHORT.but(method="mixup")) == pytest.approx(8.0)

    def test_is_no_number_where_nothing_is_known(self):
        others = [SHORT.but(network="resnet8"), SHORT.but(subset=50), SHORT.but(dataset="wine", subset=None)]
        known = [self.result(SHORT, 1.0, device="y"), *(self.result(each, 1.0) for each in others)]
        assert math.isnan(Runtimes(known, self.CPU).seconds(SHORT))


def test_two_processes_give_what_one_gives_and_tell_what_fails(monkeypatch):
    """The students share a teacher; one run is another process's, two cannot be made, one is recorded already."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)  # here, not in the processes
    students = [STUDENT, STUDENT.but(options={"alpha": 0.2})]
    recorded, claimed = run(SEEDS[2], progress=None), SHORT.but(seed=8)
    lines = []
    with Store().claim(claimed), pytest.raises(ExceptionGroup, match="2 of 8 runs failed") as caught:
        run_all([*students, BROKEN, *SEEDS, LOST, claimed], jobs=2, device="cpu", minutes=60, progress=lines.append)
    broken, lost = (each.__notes__ for each in caught.value.exceptions)
    assert broken[0] == "in the run epochs=2 batch_size=32 schedule=one_cycle subset=100 observe=residual_labels"
    assert all("Traceback" in notes[1] and "running.py" in notes[1] for notes in (broken, lost)), "where it failed"
    assert {type(each) for each in caught.value.exceptions} == {ValueError}
    assert sum(f"{claimed.name}: another process is running it" in line for line in lines) == 1
    assert lines[-1].startswith("5 of 8: ")

    finished = run_all([*students, *SEEDS], jobs=2, progress=pytest.fail)
    assert list(finished) == [*students, *SEEDS]
    assert finished[SEEDS[2]] == recorded
    assert {each.experiment for each in Store()} == {*finished, STUDENT.teacher}
    threads = {result.provenance["threads"] for result in finished.values() if result is not finished[SEEDS[2]]}
    assert threads == {max(1, (os.cpu_count() or 1) // 2)}
    # a process may sum up with more threads than this one
    for result in finished.values():
        straight = train(result.experiment).result
        assert result.history["loss"] == pytest.approx(straight.history["loss"], rel=1e-3)


def test_processes_that_are_left_from_a_former_call_see_the_folders_of_this_one(tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("LABELREG_RUNS", "here")  # relative to the current folder
        run_all(SEEDS[:2], jobs=2, device="cpu", results="results", progress=None)
        assert len(list((tmp_path / name / "here").iterdir())) == 2


def test_a_run_in_a_process_prints_its_first_line_at_once_and_the_others_now_and_then(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(sweeps.time, "monotonic", lambda: now[0])
    tell = sweeps._SlowLines()
    for line in ("waiting for another process", "epoch 1", "epoch 2", "epoch 3"):
        tell(line)
        now[0] += 4
    assert capsys.readouterr().err.splitlines() == ["waiting for another process", "epoch 3"]


# no run ends before the other is on its way: in their second epoch they wait until they are to stop
PROGRAM = """
import os, sys, time
from labelreg import checkpoints, sweeps
from labelreg.experiment import Experiment

class Holding(sweeps.StopWhen):
    steps = 0

    def __call__(self):
        if os.getpid() != self.parent:
            type(self).steps += 1
            while self.steps > 5 and not super().__call__():
                time.sleep(0.02)
        return super().__call__()

sweeps.StopWhen = Holding
todo = Experiment(subset=100, epochs=4, batch_size=32, schedule="one_cycle", seed=11).with_seeds(2)
if "one short" in sys.argv:  # which ends without waiting
    todo[1] = todo[1].but(epochs=1)
sweeps.run_all(todo, jobs=2, device="cpu", progress=lambda line: print(line, flush=True))
"""


def wait_for(condition, seconds=120):
    """Return what a condition returns as soon as that is true; machines may be busy."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"nothing came in {seconds} s"
        time.sleep(0.05)
    return found


def descendants(pid):
    """Every process that one has started, and those that these have."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = [int(child) for child in (task / "children").read_text().split()]
            found += [*children, *(each for child in children for each in descendants(child))]
    return found


def runs(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def start():
    """Start the program; when both of its runs have got on, return it and the processes that it has started."""
    started = []

    def begin():
        before = [epochs_saved(each) for each in LONG]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)

        def on_their_way():
            assert process.poll() is None, process.stdout.read()
            return all(epochs_saved(each) > saved for each, saved in zip(LONG, before, strict=True))

        wait_for(on_their_way)
        return process, descendants(process.pid)

    yield begin
    for process in started:
        for each in [process.pid, *descendants(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.wait(60)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_saves_all_though_one_has_nothing_to_do(number):
    command = [sys.executable, "-c", PROGRAM, "one short"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            wait_for(lambda: process.poll() is not None or (len(list(Store())) == 1 and epochs_saved(LONG[0]) == 1))
            os.killpg(process.pid, number)
            said = process.communicate(timeout=120)[0]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert "Interrupted: interrupted; saved, the same call resumes there" in said
    assert said.count("stopped; the same call resumes there") == 1
    assert epochs_saved(LONG[0]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_signal_saves_all_a_kill_loses_at_most_the_epoch_under_way_and_no_process_is_left(start):
    """SIGINT to the process that waits, alone; then SIGKILL to one that trains, and to the one that waits."""
    process, children = start()
    assert len(children) >= 2
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=240)[0]
    assert process.returncode != 0
    assert "Interrupted: interrupted; saved, the same call resumes there" in said
    assert said.count("stopped; the same call resumes there") == 2
    wait_for(lambda: not any(map(runs, children)))
    assert [epochs_saved(each) for each in LONG] == [1, 1]

    process, children = start()
    trains = [each for each in children if b"LokyProcess" in Path(f"/proc/{each}/cmdline").read_bytes()]
    os.kill(trains[-1], signal.SIGKILL)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 1
    assert "Killed: a process was killed, possibly out of memory, while these ran: " in said
    assert all(each.name in said for each in LONG)
    assert "The same call resumes from their last finished epochs" in said
    wait_for(lambda: not any(map(runs, children)))
    assert [epochs_saved(each) for each in LONG] == [2, 2]

    process, children = start()
    process.kill()
    process.wait(60)
    wait_for(lambda: not any(map(runs, children)))  # nobody tells them
    assert [epochs_saved(each) for each in LONG] == [3, 3]

    finished = run_all(LONG, jobs=1, device="cpu", progress=None)
    for experiment in LONG:
        assert_is_the_straight_run(experiment, finished[experiment], device="cpu")
        assert {path.name for path in folder(experiment).iterdir()} == {"lock", "weights.pt"}
    assert len(list(Store())) == 2
