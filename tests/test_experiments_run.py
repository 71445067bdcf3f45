"""Running experiments: what a run leaves on disk, whatever interrupts it and however many want it."""

import contextlib
import multiprocessing
import os
import signal
from dataclasses import replace

import pytest
import torch

from labelreg import experiments
from labelreg.experiments import Experiment, run, train
from labelreg.results import Store
from labelreg.training import Interrupted

SHORT = {"subset": 100, "epochs": 3, "batch_size": 32, "schedule": "one_cycle"}
STUDENT = {"method": "knowledge_distillation", "teacher": Experiment(seed=5, **SHORT), **SHORT}
LONG = {"subset": 400, "epochs": 25, "batch_size": 16, "schedule": "one_cycle"}


def kept_weights(experiment):
    return torch.load(experiments._folder(experiment) / "weights.pt", weights_only=True)


def without_seconds(result):
    return {name: values for name, values in result.history.items() if name != "seconds"}


def assert_same_weights(one, other):
    torch.testing.assert_close(dict(one), dict(other), rtol=0, atol=0)


class TestRun:
    def test_is_recorded_and_then_read(self, monkeypatch):
        experiment, lines = Experiment(**SHORT), []
        first = run(experiment, progress=lines.append)
        assert len(lines) == 3
        assert "epoch 3/3" in lines[-1]
        monkeypatch.setattr(experiments, "Trainer", None)  # nothing could train
        again = run(experiment, progress=lines.append)
        assert len(lines) == 3
        assert again == first
        assert first.key == experiment.key
        assert Experiment(**first.experiment) == experiment

    def test_records_what_training_in_memory_gives(self):
        experiment = Experiment(
            **SHORT, method="knowledge_refinery", observe=("residual_labels", "residual_divergence")
        )
        recorded, live = run(experiment, progress=None), train(experiment)
        assert_same_weights(kept_weights(experiment), live.network.state_dict())
        assert recorded.history.keys() == live.result.history.keys()
        for name, values in without_seconds(live.result).items():
            assert recorded.history[name] == pytest.approx(values, rel=1e-5)
        assert recorded.observations.keys() == live.result.observations.keys()
        assert recorded.observations["residual_labels"].shape == (3, 10, 10)

    def test_training_in_memory_leaves_nothing_on_disk(self, tmp_path):
        train(Experiment(**STUDENT))
        assert list(tmp_path.rglob("*")) == []

    def test_leaves_the_result_and_the_weights(self, tmp_path):
        experiment = Experiment(**SHORT)
        run(experiment, progress=None)
        run(replace(experiment, seed=1), results=tmp_path / "elsewhere", progress=None)
        files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
        ours, other = (f"{each.name}-{each.key}" for each in (experiment, replace(experiment, seed=1)))
        assert files == [
            f"elsewhere/shared/{other}.json",
            f"results/shared/{ours}.json",
            *(f"runs/{each}/{file}" for each in (ours, other) for file in ("lock", "weights.pt")),
        ]

    def test_records_where_it_comes_from(self):
        origin = run(Experiment(**SHORT), progress=None).provenance
        assert origin["torch"] == torch.__version__
        assert origin.keys() >= {"labelreg", "commit", "python", "torch", "device", "threads", "date", "seconds"}

    @pytest.mark.parametrize("method", ["adaptive_label_regularization", "disturb_label"])
    def test_resumes_where_it_was_interrupted(self, method):
        def interrupt(line):
            lines.append(line)
            if "epoch 2/3" in line:
                os.kill(os.getpid(), signal.SIGINT)

        experiment, lines = Experiment(**SHORT, method=method), []
        with pytest.raises(Interrupted, match="saved, the same call resumes there"):
            run(experiment, progress=interrupt)
        result = run(experiment, progress=lines.append)
        assert [line.split("epoch ")[1][0] for line in lines] == ["1", "2", "3"]
        straight = train(experiment)
        assert_same_weights(kept_weights(experiment), straight.network.state_dict())
        for name, values in without_seconds(straight.result).items():
            assert result.history[name] == pytest.approx(values, rel=1e-5)

    @pytest.mark.parametrize(
        "setting",
        [{"network": "mpl"}, {"dataset": "digit"}, {"augmentation": "flip"}, {"method": "knowledge_distillation"}],
    )
    def test_what_cannot_be_run_is_an_error_each_time(self, setting):
        for _ in range(2):
            with pytest.raises(ValueError, match=next(iter(setting.values()))):
                run(Experiment(**SHORT | setting), progress=None)
        assert list(Store()) == []


class TestTeacher:
    def test_runs_first_and_is_recorded_and_kept(self):
        student, lines = Experiment(**STUDENT), []
        run(student, progress=lines.append)
        assert [line.split()[0] for line in lines] == [student.teacher.name] * 3 + [student.name] * 3
        assert Store().find(student.teacher.key) is not None
        assert_same_weights(kept_weights(student.teacher), train(student.teacher).network.state_dict())
        assert_same_weights(kept_weights(student), train(student).network.state_dict())

    def test_serves_every_student(self):
        lines = []
        for alpha in (0.2, 0.8):
            run(Experiment(**STUDENT, options={"alpha": alpha}), progress=lines.append)
        assert sum(line.startswith(Experiment(**STUDENT).teacher.name) for line in lines) == 3

    def test_is_trained_again_where_only_its_weights_are_lost(self):
        student = Experiment(**STUDENT)
        recorded = run(student.teacher, progress=None)
        (experiments._folder(student.teacher) / "weights.pt").unlink()
        run(student, progress=None)
        assert Store().find(student.teacher.key) == recorded
        assert len(list(Store())) == 2

    def test_teaches(self):
        student = Experiment(**STUDENT, options={"alpha": 1.0, "temperature": 1.0})
        trained = train(student)
        assert_same_weights(trained.method.teacher.state_dict(), train(student.teacher).network.state_dict())
        assert trained.result.history["loss_hard"] == [0.0] * 3

    def test_can_be_another_network_and_be_taught_itself(self):
        chain = Experiment(**STUDENT | {"teacher": Experiment(**STUDENT | {"network": "resnet8", "subset": 40})})
        run(chain, progress=None)
        assert len(list(Store())) == 3


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestProcesses:
    @staticmethod
    def start(experiment):
        """Run in a process of its own, which tells its progress line by line and then the history."""

        def work():
            result = run(experiment, progress=writer.send)
            writer.send(result.history)

        context = multiprocessing.get_context("fork")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=work)
        process.start()
        writer.close()  # so that the reader sees the other end close
        return process, reader

    @pytest.mark.parametrize(
        ("number", "method", "code"),
        [(signal.SIGINT, "adaptive_label_regularization", 1), (signal.SIGKILL, "disturb_label", -signal.SIGKILL)],
    )
    def test_a_killed_run_is_resumed_bit_by_bit(self, number, method, code):
        experiment, lines = Experiment(**LONG, method=method), []
        process, reader = self.start(experiment)
        for _ in range(4):
            assert "epoch" in reader.recv()
        os.kill(process.pid, number)
        process.join(30)
        assert process.exitcode == code
        assert list(Store()) == []

        result = run(experiment, progress=lines.append)
        assert 1 <= len(lines) <= 25 - 4 + (number == signal.SIGKILL)
        straight = train(experiment)
        assert_same_weights(kept_weights(experiment), straight.network.state_dict())
        for name, values in without_seconds(straight.result).items():
            assert result.history[name] == pytest.approx(values, rel=1e-5)

    def test_two_at_once_train_once(self):
        started = [self.start(Experiment(**LONG)) for _ in range(2)]
        told = [[], []]
        for (process, reader), messages in zip(started, told, strict=True):
            with contextlib.suppress(EOFError):
                while True:
                    messages.append(reader.recv())
            process.join(30)
            assert process.exitcode == 0
        assert sorted(len(messages) - 1 for messages in told) == [0, 25]
        assert told[0][-1] == told[1][-1]
        assert len(list(Store())) == 1
