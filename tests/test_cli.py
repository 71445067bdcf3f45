"""The command line: what it prints, and that every mistake is one line and exit code 2."""

import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from labelreg import __version__, cli, data, methods, networks, paths, running
from labelreg.experiment import Experiment
from labelreg.papers import COLLECTIONS, shared
from labelreg.reports import printed_methods
from labelreg.results import Store
from labelreg.running import run

QUICK = ("epochs=2", "subset=100")


@pytest.fixture
def labelreg(monkeypatch, capsys):
    """Call the program; return exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["labelreg", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the program replaces it
    return call


def assert_one_line(outcome, message):
    code, out, err = outcome
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"labelreg: {message}")


class TestRun:
    def test_prints_one_row_per_seed_and_its_progress_apart(self, labelreg):
        code, out, err = labelreg("run", "method=label_smoothing", "options.epsilon=0.2", "--seeds=2", *QUICK)
        assert code == 0
        title, _, header, *rows = out.strip().splitlines()
        assert title == "label_smoothing on digits, last epoch of 2"
        assert header.split() == ["seed", "error", "%", "ECE", "%", "best", "error", "%", "key"]
        experiment = Experiment(method="label_smoothing", options={"epsilon": 0.2}).at("quick", epochs=2, subset=100)
        expected = [[str(each.seed), each.key] for each in experiment.with_seeds(2)]
        assert [[row.split()[0], row.split()[-1]] for row in rows] == expected
        assert err.splitlines()[-1].startswith("2 of 2: ")
        assert "epoch 2/2" in err

    def test_a_quick_run_is_a_look_but_is_recorded_where_it_is_told(self, labelreg, tmp_path):
        recorded = (*QUICK, f"--output={tmp_path / 'mine'}")
        for arguments in (QUICK, QUICK, recorded):
            assert "epoch 2/2" in labelreg("run", *arguments)[2]
        assert "epoch" not in labelreg("run", *recorded)[2]
        assert not Store().root.exists()
        assert len(list(Store(tmp_path / "mine"))) == 1

    def test_another_profile_is_recorded_and_its_teacher_too(self, labelreg):
        words = ("method=knowledge_distillation", "teacher.epochs=1", "teacher.subset=100")
        code, out, err = labelreg("run", "--profile=paper", "--device=cpu", *words, *QUICK)
        assert code == 0
        teacher = Experiment(epochs=1, subset=100)
        student = Experiment(method="knowledge_distillation", epochs=2, subset=100, teacher=teacher)
        results = {result.experiment: result for result in Store()}
        assert results.keys() == {teacher, student}
        assert f"{100 * results[student].last['test_error']:.2f}" in out
        assert "epoch 1/1" in err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["epoch=3"], "no setting is called 'epoch'; did you mean epochs?"),
            (["batch_size=two"], "batch_size should be a valid integer, got 'two'"),
            (["observe=residual_labels"], "CrossEntropy learns no residual labels that could be observed"),
            (["--output=/dev/null"], "[Errno 20] Not a directory"),
            (["subset=5000"], "cannot take a subset of 5000 samples"),
            (["--profile=qick"], "no profile is called 'qick'; did you mean quick?"),
            (["--device=gpu"], "device 'gpu' cannot be used here"),
            (
                ["learning_rate=1e30"],
                "digits-mlp-cross_entropy-s0: the loss is nan in epoch 1; a lower learning_rate may help",
            ),
            (
                ["learning_rate=1e20", "subset=64"],
                "digits-mlp-cross_entropy-s0: the test_nll is nan in epoch 1; a lower learning_rate may help",
            ),
            (["epochs=2"], "epochs is set twice, by 'epochs=1' and by 'epochs=2'"),
            (["learning_rate=" + 5000 * "-" + "1"], "learning_rate should be a valid number, got '---"),
            ([500 * "teacher." + "epochs=1"], "teachers of teachers can be 20 generations, got 'teacher.teacher."),
            (["--device=meta"], "device 'meta' cannot be used here"),
            (["method=born_again", "teacher.epochs=-1"], "the teacher: epochs should be greater than 0, got -1"),
        ],
    )
    def test_a_mistake_is_one_line(self, arguments, message, labelreg):
        assert_one_line(labelreg("run", "epochs=1", *arguments), message)

    @pytest.mark.parametrize("kind", [RuntimeError, OverflowError, MemoryError, RecursionError, KeyError, TypeError])
    def test_what_nobody_foresaw_names_the_run_and_where_its_traceback_is(self, kind, labelreg, monkeypatch):
        def fail(*arguments):
            raise kind("two\nlines")

        monkeypatch.setattr(running, "build", fail)
        outcome = labelreg("run", *QUICK, "momentum=0.5")
        said = "'two\\nlines'" if kind is KeyError else "two lines"
        assert_one_line(outcome, f"{kind.__name__}: {said}; in the run epochs=2 batch_size=64 momentum=0.5")
        file = Path(outcome[2].split()[-1])
        assert f"{kind.__name__}: " in file.read_text()
        assert "in fail" in file.read_text()
        file.unlink()

    def test_several_failures_are_one_line_each(self, labelreg):
        code, out, err = labelreg("run", "learning_rate=1e30", "--seeds=2", *QUICK)
        assert (code, out, err.count("labelreg: digits-mlp-cross_entropy-s")) == (2, "", 2)

    @pytest.mark.parametrize("arguments", [["--seeds=0"], ["--seeds=1000000000"], ["--jobs=-1"], ["--seed=3"]])
    def test_a_wrong_flag_is_shown_with_the_usage(self, arguments, labelreg):
        code, _, err = labelreg("run", *arguments)
        assert code == 2
        assert err.startswith("Usage: labelreg run")

    @pytest.mark.parametrize(
        ("address", "message"),
        [
            ("", "backend 'dask' needs the address of a scheduler, such as tcp://HOST:8786, and got none"),
            ("nowhere", "missing port number in address 'nowhere'"),
            ("tcp://127.0.0.1:1", "Timed out trying to connect to tcp://127.0.0.1:1"),
        ],
    )
    def test_a_cluster_that_is_not_there_is_one_line(self, address, message, labelreg):
        pytest.importorskip("distributed")  # whose defaults are set when it is imported
        from dask import config

        with config.set({"distributed.comm.timeouts.connect": "0.2s"}):
            outcome = labelreg("run", "--backend=dask", f"--address={address}", *QUICK)
        assert_one_line(outcome, message)

    def test_ctrl_c_says_how_to_go_on(self, labelreg, monkeypatch):
        say = cli._say
        settings = {"epochs": 30, "batch_size": 16, "subset": 200, "schedule": "one_cycle"}
        words = [f"{name}={value}" for name, value in settings.items()]

        def interrupt(line):
            say(line)
            if "epoch 1/" in line:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(cli, "_say", interrupt)
        code, out, err = labelreg("run", "--profile=paper", *words)
        assert (code, out) == (130, "")
        assert err.splitlines()[-1] == "interrupted; saved, the same call resumes there"
        lines = []
        run(Experiment(**settings), progress=lines.append)
        assert 0 < len(lines) < 30


class TestStatus:
    def test_counts_cells_and_what_is_recorded_of_them(self, labelreg):
        code, out, err = labelreg("status")
        assert (code, err) == (0, "")
        assert f"0 recorded runs in {paths.results_root()}" in out
        # at fast, own protocol, mean gap, largest gap
        rows = [line.split() for line in out.splitlines() if line.endswith("-")]
        assert all(row[-4:] == ["0", "0", "-", "-"] for row in rows)
        names = [[key, name] for key, collection in COLLECTIONS.items() for name in collection.items]
        assert [row[:2] for row in rows] == names

    @pytest.mark.filterwarnings("default::UserWarning")
    def test_names_what_is_no_result_in_a_warning(self, labelreg):
        Store().root.mkdir()
        (Store().root / "notes.json").write_text("nothing")
        code, out, err = labelreg("status")
        assert code == 0
        assert "0 recorded runs" in out
        assert err.startswith(f"warning: {Store().root / 'notes.json'} is not a valid result and is skipped")
        assert err.count("\n") == 1


class TestReproduce:
    PLAN = ("reproduce", "--papers=shared", "--network=resnet8", "--profile=quick", "--seeds=1", "--dataset=digits")

    @pytest.fixture(autouse=True)
    def embedded(self, monkeypatch):
        """The benchmark on the embedded data, which are always on disk."""
        item = shared.compared(Experiment(dataset="digits", network="resnet8"))
        monkeypatch.setitem(COLLECTIONS, "shared", replace(COLLECTIONS["shared"], tables={"resnet8": item}))

    def test_without_minutes_shows_what_there_is_to_run(self, labelreg):
        methods = len(COLLECTIONS["shared"].tables["resnet8"])
        code, out, err = labelreg(*self.PLAN, "--jobs=2")
        assert (code, err) == (0, "")
        title, _, header, row, _, total = out.strip().splitlines()
        assert title == "runs at quick, in their order"
        assert header.split() == ["collection", "item", "dataset", "network", "runs", "recorded", "left", "hours"]
        assert row.split() == ["shared", "resnet8", "digits", "resnet8", str(methods), "0", str(methods), "-"]
        left = "what is left takes a time that no recorded run on this device tells with jobs=2"
        assert total == f"0 of {methods} runs recorded; {left}"
        assert not Store().root.exists()

    def test_the_plan_knows_neither_device_nor_time_of_a_cluster(self, labelreg):
        code, out, err = labelreg(*self.PLAN, "--jobs=0", "--device=cuda:99", "--backend=dask")
        assert (code, err) == (0, "")
        assert out.strip().endswith("what is left takes a time that no recorded run on this device tells with jobs=0")
        outcome = labelreg("reproduce", "--backend=dusk")
        assert_one_line(outcome, "no backend is called 'dusk'; did you mean dask?")

    def test_the_plan_needs_no_data(self, labelreg, monkeypatch, tmp_path):
        monkeypatch.setenv("LABELREG_DATA", str(tmp_path / "nothing"))
        code, out, err = labelreg("reproduce", "--papers=kr", "--dataset=cifar10,cifar100,imagenet", "--profile=paper")
        assert (code, err) == (0, "")
        rows = [line.split() for line in out.splitlines()]
        assert ["kr", "table2", "imagenet", "imagenet_resnet50", "4", "0", "4", "-"] in rows
        assert not (tmp_path / "nothing").exists()

    def test_runs_what_is_left(self, labelreg, tmp_path):
        arguments = (*self.PLAN, "--methods=Cross-entropy,KR", f"--output={tmp_path / 'mine'}")
        code, out, err = labelreg(*arguments, "--minutes=2")
        assert code == 0
        assert "0 of 2 runs recorded" in out
        assert err.splitlines()[-1].startswith("2 of 2: ")
        assert {path.parent.name for path in tmp_path.glob("mine/*/*.json")} == {"shared"}
        assert len(list(Store(tmp_path / "mine"))) == 2
        assert "2 of 2 runs recorded; what is left takes about 0.0 hours" in labelreg(*arguments, "--minutes=2")[1]
        assert labelreg(*self.PLAN[:-1], "--dataset=toy") == (0, "no table or figure asks for such a run\n", "")

    def test_commas_may_be_part_of_a_name(self):
        names = "KR, lambda = 0.5, alpha = 0.1,LS"
        assert cli._listed(names) == ["KR", "lambda = 0.5", "alpha = 0.1", "LS"]
        assert cli._listed(names, printed_methods()) == ["KR", "lambda = 0.5, alpha = 0.1", "LS"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--papers=kk"], "no paper is called 'kk'; there is alr, cskd"),
            (["--dataset=digit"], "no data set is called 'digit'; did you mean digits?"),
            (["--methods=RK"], "no method in any table or figure is called 'RK'"),
            (["--device=meta"], "device 'meta' cannot be used here"),
            (["--profile=fats"], "no profile is called 'fats'; did you mean fast?"),
        ],
    )
    def test_a_mistake_is_one_line(self, arguments, message, labelreg):
        assert_one_line(labelreg(*self.PLAN, *arguments), message)


class TestLists:
    def test_data_sets(self, labelreg):
        assert labelreg("datasets") == (0, "".join(f"{name}\n" for name in data.names()), "")

    @pytest.mark.parametrize(
        ("room", "line"),
        [(networks, "mlp  hidden=(256, 256)"), (methods, "label_smoothing  epsilon=0.1 convention=all")],
    )
    def test_options_with_their_defaults(self, room, line, labelreg):
        code, out, err = labelreg(room.__name__.rpartition(".")[2])
        assert (code, err) == (0, "")
        assert [each.split()[0] for each in out.splitlines()] == list(room.names())
        assert line in out.splitlines()

    def test_data(self, labelreg, monkeypatch):
        monkeypatch.setenv("LABELREG_DATA", "/some/where")
        assert "/some/where" in labelreg("data")[1]
        code, out, _ = labelreg("data", "digits")
        assert code == 0
        assert "digits: 10 classes" in out
        rows = [line.split()[:3] for line in out.splitlines()[-3:] if line]
        assert rows == [["train", "1097", "1x8x8"], ["test", "700", "1x8x8"]]
        assert_one_line(labelreg("data", "cifar"), "no data set is called 'cifar'")

    def test_version_and_help(self, labelreg):
        assert labelreg("version") == (0, f"{__version__}\n", "")
        out = labelreg("--help")[1]
        for verb in ("run", "reproduce", "status", "data", "networks", "methods", "datasets", "version"):
            assert f"\n  {verb} " in out
