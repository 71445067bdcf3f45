"""Running one experiment: what a run leaves on disk, whatever interrupts it and however many want it."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
from interruption import assert_is_the_straight_run, assert_same_weights, folder, kept_weights

import labelreg
from labelreg import checkpoints, networks, results, running
from labelreg.data import Split, load
from labelreg.experiment import Experiment
from labelreg.methods import CrossEntropy
from labelreg.metrics import top_k_error
from labelreg.recipe import Recipe
from labelreg.results import Claimed, Store
from labelreg.running import Trained, run, train, trained
from labelreg.sweeps import run_all
from labelreg.training import Diverged, Interrupted, Trainer

SHORT = {"subset": 100, "epochs": 3, "batch_size": 32, "schedule": "one_cycle"}
PLAIN = Experiment(**SHORT)
STUDENT = Experiment(**SHORT, method="knowledge_distillation", teacher=PLAIN.but(seed=5))
AHEAD = Experiment(**SHORT, method="snapshot_regularization", options={"direction": "pos", "interval": 1})


def files(root):
    """Every file that is no lock."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if ".claims" not in path.parts and path.name != "lock")


def test_a_live_result_is_rounded_as_a_recorded_one():
    live, recorded = train(PLAIN).result.history, run(PLAIN, progress=None).history
    assert live["loss"][0] != live["loss"][1]
    for name in live.keys() - {"seconds"}:
        assert live[name] == recorded[name]


class TestRun:
    def test_is_recorded_and_then_read(self, monkeypatch):
        lines = []
        first = labelreg.run(labelreg.Experiment(**SHORT), progress=lines.append)
        assert len(lines) == 3
        assert "epoch 3/3" in lines[-1]
        monkeypatch.setattr(running, "build", None)  # nothing could train
        assert run(PLAIN, progress=lines.append) == first
        assert len(lines) == 3
        assert first.experiment == PLAIN
        origin = first.provenance
        assert origin["torch"] == torch.__version__
        assert origin["date"].endswith("+00:00")
        assert origin["parameters"] == sum(each.numel() for each in networks.build("mlp", 10).parameters())
        assert origin.keys() >= {"labelreg", "commit", "python", "device", "threads", "date", "seconds", "test_digest"}

    def test_records_what_training_in_memory_gives(self):
        observed = ("residual_labels", "residual_divergence")
        experiment = Experiment(**SHORT, method="knowledge_refinery", observe=observed)
        recorded, live = run(experiment, progress=None), train(experiment)
        assert_is_the_straight_run(experiment, recorded)
        assert recorded.observations.keys() == live.result.observations.keys()
        assert recorded.observations["residual_labels"].shape == (3, 10, 10)

    def test_leaves_the_result_and_the_weights(self, tmp_path):
        run(PLAIN, progress=None)
        other = PLAIN.but(seed=1)
        run(other, results=tmp_path / "elsewhere", progress=None)
        ours, theirs = (f"{each.name}-{each.key}" for each in (PLAIN, other))
        recorded = [f"elsewhere/shared/{theirs}.json", f"results/shared/{ours}.json"]
        assert files(tmp_path) == [*recorded, f"runs/{ours}/weights.pt", f"runs/{theirs}/weights.pt"]

    @pytest.mark.parametrize("weights", [True, False])
    def test_sweeps_what_a_killed_process_left(self, weights):
        """Unfinished files, and checkpoints only where the weights, of which they are the last copy, are stored."""
        result, left = run(PLAIN, progress=None), ["checkpoint.epochs", "checkpoint.pt", "preparation.pt"]
        for name in (*left, ".checkpoint.pt.1234.tmp"):
            (folder(PLAIN) / name).touch()
        if not weights:
            (folder(PLAIN) / "weights.pt").unlink()
        assert run(PLAIN, progress=pytest.fail) == result
        assert files(folder(PLAIN)) == (["weights.pt"] if weights else left)

    def test_leaves_to_another_process_what_it_is_writing(self):
        result, file = run(PLAIN, progress=None), folder(PLAIN) / ".weights.pt.1234.tmp"
        with running._at_work(PLAIN, Store(), None, None):
            file.touch()
            assert run(PLAIN, progress=pytest.fail) == result
            assert file.exists()
        assert run_all([PLAIN], jobs=1, progress=pytest.fail) == {PLAIN: result}
        assert not file.exists()

    @pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
    def test_leaves_the_callers_random_numbers_alone(self, device):
        expected = torch.Generator(device).manual_seed(7)
        torch.manual_seed(7)
        for work in (run, train, trained):
            work(STUDENT, device=device, progress=None)
            draws = torch.rand(3, device=device)
            assert torch.equal(draws, torch.rand(3, device=device, generator=expected))

    @pytest.mark.parametrize("one", ["digits", None, {"epochs": 1}, 3])
    def test_runs_nothing_but_experiments(self, one, tmp_path):
        for work in (run, train, trained, lambda each: run_all([PLAIN, each])):
            with pytest.raises(TypeError, match=r"^an experiment must be an Experiment, got [^\n]*$"):
                work(one)
        with pytest.raises(TypeError, match=r"^experiments must be a list of them, or another iterable, got [^\n]*$"):
            run_all(PLAIN)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("moved", ["LABELREG_RUNS", "LABELREG_RESULTS", None])
    def test_what_another_process_makes_is_waited_for_only_as_long_as_asked(self, moved, monkeypatch, tmp_path):
        """Whether the folders of the work, of the results, or both are shared with it."""
        monkeypatch.setattr(results, "SECONDS_BETWEEN_QUESTIONS", 0.01)
        asked, lines = [], []
        with running._at_work(PLAIN, Store(), None, None):
            if moved:
                monkeypatch.setenv(moved, str(tmp_path / "elsewhere"))
            with pytest.raises(Claimed):
                run(PLAIN, wait=False, progress=pytest.fail)
            for work in (run, trained):
                with pytest.raises(Claimed):
                    work(PLAIN, progress=lines.append, stop=lambda: asked.append(1) or len(asked) % 3 == 0)
        assert len(asked) == 6
        assert lines == [f"waiting for another process that is running {PLAIN.name}"] * 2
        assert run(PLAIN, wait=False, progress=None).experiment == PLAIN

    @pytest.mark.parametrize("broken", ["result", "weights"])
    def test_is_recorded_by_the_next_call_where_recording_failed(self, broken, monkeypatch):
        """The checkpoint stays until result and weights are there: nothing is trained twice, nothing stays behind."""
        write = checkpoints.write

        def full(*arguments):
            if broken == "result" or "weights" in str(arguments[0]):
                raise OSError("no space left on device")
            write(*arguments)

        lines = []
        with monkeypatch.context() as patched:
            patched.setattr(*(Store, "save") if broken == "result" else (checkpoints, "write"), full)
            with pytest.raises(OSError, match="no space"):
                run(PLAIN, progress=lines.append)
        assert (Store().find(PLAIN) is None) == (broken == "result")
        result = trained(PLAIN, progress=lines.append).result
        assert len(lines) == 3
        assert_is_the_straight_run(PLAIN, result)
        assert files(folder(PLAIN)) == ["weights.pt"]


class TestInterruption:
    @staticmethod
    def interrupting(lines, beginning):
        def interrupt(line):
            lines.append(line)
            if line.startswith(beginning) and "epoch 2/3" in line:
                os.kill(os.getpid(), signal.SIGINT)

        return interrupt

    @pytest.mark.parametrize("interrupted", ["preparing", "digits"])
    def test_resumes_what_a_method_trains_beforehand(self, interrupted):
        lines = []
        with pytest.raises(Interrupted, match="saved, the same call resumes there"):
            run(AHEAD, progress=self.interrupting(lines, interrupted))
        result = run(AHEAD, progress=lines.append)
        assert [line.startswith("preparing") for line in lines] == [True] * 3 + [False] * 3
        assert [line.split("epoch ")[1][0] for line in lines] == ["1", "2", "3"] * 2
        assert_is_the_straight_run(AHEAD, result)
        assert files(folder(AHEAD)) == ["weights.pt"]

    @pytest.mark.parametrize("steps", [1, 7, 10, 13, 20])
    @pytest.mark.parametrize("experiment", [AHEAD, STUDENT], ids=lambda experiment: experiment.method)
    def test_stop_reaches_preparation_and_teacher(self, experiment, steps):
        """Of 12 steps beforehand, and 12 of the run itself."""
        asked = []
        with pytest.raises(Interrupted, match="saved, the same call resumes there"):
            run(experiment, progress=None, stop=lambda: asked.append(1) or len(asked) == steps)
        assert Store().find(experiment) is None
        rest = []
        result = run(experiment, progress=None, stop=lambda: rest.append(1))
        assert len(asked) + len(rest) == 24
        assert_is_the_straight_run(experiment, result)


class TestTeacher:
    def test_runs_first_and_is_recorded_and_kept(self):
        lines = []
        for each in (STUDENT, STUDENT.but(options={"alpha": 0.2})):
            run(each, progress=lines.append)
        assert [line.split()[0] for line in lines] == [STUDENT.teacher.name] * 3 + [STUDENT.name] * 6
        assert_is_the_straight_run(STUDENT.teacher, Store().find(STUDENT.teacher))
        assert_is_the_straight_run(STUDENT, Store().find(STUDENT))

    def test_teaches_in_memory_too_which_leaves_nothing_on_disk(self, tmp_path):
        finished = train(STUDENT.but(options={"alpha": 1.0, "temperature": 1.0}))
        assert list(tmp_path.rglob("*")) == []
        assert_same_weights(finished.method.teacher.state_dict(), train(STUDENT.teacher).network.state_dict())
        assert finished.result.history["loss_hard"] == [0.0] * 3

    def test_can_be_another_network_and_be_taught_itself(self):
        chain = STUDENT.but(teacher=STUDENT.but(network="resnet8", subset=40))
        run(chain, progress=None)
        assert {each.experiment for each in Store()} == {chain, chain.teacher, chain.teacher.teacher}


class TestTrained:
    """Trained networks of recorded runs."""

    def test_trains_again_where_only_the_weights_are_lost(self):
        lines, result = [], run(PLAIN, progress=None)
        kept = kept_weights(PLAIN)
        (folder(PLAIN) / "weights.pt").unlink()
        found = trained(PLAIN, progress=lines.append)
        assert len(lines) == 3
        assert found.result == result
        assert_same_weights(found.network.state_dict(), kept)
        assert len(list(Store())) == 1

    @pytest.mark.parametrize("content", ["", "text", "list", "shape", "part"])
    def test_weights_that_are_damaged_are_named_and_stay(self, content):
        experiment = PLAIN.but(method="knowledge_refinery")
        run(experiment, progress=None)
        path = folder(experiment) / "weights.pt"
        states = checkpoints.read(path)
        match content:
            case "" | "text":
                path.write_text(content)
            case "list":
                checkpoints.write(path, [1, 2])
            case "shape":
                checkpoints.write(path, states | {"network": networks.build("mlp", 10, hidden=(8,)).state_dict()})
            case "part":
                checkpoints.write(path, states | {"method": {}})
        content = path.read_bytes()
        message = rf"^[^\n]*weights\.pt cannot be read \(.*\); move it away to train {experiment.name} anew$"
        with pytest.raises(ValueError, match=message):
            trained(experiment, progress=pytest.fail)
        assert path.read_bytes() == content

    def test_needs_to_write_nothing_where_all_is_there(self, monkeypatch):
        """As where the results are read-only."""
        result = run(PLAIN, progress=None)
        monkeypatch.setattr(running, "_at_work", None)
        assert trained(PLAIN, progress=pytest.fail).result == result

    @pytest.mark.parametrize(
        ("method", "options"),
        [
            ("cross_entropy", {}),
            ("ada_cos", {}),  # a scale of its own
            ("stochastic_batch_augmentation", {"vote": True}),  # random numbers of its own
            ("knowledge_refinery", {}),
            ("network_as_regularization", {}),
            ("snapshot_regularization", {"direction": "pos", "interval": 1}),  # networks made in preparation
            ("knowledge_distillation", {}),  # and no need for the teacher, whose weights are lost
        ],
    )
    def test_predicts_as_right_after_training(self, method, options):
        teacher = PLAIN.but(seed=5) if method == "knowledge_distillation" else None
        experiment = PLAIN.but(method=method, options=options, teacher=teacher)
        fresh = train(experiment)
        result = run(experiment, progress=None)
        if teacher:
            (folder(teacher) / "weights.pt").unlink()
        found = trained(experiment, progress=pytest.fail)
        assert found.result == result
        for ours, theirs in zip(found.predict(found.dataset.test), fresh.predict(fresh.dataset.test), strict=True):
            assert torch.equal(ours, theirs)
        for name, value in fresh.method.state_dict().items():
            if isinstance(value, torch.Tensor) and name in found.method.state_dict():
                assert torch.equal(found.method.state_dict()[name], value)

    def test_logits_are_the_methods_and_features_the_networks(self):
        """On other data too, which are normalised like the training split."""
        found = train(PLAIN.but(method="ada_cos"))
        test, dataset = found.dataset.test, found.dataset
        for split in (test, Split(2 * test.inputs[:30] + 1, test.targets[:30])):
            logits, penultimate, targets = found.predict(split)
            inputs = (split.inputs - dataset.mean.view(-1, 1, 1)) / dataset.std.view(-1, 1, 1)
            with torch.no_grad():
                expected = found.method.eval().predict(found.network.eval(), inputs)
                plain, expected_features = networks.features(found.network, inputs)
            torch.testing.assert_close(logits, expected)
            torch.testing.assert_close(penultimate, expected_features)
            assert not torch.allclose(logits, plain)
            assert torch.equal(targets, split.targets)
        assert top_k_error(*found.predict(test)[::2]) == pytest.approx(found.result.last["test_error"], rel=5e-5)

    def test_predicts_a_text(self):
        dataset = load("pydoc")
        parts = {name: getattr(dataset, name).select(slice(500)) for name in ("train", "test", "validation")}
        network = networks.build("lstm", dataset.num_classes, (), hidden=8, layers=1, dropout=0.0)
        found = Trained(None, Trainer(network, CrossEntropy(), replace(dataset, **parts), Recipe(batch_size=5)))
        logits, penultimate, targets = found.predict(found.dataset.test)
        assert len(logits) == len(penultimate) == len(targets)
        assert penultimate.shape[1] == 8
        torch.testing.assert_close(network.classifier(penultimate), logits)


def in_processes(program):
    """Run a program that forks when all is imported, which takes longer than all of its runs; without a GPU."""
    prelude = f"""
        import os, random, signal, sys
        from labelreg.experiment import Experiment
        from labelreg.running import run, train
        from labelreg.training import Trainer

        step = Trainer.step
        SHORT = {SHORT!r}
        train(Experiment(**SHORT), device="cpu")

        def fork(function, *arguments):
            child = os.fork()
            if child == 0:
                function(*arguments)
                os._exit(0)
            return child

        def status(child):
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    """
    source = textwrap.dedent(prelude) + textwrap.dedent(program)
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_runs_killed_at_random_steps_are_resumed_bit_by_bit():
    """Networks made in preparation and teachers too: what is killed loses the epoch under way, and nothing else."""
    kills = in_processes("""
        def killed_at(experiment, last):
            steps = []
            def killing(self, batch):
                steps.append(1)
                if len(steps) == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                return step(self, batch)
            Trainer.step = killing
            run(experiment, device="cpu", progress=None)

        ahead = Experiment(**SHORT, method="snapshot_regularization", options={"direction": "pos", "interval": 1})
        student = Experiment(**SHORT, method="knowledge_distillation", teacher=Experiment(**SHORT, seed=5))
        for experiment in (ahead, student):
            draws, kills = random.Random(0), 0
            while True:
                code = status(fork(killed_at, experiment, draws.randint(1, 9)))
                if code == 0:
                    break
                assert code == -signal.SIGKILL
                kills += 1
            print(kills)
    """)
    assert len(kills) == 2
    assert min(map(int, kills)) >= 2, "of 24 steps, at most 9 at a time"
    for experiment in (AHEAD, STUDENT):
        assert_is_the_straight_run(experiment, Store().find(experiment))
        assert files(folder(experiment)) == ["weights.pt"]
    assert len(list(Store())) == 3


def test_two_processes_at_once_train_once():
    """Whether they want the same run or the same teacher; the one that waits takes what is recorded."""
    steps = in_processes("""
        def counted(experiment, writer):
            steps = []
            def counting(self, batch):
                steps.append(1)
                return step(self, batch)
            Trainer.step = counting
            history = run(experiment, device="cpu", progress=None).history
            os.write(writer, f"{len(steps)} {history['loss'][-1]}\\n".encode())

        long = Experiment(**SHORT | {"epochs": 20})
        students = [
            Experiment(**SHORT, method="knowledge_distillation", options={"alpha": alpha}, teacher=long.but(seed=1))
            for alpha in (0.3, 0.7)
        ]
        reader, writer = os.pipe()
        for pair in ([long, long], students):
            assert [status(child) for child in [fork(counted, each, writer) for each in pair]] == [0, 0]
        os.close(writer)
        sys.stdout.write(os.fdopen(reader).read())
    """)
    assert sorted(map(int, steps[0:4:2])) == [0, 80]
    assert steps[1] == steps[3]
    assert sorted(map(int, steps[4:8:2])) == [12, 92]
    assert len(list(Store())) == 4


class TestAnotherRun:
    """What lies in the folder of a run and is another's is refused, however whole it is."""

    ONE = Experiment(subset=50, epochs=2)
    OTHER = Experiment(subset=50, epochs=2, learning_rate=0.01)

    def test_checkpoint(self):
        asked = iter([False] * 1 + [True] * 9)
        with pytest.raises(Interrupted):
            run(self.ONE, progress=None, stop=lambda: next(asked))
        for file in folder(self.ONE).glob("checkpoint.*"):
            folder(self.OTHER).mkdir(parents=True, exist_ok=True)
            (folder(self.OTHER) / file.name).write_bytes(file.read_bytes())
        with pytest.raises(ValueError, match=r"checkpoint.pt cannot be resumed from .*it is that of another run"):
            run(self.OTHER, progress=None)

    def test_weights(self):
        for each in (self.ONE, self.OTHER):
            trained(each, progress=None)
        weights = (folder(each) / "weights.pt" for each in (self.ONE, self.OTHER))
        next(weights).write_bytes(next(weights).read_bytes())
        with pytest.raises(ValueError, match=r"weights.pt cannot be read .*it is that of another run"):
            trained(self.ONE, progress=None)


def test_the_callers_modes_do_not_reach_training():
    experiment = Experiment(subset=50, epochs=1)
    expected = train(experiment, progress=None).result
    with torch.no_grad():
        assert train(experiment, progress=None).result.last["test_nll"] == expected.last["test_nll"]
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match="must not be called within autocast"):
        train(experiment, progress=None)


def test_a_run_that_diverges_is_named():
    with pytest.raises(Diverged, match=r"digits-mlp-cross_entropy-s3: the \w+ is nan in epoch 1"):
        train(Experiment(subset=50, epochs=1, learning_rate=1e30, seed=3), progress=None)
    with pytest.raises(Diverged, match=f"{AHEAD.name}: the loss is nan in epoch 1"):
        train(AHEAD.but(learning_rate=1e30), progress=None)
