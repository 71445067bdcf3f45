"""What is run next, what it is estimated to take, and that nothing is lost or run twice."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from labelreg.data import load
from labelreg.experiments import Experiment, Recorded, run, train, training_operations
from labelreg.experiments.running import _folder
from labelreg.papers import Item, Paper, Row, compare
from labelreg.reproduce import (
    COLLECTIONS,
    Clock,
    Task,
    coverage,
    overview,
    planning,
    progress,
    record,
    recording,
    tasks,
)
from labelreg.results import Claimed, Result, Store

BASE = Experiment(subset=100, epochs=2, batch_size=32, schedule="one_cycle")
SMALL = {"hidden": (32,)}


def row(method, network="mlp", dataset="digits", **settings):
    methods = {"Baseline": "cross_entropy", "LS": "label_smoothing", "KR": "knowledge_refinery"}
    each = replace(BASE, method=methods[method], network=network, dataset=dataset, **settings)
    return Row(dataset, network, method, each)


def paper(key, **items):
    return Paper(key, "", (), "", seeds=2, tables={name: Item(name, rows) for name, rows in items.items()})


@pytest.fixture
def collections(monkeypatch):
    """A large and a small network, a paper that repeats a run of another, and one data set that is not asked for."""
    found = {
        "one": paper(
            "one",
            table1=(row("KR", "resnet8"), row("Baseline", "resnet8"), row("LS"), row("Baseline")),
            table2=(row("Baseline", dataset="toy"),),
        ),
        "two": paper("two", table1=(row("Baseline"), row("KR"))),
    }
    monkeypatch.setattr(planning, "COLLECTIONS", found)
    return found


def names(found):
    return [(t.collection, t.row.network, t.row.method, t.experiment.seed) for t in found]


def make_task(experiment, method="Baseline"):
    return Task("one", "table1", Row(experiment.dataset, experiment.network, method, experiment), experiment)


def result_of(experiment, seconds=1.0, device="x"):
    history = {"test_error": [0.2], "test_ece": [0.1]}
    return Result(experiment.key, experiment.resolved().as_dict(), history, {"device": device, "seconds": seconds})


class TestTasks:
    def test_baseline_first_with_all_seeds_small_networks_first_nothing_twice(self, collections):
        expected = [
            ("one", "mlp", "Baseline"),
            ("one", "mlp", "LS"),
            ("two", "mlp", "KR"),
            ("one", "resnet8", "Baseline"),
            ("one", "resnet8", "KR"),
        ]
        found = tasks("paper", collections=collections, datasets=["digits"])
        assert names(found) == [(*each, seed) for each in expected for seed in range(2)]
        assert [task.experiment for task in found[:2]] == row("Baseline").experiment.with_seeds(2)

    def test_options_spelt_out_are_the_same_run(self, collections):
        rows = (row("LS"), row("LS", options={"epsilon": 0.1}))
        collections["one"] = paper("one", table1=rows)
        assert len(tasks("paper", collections=["one"], datasets=["digits"])) == 2

    def test_takes_the_seeds_of_the_profile_or_the_paper_or_those_asked_for(self, collections):
        for arguments, expected in (({"profile": "fast"}, 3), ({"profile": "paper"}, 2), ({"seeds": 4}, 4)):
            found = tasks(**arguments, collections=["two"], datasets=["digits"])
            assert [task.experiment.seed for task in found] == [*range(expected)] * 2
        (first, *_) = tasks("fast", collections=["two"], datasets=["digits"])
        assert first.experiment == row("Baseline").experiment.at("fast")

    def test_filters(self, collections):
        chosen = {"collections": collections, "datasets": ["digits"]}
        assert {t.row.network for t in tasks(**chosen, networks=["resnet8"])} == {"resnet8"}
        assert {t.row.method for t in tasks(**chosen, methods=["KR", "LS"])} == {"KR", "LS"}
        assert tasks(collections=["two"], datasets=["toy"]) == []

    def test_what_cannot_be_run_is_left_out(self, collections):
        baseline = row("Baseline")
        collections["one"] = paper("one", table1=(baseline, replace(baseline, network="charcnn")))
        assert {task.row.network for task in tasks(collections=["one"], datasets=["digits"])} == {"mlp"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"profile": "fats"}, "no profile is called 'fats'; did you mean fast"),
            ({"collections": ["tow"]}, "no collection is called 'tow'; did you mean two"),
            ({"datasets": ["digit"]}, "no data set is called 'digit'; did you mean digits"),
            ({"networks": ["resnet"]}, "no network is called 'resnet'; did you mean resnet8"),
            ({"methods": ["RK"]}, "no method in any table or figure is called 'RK'"),
        ],
    )
    def test_unknown_names(self, arguments, message, collections):
        with pytest.raises(ValueError, match=message):
            tasks(**{"collections": ["two"], "datasets": ["digits"]} | arguments)

    def test_the_benchmark_holds_every_method_on_the_same_protocol(self):
        items = dict(COLLECTIONS["shared"].tables)
        text = items.pop("lstm")
        for item in items.values():
            assert len({each.resolved() for each in item}) == len(item) == 17
            varied = {"method": "cross_entropy", "options": {}, "teacher": None}
            assert len({replace(each, **varied) for each in item}) == 1
            assert {each.weight_decay for each in item} == {5e-4}
            (again,) = [each for each in item if each.method == "born_again"]
            assert again.teacher == item[0]
        assert {each.method for each in text} == {each.method for each in COLLECTIONS["nar"].tables["table4"]}
        varied |= {"auxiliary_options": {}}
        assert len({replace(each, **varied) for each in text}) == 1 < len({each.resolved() for each in text}) == 7


class TestOperations:
    MLP = 2 * (64 * 256 + 256 * 256 + 256 * 10)  # of a forward pass

    @pytest.mark.parametrize(
        ("changes", "ratio"),
        [
            ({}, 1),
            ({"epochs": 4}, 2),
            ({"subset": 50}, 0.5),
            ({"holdout": 0.25}, 0.75),
            ({"seed": 7, "label_noise": 0.5, "batch_size": 10}, 1),
            ({"method": "network_as_regularization"}, 2),
            ({"method": "mixup", "options": {"method": "network_as_regularization"}}, 2),
            ({"method": "network_as_regularization", "auxiliary_options": SMALL}, 1 + 2 * (64 + 10) * 32 / MLP),
            ({"method": "deep_mutual_learning", "options": {"peer": "mlp"}}, 2),
            ({"method": "batch_augmentation", "options": {"copies": 6}}, 6),
        ],
    )
    def test_closed_forms(self, changes, ratio):
        assert training_operations(replace(BASE, **changes)) == pytest.approx(2 * 100 * 3 * self.MLP * ratio)

    @pytest.mark.parametrize(
        ("changes", "ratio"),
        [
            ({"method": "class_wise_self_distillation"}, 4 / 3),
            ({"method": "born_again", "teacher": BASE}, 4 / 3),
            ({"method": "born_again", "teacher": replace(BASE, network_options=SMALL)}, 1 + 64 * 37 / MLP / 3 * 2),
            ({"method": "adversarial_training"}, 7 / 3),
            ({"method": "knowledge_refinery"}, 1),
        ],
    )
    def test_about_the_least_that_a_step_takes(self, changes, ratio):
        """But for the gradient of the first layer's input, which is not needed."""
        assert training_operations(replace(BASE, **changes)) == pytest.approx(2 * 100 * 3 * self.MLP * ratio, rel=0.05)

    def test_options_that_fit_the_network_alone_do_not_matter(self):
        layers = replace(BASE, method="stochastic_batch_augmentation", options={"layers": "nowhere"})
        assert training_operations(layers) == training_operations(replace(layers, options={}))

    def test_a_text(self):
        """An LSTM of one layer, whose four gates see the word and the state, and the softmax over all words."""
        text = Experiment(dataset="pydoc", network="lstm", network_options={"hidden": 16, "layers": 1}, epochs=1)
        words, known = len(load("pydoc").train), load("pydoc").num_classes
        assert training_operations(text) == 3 * words * 2 * (2 * 4 * 16 * 16 + 16 * known)
        wider = replace(text, network_options={"hidden": 32, "layers": 1})
        assert training_operations(wider) > training_operations(text)

    def test_leaves_random_numbers_and_threads_alone(self):
        state, threads = torch.get_rng_state(), torch.get_num_threads()
        training_operations(replace(BASE, method="mixup", options={"alpha": 0.77}))
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads


class TestClock:
    CPU = torch.device("cpu")

    def test_the_speed_of_the_same_network_or_else_of_any(self, monkeypatch):
        monkeypatch.setattr(progress, "provenance", lambda device: {"device": "x"})
        other = replace(BASE, network="resnet8")
        results = [result_of(BASE, 3.0), result_of(replace(BASE, seed=1), 5.0), result_of(replace(BASE, seed=2), 99.0)]
        clock = Clock(self.CPU, [*results, result_of(replace(BASE, seed=3), 0.01, device="y")], ["digits"])
        assert not clock.guesses
        assert clock.seconds(replace(BASE, epochs=4)) == pytest.approx(10.0)
        ratio = training_operations(other) / training_operations(BASE)
        assert clock.seconds(other) == pytest.approx(5.0 * ratio)
        clock.learn(result_of(other, 7.0))
        assert clock.seconds(other) == pytest.approx(7.0)

    def test_guesses_where_nothing_is_known(self):
        clock = Clock(self.CPU, [result_of(BASE, device="another")], ["digits"])
        assert clock.guesses
        assert clock.seconds(BASE) == training_operations(BASE) / progress.GUESSED_SPEED["cpu"]

    def test_passes_over_what_is_not_known_any_more(self, monkeypatch):
        monkeypatch.setattr(progress, "provenance", lambda device: {"device": "x"})
        strange = Result("k", {"dataset": "lost"}, {"test_error": [0.1]}, {"device": "x", "seconds": 1.0})
        assert Clock(self.CPU, [strange, replace(strange, experiment={"setting": 1})], ["lost", "digits"]).guesses


def test_overview_counts_what_is_recorded(collections, monkeypatch):
    todo = tasks("paper", collections=collections, datasets=["digits"])
    store = [result_of(row("Baseline").experiment), result_of(row("LS").experiment.with_seeds(2)[1])]
    clock = Clock(torch.device("cpu"), [], ["digits"])
    monkeypatch.setattr(clock, "seconds", lambda experiment: 1800.0)
    table = overview(todo, Recorded(store), clock)
    assert [*table] == ["collection", "item", "dataset", "network", "runs", "recorded", "left", "hours"]
    assert table.iloc[:, [0, 3, 4, 5, 6, 7]].values.tolist() == [
        ["one", "mlp", 4, 2, 2, 1.0],
        ["two", "mlp", 2, 0, 2, 1.0],
        ["one", "resnet8", 4, 0, 4, 2.0],
    ]


class TestCoverage:
    def test_of_tables_figures_and_the_benchmark(self):
        table = COLLECTIONS["kr"].tables["table1"][0]
        curve = COLLECTIONS["kr"].figures["figure5"][1]
        shared = COLLECTIONS["shared"].tables["resnet18"][4]
        store = [result_of(each) for each in (*table.with_seeds(2), curve.at("fast"), shared.at("fast"), shared)]
        rows = coverage(store).set_index(["collection", "item"])
        assert rows.loc[("kr", "table1"), ["cells", "at fast", "at paper"]].tolist() == [16, 0, 1]
        assert rows.loc[("kr", "table1"), "mean gap"] == pytest.approx(20 - 4.72)
        assert rows.loc[("kr", "figure5"), ["cells", "at fast", "at paper"]].tolist() == [6, 1, 0]
        assert rows.loc[("shared", "resnet18"), ["cells", "runnable", "at fast", "at paper"]].tolist() == [17, 17, 0, 1]
        assert pd.isna(rows.loc[("kr", "figure5"), "mean gap"])
        assert rows[["at fast", "at paper"]].sum().sum() == 3
        assert (rows.runnable <= rows.cells).all()

    def test_the_largest_gap_is_signed(self):
        rows = COLLECTIONS["kr"].tables["table1"].rows
        store = [result_of(each.experiment) for each in rows if each.dataset == "cifar100"]  # all at 20 %
        cells = compare("kr", "table1", store)
        expected = max(cells.gap.dropna(), key=abs)
        assert expected < 0
        assert coverage(store).set_index(["collection", "item"]).loc[("kr", "table1"), "largest gap"] == expected


class TestClaims:
    def test_one_holder_at_a_time(self, tmp_path):
        one, other = Store(tmp_path), Store(tmp_path)
        with one.claim("a"):
            with pytest.raises(Claimed, match="another process holds"), other.claim("a", wait=False):
                pass
            with other.claim("b", wait=False):
                pass
        with other.claim("a", wait=False):
            pass
        assert list(one) == []

    def test_a_run_that_another_process_makes_is_not_waited_for(self):
        with Store().claim(BASE.resolved().key), pytest.raises(Claimed):
            run(BASE, wait=False, progress=None)
        assert run(BASE, wait=False, progress=None).key == BASE.key

    def test_with_folders_of_work_apart_the_results_still_tell(self, monkeypatch, tmp_path):
        with Store().claim(BASE.resolved().key):
            monkeypatch.setenv("LABELREG_RUNS", str(tmp_path / "elsewhere"))
            with pytest.raises(Claimed):
                run(BASE, wait=False, progress=None)


def test_tasks_that_end_in_time_go_first():
    class Fixed:
        def seconds(self, experiment):
            return {0: 100.0, 1: 5.0, 2: 1.0}[experiment.seed]

    waiting = [make_task(each) for each in BASE.with_seeds(3)]
    chosen = [recording._choose(waiting, Fixed(), seconds).experiment.seed for seconds in (200, 10, 2, 0.5)]
    assert chosen == [0, 1, 2, 0]


class TestRecord:
    """With real processes, which take seconds to start: few of them, that do much."""

    def test_records_all_names_what_fails_and_runs_nothing_twice(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch, "get_num_threads", lambda: 6)  # here, not in the processes
        output = tmp_path / "output"
        student = replace(BASE, method="born_again", teacher=BASE)
        broken = replace(BASE, observe=("residual_labels",))
        claimed = replace(BASE, seed=8)
        todo = [make_task(each) for each in (BASE, broken, student, claimed, replace(BASE, seed=1))]
        run(todo[-1].experiment, progress=None)  # recorded elsewhere counts as well
        lines = []
        with Store(output).claim(claimed.resolved().key):
            failures = record(todo, minutes=2, jobs=2, device="cpu", output=output, progress=lines.append)
        assert len(failures) == 1
        assert "CrossEntropy learns no residual labels" in failures[0]
        assert {path.parent.name for path in output.glob("*/*.json")} == {"one"}
        assert {result.key for result in Store(output)} == {BASE.key, student.key}
        assert sum("another process is at it" in line for line in lines) == 1
        assert lines[-1] == "2 of 4 runs recorded, 2 left"
        found = Store(output).find(student.key)
        assert found.provenance["threads"] == 3, "each job has its part of the threads"
        assert found.history["test_error"] == pytest.approx(train(student).result.history["test_error"], rel=1e-3)

        again = []
        assert record(todo[::2], minutes=2, device="cpu", output=output, progress=again.append) == []
        assert again == ["0 of 0 runs recorded, 0 left"]

    def test_what_the_budget_cuts_off_goes_on_where_it_was(self):
        task, saved = make_task(replace(BASE, epochs=100_000)), []
        for seconds in (5, 10, 20, 40, 80):  # a busy machine may need some to get to the first epoch
            lines, began = [], time.monotonic()
            record([task], minutes=seconds / 60, device="cpu", progress=lines.append)
            assert seconds <= time.monotonic() - began < seconds + 60
            assert "stopped; the same command goes on from there" in lines[0]
            assert lines[-1] == "0 of 1 runs recorded, 1 left"
            assert list(Store()) == []
            saved.append(epochs_saved(task.experiment))
            if len(saved) > 1 and saved[-1] > saved[-2] > 0:
                break
        assert saved == sorted(saved)
        assert saved[-1] > saved[-2] > 0

    def test_wrong_arguments(self):
        with pytest.raises(ValueError, match="jobs is the number of processes, at least 1, not 0"):
            record([], minutes=1, jobs=0)
        with pytest.raises(ValueError, match="device 'gpu' cannot be used here"):
            record([], minutes=1, device="gpu")


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from dataclasses import replace
from pathlib import Path
from test_reproduce import BASE, make_task
from labelreg.reproduce import record
if __name__ == "__main__":
    todo = [make_task(each) for each in replace(BASE, epochs={epochs}).with_seeds({seeds})]
    record(todo, minutes=5, jobs=1, device="cpu", progress=lambda line: print(line, flush=True))
"""


@pytest.fixture
def start(tmp_path):
    """Start a process that records so many runs of so many epochs."""
    started = []

    def begin(epochs, seeds):
        program = tmp_path / "program.py"
        program.write_text(PROGRAM.format(tests=os.path.dirname(__file__), epochs=epochs, seeds=seeds))
        process = subprocess.Popen(
            [sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()


def wait_for(condition, seconds=120):
    for _ in range(int(20 * seconds)):
        if found := condition():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"nothing came in {seconds} s")


def epochs_saved(experiment):
    path = _folder(experiment) / "checkpoint.pt"
    return torch.load(path, weights_only=True)["epoch"] if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_command_loses_at_most_the_epoch_under_way(start, number):
    experiment = replace(BASE, epochs=20_000)
    process = start(20_000, 1)
    saved = wait_for(lambda: max(0, epochs_saved(experiment) - 2))
    process.send_signal(number)
    process.wait(30)
    assert process.returncode != 0
    with Store().claim(experiment.resolved().key):  # the process that trained goes too, and lets go of it
        assert saved + 2 <= epochs_saved(experiment) < 20_000


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_killed_process_of_the_pool_is_told_with_what_it_ran(start):
    process = start(20_000, 1)
    wait_for(lambda: epochs_saved(replace(BASE, epochs=20_000)))
    tasks = f"/proc/{process.pid}/task"
    children = [int(pid) for task in os.listdir(tasks) for pid in Path(tasks, task, "children").read_text().split()]
    for child in children:
        os.kill(child, signal.SIGKILL)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "a process was killed" in said
    assert "while these ran: one table1: Baseline on digits, mlp, seed 0. The same command goes on" in said


def test_two_commands_share_a_folder(start):
    programs = [start(60, 4) for _ in range(2)]
    lines = [line for program in programs for line in program.communicate(timeout=300)[0].splitlines()]
    assert len(list(Store())) == 4
    # "1 of 4: one table1: Baseline on digits, mlp, seed 0: error 30.00%, 5 s"
    seeds = {line.split("seed ")[1][0] for line in lines if ": error" in line}
    assert seeds == {"0", "1", "2", "3"}
