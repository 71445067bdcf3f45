"""Running experiments: what a run leaves on disk, whatever interrupts it and however many want it."""

import contextlib
import json
import multiprocessing
import os
import signal
from dataclasses import replace

import pytest
import torch

from labelreg import methods, networks
from labelreg.data import Split, load
from labelreg.experiments import Experiment, Trained, run, running, train, trained
from labelreg.methods import CrossEntropy
from labelreg.results import Store
from labelreg.training import Interrupted, Recipe, Trainer

SHORT = {"subset": 100, "epochs": 3, "batch_size": 32, "schedule": "one_cycle"}
STUDENT = {"method": "knowledge_distillation", "teacher": Experiment(seed=5, **SHORT), **SHORT}
LONG = {"subset": 400, "epochs": 25, "batch_size": 16, "schedule": "one_cycle"}


def kept_weights(experiment):
    return torch.load(running._folder(experiment) / "weights.pt", weights_only=True)["network"]


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
        monkeypatch.setattr(running, "Trainer", None)  # nothing could train
        again = run(experiment, progress=lines.append)
        assert len(lines) == 3
        assert again == first
        assert first.key == experiment.key
        assert Experiment(**first.experiment) == experiment.resolved()

    def test_records_what_training_in_memory_gives(self):
        experiment = Experiment(
            **SHORT, method="knowledge_refinery", observe=("residual_labels", "residual_divergence")
        )
        recorded, live = run(experiment, progress=None), train(experiment)
        assert_same_weights(kept_weights(experiment), live.network.state_dict())
        assert recorded.history.keys() == live.result.history.keys()
        for name, values in without_seconds(live.result).items():
            assert recorded.history[name] == pytest.approx(values, rel=5e-5)
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
        files = [file for file in files if "/.claims/" not in file]
        ours, other = (f"{each.name}-{each.key}" for each in (experiment, replace(experiment, seed=1)))
        assert files == [
            f"elsewhere/shared/{other}.json",
            f"results/shared/{ours}.json",
            *(f"runs/{each}/{file}" for each in (ours, other) for file in ("lock", "settings.json", "weights.pt")),
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
            assert result.history[name] == pytest.approx(values, rel=5e-5)

    @pytest.mark.parametrize("interrupted", ["preparing", "digits"])
    def test_resumes_what_a_method_trains_beforehand(self, interrupted, tmp_path):
        def interrupt(line):
            lines.append(line)
            if line.startswith(interrupted) and "epoch 2/3" in line:
                os.kill(os.getpid(), signal.SIGINT)

        options = {"direction": "pos", "interval": 1}
        experiment, lines = Experiment(**SHORT, method="snapshot_regularization", options=options), []
        with pytest.raises(Interrupted, match="saved, the same call resumes there"):
            run(experiment, progress=interrupt)
        result = run(experiment, progress=lines.append)
        assert [(line.startswith("preparing"), line.split("epoch ")[1][0]) for line in lines] == [
            (before, str(epoch)) for before in (True, False) for epoch in (1, 2, 3)
        ]
        straight = train(experiment)
        assert_same_weights(kept_weights(experiment), straight.network.state_dict())
        assert result.history["test_error"] == pytest.approx(straight.result.history["test_error"], rel=5e-5)
        assert {path.name for path in (tmp_path / "runs").rglob("*.pt")} == {"weights.pt"}

    @pytest.mark.parametrize(
        "setting",
        [{"network": "mpl"}, {"dataset": "digit"}, {"augmentation": "flip"}, {"method": "knowledge_distillation"}],
    )
    def test_what_cannot_be_run_is_an_error_each_time(self, setting):
        for _ in range(2):
            with pytest.raises(ValueError, match=next(iter(setting.values()))):
                run(Experiment(**SHORT | setting), progress=None)
        assert list(Store()) == []


def test_regression_is_no_experiment():
    with pytest.raises(
        ValueError, match=r"toy is a regression task, for labelreg\.regression; experiments need classes"
    ):
        train(Experiment(dataset="toy"))


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
        (running._folder(student.teacher) / "weights.pt").unlink()
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

    def test_and_student_begin_with_parameters_of_their_own(self):
        first = Experiment(method="born_again", teacher=Experiment(**SHORT), **SHORT)
        earlier = (first.teacher, replace(first.teacher, method="label_smoothing"), first)
        begins = [running.prepare_training(each).network for each in (*earlier, replace(first, teacher=first))]
        weights = [begin.state_dict()["head.0.weight"] for begin in begins]
        assert torch.equal(weights[0], weights[1])
        assert not any(torch.equal(weights[0], each) for each in weights[2:])
        assert not torch.equal(weights[2], weights[3])


class TestChangedDefaults:
    """A key leaves out what is not chosen, so another default must not make an old run answer for a new setting."""

    SMOOTHED = Experiment(**SHORT | {"epochs": 1}, method="label_smoothing")
    OLD = pytest.mark.parametrize(
        ("experiment", "old"),
        [
            (SMOOTHED, {"options": {"epsilon": 0.3, "convention": "all"}}),
            (SMOOTHED, {"decay": 0.7}),
            (SMOOTHED, {"network_options": {"hidden": [8]}}),
            (replace(SMOOTHED, method="mixup"), {"options": {"alpha": 1.0, "method": "label_smoothing"}}),
            (
                Experiment(**STUDENT | {"epochs": 1}),
                {"teacher": {**SHORT, "seed": 5, "network_options": {"hidden": [8]}}},
            ),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else value.method,
    )

    @staticmethod
    def recorded_at(experiment, settings):
        """Record a run as it would have been recorded at other defaults."""
        store = Store()
        old = train(replace(experiment, **settings)).result
        store.save(replace(old, key=experiment.key), experiment.name)
        return store.find(experiment.key)

    @OLD
    def test_a_run_of_other_settings_is_passed_over_by_name(self, experiment, old):
        recorded = self.recorded_at(experiment, old)
        with pytest.warns(UserWarning, match=f"recorded as {experiment.key}, but at .* it is passed over"):
            result = run(experiment, progress=None)
        assert result.experiment != recorded.experiment
        assert Experiment(**result.experiment) == experiment.resolved()
        assert result.history["loss"] == pytest.approx(train(experiment).result.history["loss"], rel=5e-5)
        # from now on each has its own, without a word
        assert run(experiment, progress=pytest.fail) == result
        assert run(replace(experiment, **old), progress=pytest.fail) == recorded
        assert recorded in list(Store())

    @pytest.mark.parametrize(
        ("old", "named"),
        [
            ({"options": {"epsilon": 0.3}, "decay": 0.7}, r"decay=0\.7, options\.epsilon=0\.3, where"),
            (
                {"milestones": (7,), "network_options": {"hidden": (8,)}},
                r"milestones=\[7\], network_options\.hidden=\[8\],",
            ),
        ],
    )
    def test_the_warning_names_the_old_values_and_nothing_else(self, old, named):
        self.recorded_at(self.SMOOTHED, old)
        with pytest.warns(UserWarning, match=f"but at {named}"):
            run(self.SMOOTHED, progress=None)

    def test_in_the_code(self, monkeypatch):
        recorded = run(self.SMOOTHED, progress=None)
        options = methods.options("label_smoothing")
        options["epsilon"] = options["epsilon"].replace(default=0.3)
        monkeypatch.setattr(methods, "options", {"label_smoothing": options}.get)
        monkeypatch.setattr(methods, "_model", methods._model.__wrapped__)  # not from the cache
        with pytest.warns(UserWarning, match=r"but at options\.epsilon=0\.1, where"):
            assert run(self.SMOOTHED, progress=None).experiment["options"]["epsilon"] == 0.3
        assert run(replace(self.SMOOTHED, options={"epsilon": 0.1}), progress=pytest.fail) == recorded

    def test_what_did_not_exist_yet_is_at_its_default(self):
        added = {"clip_norm", "auxiliary_options"}
        run(self.SMOOTHED, progress=None)
        (path,) = Store().root.rglob("*.json")
        content = json.loads(path.read_text())
        content["experiment"] = {name: value for name, value in content["experiment"].items() if name not in added}
        del content["experiment"]["options"]["convention"]
        path.write_text(json.dumps(content))
        assert run(self.SMOOTHED, progress=pytest.fail).experiment == content["experiment"]
        assert trained(self.SMOOTHED, progress=pytest.fail).result.experiment == content["experiment"]

    def test_what_does_not_exist_any_more_is_no_setting_of_today(self):
        run(self.SMOOTHED, progress=None)
        (path,) = Store().root.rglob("*.json")
        path.write_text(path.read_text().replace('"epsilon":0.1', '"epsilon":0.1,"warmth":3'))
        with pytest.warns(UserWarning, match=r"but at options\.warmth=3, where"):
            run(self.SMOOTHED, progress=None)

    def test_kept_weights_and_checkpoints_are_of_one_setting(self):
        student = Experiment(**STUDENT)
        run(student, progress=None)
        teacher = running._folder(student.teacher)
        settings = teacher / "settings.json"
        settings.write_text(settings.read_text().replace('"decay": 0.1', '"decay": 0.7'))
        kept, lines = (teacher / "weights.pt").read_bytes(), []
        run(replace(student, seed=1), progress=lines.append)
        assert sum(line.startswith(student.teacher.name) for line in lines) == 3  # trained again, in another folder
        assert (teacher / "weights.pt").read_bytes() == kept
        assert running._folder(student.teacher).name == f"{teacher.name}-1"


class TestTrained:
    """Trained networks of recorded runs."""

    def test_trains_and_records_where_there_is_nothing(self):
        experiment, lines = Experiment(**SHORT), []
        found = trained(experiment, progress=lines.append)
        assert len(lines) == 3
        assert found.result == Store().find(experiment.key)
        assert_same_weights(found.network.state_dict(), kept_weights(experiment))

    def test_takes_what_is_kept(self):
        experiment, lines = Experiment(**SHORT), []
        result = run(experiment, progress=None)
        found = trained(experiment, progress=lines.append)
        assert lines == []
        assert found.result == result
        assert_same_weights(found.network.state_dict(), train(experiment).network.state_dict())

    def test_trains_again_where_only_the_weights_are_lost(self):
        experiment, lines = Experiment(**SHORT), []
        result = run(experiment, progress=None)
        kept = kept_weights(experiment)
        (running._folder(experiment) / "weights.pt").unlink()
        found = trained(experiment, progress=lines.append)
        assert len(lines) == 3
        assert found.result == result
        assert_same_weights(found.network.state_dict(), kept)
        assert len(list(Store())) == 1

    @pytest.mark.parametrize(
        ("method", "options"),
        [
            ("cross_entropy", {}),
            ("ada_cos", {}),  # a scale of its own
            ("stochastic_batch_augmentation", {"vote": True}),  # random numbers of its own
            ("knowledge_refinery", {}),
            ("network_as_regularization", {}),
            ("snapshot_regularization", {"direction": "pos", "interval": 1}),  # networks made in preparation
        ],
    )
    def test_predicts_as_right_after_training(self, method, options):
        experiment = Experiment(**SHORT, method=method, options=options)
        fresh = train(experiment)
        run(experiment, progress=None)
        found = trained(experiment, progress=None)
        for ours, theirs in zip(found.predict(found.dataset.test), fresh.predict(fresh.dataset.test), strict=True):
            assert torch.equal(ours, theirs)
        for name, value in fresh.method.state_dict().items():
            if isinstance(value, torch.Tensor) and name in found.method.state_dict():
                assert torch.equal(found.method.state_dict()[name], value)

    def test_needs_no_teacher(self):
        student = Experiment(**STUDENT)
        run(student, progress=None)
        (running._folder(student.teacher) / "weights.pt").unlink()
        lines = []
        found = trained(student, progress=lines.append)
        assert lines == []
        assert_same_weights(found.method.teacher.state_dict(), train(student.teacher).network.state_dict())

    def test_logits_are_the_methods_and_features_the_networks(self):
        found = train(Experiment(**SHORT, method="ada_cos"))
        test, dataset = found.dataset.test, found.dataset
        logits, penultimate, targets = found.predict(test)
        inputs = (test.inputs - dataset.mean.view(-1, 1, 1)) / dataset.std.view(-1, 1, 1)
        with torch.no_grad():
            expected = found.method.eval().predict(found.network.eval(), inputs)
            plain, expected_features = networks.features(found.network, inputs)
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(penultimate, expected_features)
        assert not torch.allclose(logits, plain)
        assert torch.equal(targets, test.targets)
        error = (logits.argmax(1) != targets).double().mean().item()
        assert error == pytest.approx(found.result.last["test_error"])

    def test_other_data_are_normalised_like_the_training_split(self):
        found = train(Experiment(**SHORT))
        test = found.dataset.test
        brighter = Split(2 * test.inputs[:30] + 1, test.targets[:30])
        logits, _, _ = found.predict(brighter)
        inputs = (brighter.inputs - found.dataset.mean.view(-1, 1, 1)) / found.dataset.std.view(-1, 1, 1)
        torch.testing.assert_close(logits, found.network.eval()(inputs).detach())

    def test_predicts_a_text(self):
        dataset = load("pydoc")
        parts = {name: getattr(dataset, name).select(slice(500)) for name in ("train", "test", "validation")}
        network = networks.build("lstm", dataset.num_classes, (), hidden=8, layers=1, dropout=0.0)
        found = Trained(None, Trainer(network, CrossEntropy(), replace(dataset, **parts), Recipe(batch_size=5)))
        logits, penultimate, targets = found.predict(found.dataset.test)
        assert len(logits) == len(penultimate) == len(targets)
        assert penultimate.shape[1] == 8
        torch.testing.assert_close(network.classifier(penultimate), logits)


def tell(experiment, writer):
    """Run, and send the progress line by line and then the history."""
    writer.send(run(experiment, progress=writer.send).history)


class TestProcesses:
    @staticmethod
    def start(experiment):
        """Run in a process of its own, which tells of it."""
        context = multiprocessing.get_context("spawn")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=tell, args=(experiment, writer))
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
            assert result.history[name] == pytest.approx(values, rel=5e-5)

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
