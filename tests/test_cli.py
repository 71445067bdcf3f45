"""The command line: what it prints, and that every mistake is one line and exit code 2."""

import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from labelreg import __version__, benchmark, cli, data, methods, networks, paths
from labelreg.experiments import Experiment, run
from labelreg.reproduce import COLLECTIONS, printed_methods
from labelreg.results import Store

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


class TestRun:
    def test_prints_a_row_a_seed_and_its_progress_apart(self, labelreg):
        code, out, err = labelreg("run", "method=label_smoothing", "options.epsilon=0.2", "--seeds=2", *QUICK)
        assert code == 0
        title, _, header, *rows = out.strip().splitlines()
        assert title == "label_smoothing on digits, last epoch of 2"
        assert header.split() == ["seed", "error", "%", "ECE", "%", "best", "error", "%", "key"]
        experiment = Experiment(method="label_smoothing", options={"epsilon": 0.2}).at("quick", epochs=2, subset=100)
        expected = [[str(each.seed), each.key] for each in experiment.with_seeds(2)]
        assert [[row.split()[0], row.split()[-1]] for row in rows] == expected
        assert err.splitlines()[-1] == "2 of 2 runs done"
        assert "epoch 2/2" in err

    def test_a_quick_run_is_a_look(self, labelreg):
        for _ in range(2):
            assert "epoch 2/2" in labelreg("run", *QUICK)[2]
        assert not Store().root.exists()

    def test_a_quick_run_is_recorded_where_it_is_told(self, labelreg, tmp_path):
        outputs = [labelreg("run", *QUICK, f"--results={tmp_path / 'mine'}") for _ in range(2)]
        assert "epoch 2/2" in outputs[0][2]
        assert "epoch" not in outputs[1][2]
        assert outputs[0][1] == outputs[1][1]
        assert len(list(Store(tmp_path / "mine"))) == 1

    def test_another_profile_is_recorded(self, labelreg):
        code, out, _ = labelreg("run", "--profile=paper", "--device=cpu", *QUICK)
        assert code == 0
        (result,) = Store()
        assert result.key == Experiment(epochs=2, subset=100).key
        assert f"{100 * result.last['test_error']:.2f}" in out

    def test_learns_from_a_teacher(self, labelreg):
        code, _, err = labelreg(
            "run", "--profile=paper", "method=knowledge_distillation", "teacher.epochs=1", "teacher.subset=100", *QUICK
        )
        assert code == 0
        teacher = Experiment(epochs=1, subset=100)
        assert {result.key for result in Store()} == {
            teacher.key,
            Experiment(method="knowledge_distillation", epochs=2, subset=100, teacher=teacher).key,
        }
        assert "epoch 1/1" in err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["epoch=3"], "no setting is called 'epoch'; did you mean epochs?"),
            (["epochs"], "settings are given as NAME=VALUE, not 'epochs'"),
            (["epochs=two"], "epochs must be a whole number, not 'two'"),
            (["options.gamma=0.9"], "no option of cross_entropy is called 'gamma'; there is none"),
            (["method=kr"], "no method is called 'kr'; there is ada_cos, adaptive_label"),
            (["network=mpl"], "no network is called 'mpl'; did you mean mlp?"),
            (["network_options.width=3"], "no option of mlp is called 'width'; there is hidden"),
            (["dataset=digit", "subset=none"], "no data set is called 'digit'; did you mean digits?"),
            (["augmentation=flip"], "no augmentation is called 'flip'; did you mean crop_flip?"),
            (["observe=residual_labels"], "CrossEntropy learns no residual labels that could be observed"),
            (["method=knowledge_distillation"], "knowledge_distillation learns from a teacher"),
            (["method=knowledge_distillation", "options.teacher=mlp"], "the teacher is an experiment"),
            (["teacher.epochs=2"], "cross_entropy learns from no teacher, and digits-mlp-cross_entropy-s0 is given as"),
            (["--results=/dev/null"], "[Errno 20] Not a directory"),
            (["subset=5000"], "cannot take a subset of 5000 samples"),
            (["--profile=qick"], "no profile is called 'qick'; did you mean quick?"),
            (["--device=gpu"], "device 'gpu' cannot be used here"),
            (["learning_rate=1e30"], "the loss is nan in epoch 1; a lower learning_rate may help"),
        ],
    )
    def test_a_mistake_is_one_line(self, arguments, message, labelreg):
        code, out, err = labelreg("run", "epochs=1", *arguments)
        assert code == 2
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith(f"labelreg: {message}")

    @pytest.mark.parametrize("arguments", [["--seeds=0"], ["--jobs=-1"], ["--seed=3"]])
    def test_a_wrong_flag_is_shown_with_the_usage(self, arguments, labelreg):
        code, _, err = labelreg("run", *arguments)
        assert code == 2
        assert err.startswith("Usage: labelreg run")

    def test_data_that_is_not_there_is_one_line(self, labelreg, monkeypatch, tmp_path):
        def nothing(name, **options):
            raise FileNotFoundError(f"there is no {name}")

        monkeypatch.setattr("labelreg.experiments.running.load", nothing)
        assert labelreg("run")[::2] == (2, "labelreg: there is no digits\n")

    def test_ctrl_c_says_how_to_go_on(self):
        program = shutil.which("labelreg", path=Path(sys.executable).parent)
        settings = {"epochs": 100, "batch_size": 16, "subset": 200, "schedule": "one_cycle"}
        words = [f"{name}={value}" for name, value in settings.items()]
        process = subprocess.Popen(
            [program, "run", "--profile=paper", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert "epoch 1/100" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert out == ""
        assert err.splitlines()[-1].startswith("interrupted ")
        assert err.splitlines()[-1].endswith("; saved, the same call resumes there")
        lines = []
        run(Experiment(**settings), progress=lines.append)
        assert len(lines) < 100


class TestStatus:
    def test_counts_cells_and_what_is_recorded_of_them(self, labelreg):
        code, out, err = labelreg("status")
        assert (code, err) == (0, "")
        assert f"0 recorded runs in {paths.results_root()}" in out
        rows = [line.split() for line in out.splitlines() if line.split()[:1] in ([key] for key in COLLECTIONS)]
        assert [(row[0], row[1]) for row in rows] == [
            (key, name) for key, collection in COLLECTIONS.items() for name in collection.items
        ]
        # at fast, at paper, mean gap, largest gap
        assert all(row[-4:] == ["0", "0", "-", "-"] for row in rows)

    @pytest.mark.filterwarnings("default::UserWarning")
    def test_names_what_is_no_result_in_a_warning(self, labelreg):
        Store().root.mkdir()
        (Store().root / "notes.json").write_text("nothing")
        code, out, err = labelreg("status")
        assert code == 0
        assert "0 recorded runs" in out
        assert err.startswith(f"warning: {Store().root / 'notes.json'} is no result and is passed over")


class TestThroughput:
    def test_two_speeds_and_their_ratio(self, labelreg):
        code, out, err = labelreg("throughput", "method=mixup", "--profile=quick", "--steps=5", "--device=cpu")
        assert (code, err) == (0, "")
        training, bare, ratio = out.splitlines()
        speeds = [float(line.split()[1].replace(",", "")) for line in (training, bare)]
        assert [line.split()[0] for line in (training, bare)] == ["training", "bare"]
        assert ratio.startswith(f"{speeds[0] / speeds[1]:.0%} of the bare loop, on ")
        assert not Store().root.exists()

    def test_a_text_has_no_samples(self, labelreg):
        code, _, err = labelreg("throughput", "dataset=pydoc", "network=lstm", "network_options.hidden=8")
        assert (code, err.count("\n")) == (2, 1)
        assert "pydoc is a text" in err


class TestReproduce:
    PLAN = ("reproduce", "--papers=shared", "--network=resnet8", "--profile=quick", "--seeds=1")

    @pytest.fixture(autouse=True)
    def embedded(self, monkeypatch):
        """The benchmark on the embedded data, which are always on disk."""
        item = benchmark.compared(Experiment(dataset="digits", network="resnet8"), benchmark.METHODS)
        shared = replace(COLLECTIONS["shared"], tables={"resnet8": item})
        monkeypatch.setitem(COLLECTIONS, "shared", shared)

    def test_without_minutes_shows_what_there_is_to_run(self, labelreg):
        code, out, err = labelreg(*self.PLAN, "--dataset=digits", "--jobs=2")
        assert (code, err) == (0, "")
        title, _, header, row, _, total = out.strip().splitlines()
        assert title == "runs at quick, in their order"
        assert header.split() == ["collection", "item", "dataset", "network", "runs", "recorded", "left", "hours"]
        assert row.split()[:7] == ["shared", "resnet8", "digits", "resnet8", "17", "0", "17"]
        assert total.startswith("0 of 17 runs recorded; what is left takes about 0.0 hours with jobs=2, guessed: ")
        assert list(Store()) == []

    def test_runs_what_is_left(self, labelreg, tmp_path):
        arguments = (*self.PLAN, "--dataset=digits", "--methods=Cross-entropy,KR", f"--output={tmp_path / 'mine'}")
        code, out, err = labelreg(*arguments, "--minutes=2")
        assert code == 0
        assert "0 of 2 runs recorded" in out
        assert err.splitlines()[-1] == "2 of 2 runs recorded, 0 left"
        assert {path.parent.name for path in tmp_path.glob("mine/*/*.json")} == {"shared"}
        out = labelreg(*arguments)[1]
        assert "2 of 2 runs recorded; what is left takes about 0.0 hours" in out
        assert "guessed" not in out

    def test_what_no_table_asks_for(self, labelreg):
        assert labelreg(*self.PLAN, "--dataset=toy") == (0, "no table or figure asks for such a run\n", "")

    def test_commas_may_be_part_of_a_name(self):
        names = "KR, lambda = 0.5, alpha = 0.1,LS"
        assert cli._listed(names) == ["KR", "lambda = 0.5", "alpha = 0.1", "LS"]
        assert cli._listed(names, printed_methods()) == ["KR", "lambda = 0.5, alpha = 0.1", "LS"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--papers=kk"], "no collection is called 'kk'; there is alr, cskd"),
            (["--dataset=digit"], "no data set is called 'digit'; did you mean digits?"),
            (["--network=resnet9"], "no network is called 'resnet9'; did you mean resnet"),
            (["--methods=RK"], "no method in any table or figure is called 'RK'"),
            (["--profile=fats"], "no profile is called 'fats'; did you mean fast?"),
            (["--device=gpu"], "device 'gpu' cannot be used here"),
        ],
    )
    def test_a_mistake_is_one_line(self, arguments, message, labelreg):
        code, out, err = labelreg(*self.PLAN, "--dataset=digits", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"labelreg: {message}")


class TestLists:
    def test_networks_and_data_sets(self, labelreg):
        assert labelreg("networks") == (0, "".join(f"{name}\n" for name in networks.names()), "")
        assert labelreg("datasets") == (0, "".join(f"{name}\n" for name in data.names()), "")

    def test_methods_with_their_defaults(self, labelreg):
        code, out, _ = labelreg("methods")
        assert code == 0
        assert [line.split()[0] for line in out.splitlines()] == list(methods.names())
        assert "cross_entropy\n" in out
        assert "label_smoothing  epsilon=0.1 convention=all\n" in out

    def test_data(self, labelreg, monkeypatch):
        monkeypatch.setenv("LABELREG_DATA", "/some/where")
        assert "/some/where" in labelreg("data")[1]
        code, out, _ = labelreg("data", "digits")
        assert code == 0
        assert "digits: 10 classes" in out
        assert [line.split()[:3] for line in out.splitlines()[-3:] if line] == [
            ["train", "1097", "1x8x8"],
            ["test", "700", "1x8x8"],
        ]
        code, _, err = labelreg("data", "cifar")
        assert (code, err.count("\n")) == (2, 1)
        assert "no data set is called 'cifar'" in err

    def test_runs_as_a_module(self):
        command = [sys.executable, "-m", "labelreg", "version"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{__version__}\n"

    def test_version_and_help(self, labelreg):
        assert labelreg("version") == (0, f"{__version__}\n", "")
        out = labelreg("--help")[1]
        for command in (
            "run",
            "reproduce",
            "status",
            "throughput",
            "data",
            "networks",
            "methods",
            "datasets",
            "version",
        ):
            assert f"\n  {command} " in out
