"""The benchmark scripts: what they conclude from what they measure, and that they run where there is no GPU."""

import contextlib
import json
import sys
from dataclasses import replace

import checks
import cpu
import gpu
import loops
import packing
import pytest
import torch
from torch.distributions import Beta

from labelreg import networks
from labelreg.costs import offer_made_up
from labelreg.data import registry
from labelreg.papers.decoupled import TEXT_NETWORKS
from labelreg.paths import project_root
from labelreg.training import Trainer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _images(monkeypatch):
    """The made-up images are a data set in here only."""
    monkeypatch.setattr(registry, "_datasets", dict(registry._datasets))
    offer_made_up()


def draws(seed):
    """Some of each kind, from generators that were seeded."""
    torch.manual_seed(seed)
    own = torch.Generator().manual_seed(seed)
    with checks.SameDraws():
        return [
            *(torch.rand(3), torch.rand(3), torch.rand(3, generator=own), torch.rand_like(torch.ones(3))),
            *(torch.randint(9, (3,), generator=own), torch.randperm(5, generator=own), Beta(0.5, 0.5).sample((3,))),
            *(
                torch.zeros(3).normal_(generator=own),
                torch.zeros(9).bernoulli_(0.5),
                torch.dropout(torch.ones(9), 0.5, True),
            ),
        ]


def test_draws_are_the_same_whatever_was_seeded():
    one, other = draws(0), draws(1)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not torch.equal(one[0], one[1])


def test_draws_reach_the_device_that_asked_and_nobody_else():
    before, filled = torch.get_rng_state(), torch.zeros(3)
    with checks.SameDraws():
        assert torch.rand(2, device="meta").device.type == "meta"
        assert filled.uniform_() is filled
    assert filled.all()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", ["mixup", "knowledge_distillation", "stochastic_batch_augmentation"])
def test_an_update_does_not_deviate_from_itself(method):
    experiment = checks.short(method, 4)
    assert checks.deviation_from_cpu(experiment, CPU) == {"loss": 0, "update": 0}


def other_seed_where(condition, monkeypatch):
    original = checks.prepare_training

    def prepare(experiment, device, graph=True):
        return original(experiment.but(seed=1) if condition(graph) else experiment, device, graph)

    monkeypatch.setattr(checks, "prepare_training", prepare)


def test_another_update_deviates(monkeypatch):
    other_seed_where(lambda graph: not graph, monkeypatch)
    deviation = checks.deviation_from_cpu(checks.short("cross_entropy", 4), CPU)
    assert min(deviation.values()) > 0.01


@pytest.mark.parametrize("resumed", [False, True])
def test_a_training_does_not_deviate_from_itself_but_from_another(resumed, monkeypatch):
    experiment = checks.short("knowledge_refinery", 4).but(network="mlp")
    same = {"replayed": 0, "capturable": True, "recorded": True, "deterministic": True}
    assert checks.deviation_of_replay(experiment, CPU, resumed) == same
    other_seed_where(lambda graph: graph, monkeypatch)
    assert checks.deviation_of_replay(experiment, CPU, resumed)["replayed"] > 0.1


GOOD = {"replayed": 0.0, "capturable": True, "recorded": True, "deterministic": True, "loss": 1e-6, "update": 1e-5}


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({}, []),
        ({"update": 0.1, "deterministic": False}, []),
        ({"waits": True}, ["a step waits for the device"]),
        ({"waits": True, "capturable": False, "recorded": False}, []),
        ({"recorded": False}, ["its steps cannot be recorded"]),
        ({"loss": 2e-4}, ["its loss is 2.0e-04 from that on the CPU"]),
        ({"replayed": float("nan")}, ["replayed it ends nan away"]),
    ],
)
def test_what_is_wrong_with_a_method(found, wrong, monkeypatch):
    row = GOOD | {"waits": False} | found
    loss = {name: row[name] for name in ("loss", "update")}
    replay = {name: row[name] for name in ("replayed", "capturable", "recorded", "deterministic")}
    monkeypatch.setattr(checks, "deviation_from_cpu", lambda *_: loss)
    monkeypatch.setattr(checks, "deviation_of_replay", lambda *_: replay)
    monkeypatch.setattr(checks, "waits", lambda experiment, device, graph: row["waits"] and graph)
    assert gpu._checked(checks.short("cross_entropy", 4), CUDA) == ({"trains": True} | row, wrong)


def test_goals():
    speeds = {"resnet18 cross_entropy": {"replayed": 45_000.0, "bare replayed": 50_000.0}, "mlp cross_entropy": {}}
    packed = {"resnet18 with MPS": {"1": 45_000.0, "4": 61_000.0}, "plaincnn6 with MPS": {"1": 99_000.0}}
    assert gpu.goals({"images_per_second": speeds, "packed": packed}) == [
        "resnet18 cross_entropy, replayed, in bare steps in a graph: 0.9, goal 0.95 missed",
        "resnet18, images per second: 45,000, goal 40,000 reached",
        "resnet18, images per second of several processes: 61,000, goal 60,000 reached",
    ]
    assert gpu.goals({}) == []


def test_without_a_gpu_it_does_what_it_can_and_says_what_not(tmp_path, monkeypatch, capsys):
    path = tmp_path / "measured.json"
    monkeypatch.setattr("sys.argv", ["gpu.py", "--device=cpu", "--methods=cross_entropy", f"--json={path}"])
    monkeypatch.setattr(gpu, "TIMED", gpu.TIMED[:1])
    monkeypatch.setattr(gpu, "TINY", replace(gpu.TINY, processes=(1,)))
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    printed = capsys.readouterr().out
    measured = json.loads(path.read_text())
    assert ended.value.code == 0, printed
    assert measured["methods"] == {"cross_entropy": {"trains": True}}
    assert measured["images_per_second"]["resnet8 cross_entropy"].keys() == {"eager", "bare"}
    assert measured["packed"]["resnet8 without MPS"].keys() == {"1"}
    assert min(measured["packed"]["resnet8 without MPS"].values()) > 0
    assert len(measured["not_done"]) == 5
    assert all(f"not done: {line}\n" in printed and line.endswith("needs a GPU") for line in measured["not_done"])


def test_what_fails_is_told_and_what_there_is_no_time_for(monkeypatch):
    def fail(*_):
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(gpu, "_checked", fail)
    monkeypatch.setattr(gpu, "measure_speeds", lambda *_: None)
    monkeypatch.setattr(packing, "packed", fail)
    report = gpu.measure("cpu", 1, ["cross_entropy"], tell=lambda line: None)
    assert report.wrong == [
        "cross_entropy: RuntimeError: no luck",
        "several processes without MPS: RuntimeError: no luck",
    ]
    assert report.measured["methods"] == {"cross_entropy": {"trains": False}}
    report = gpu.measure("cpu", 0, ["cross_entropy", "mixup"], tell=lambda line: None)
    assert "checks of cross_entropy, mixup: there was no time" in report.not_done
    assert report.measured.keys() == {"provenance"}


def test_a_process_that_ends_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match=r"a process ended with exit code 1"):
        packing.packed(["resnet8"], [2], "cpu", 4, 0.1)


def test_loops_on_the_cpu_take_turns(monkeypatch):
    monkeypatch.setattr(loops, "WARM_UP", 1)
    monkeypatch.setattr(cpu, "WARM_UP", 1)
    monkeypatch.setattr(cpu, "NETWORKS", ("resnet8",))
    told = []
    measured = cpu.measure(blocks=2, steps=1, batch_size=4, tell=told.append)
    assert [line.split(",")[0] for line in told] == ["block 1 of 2", "block 2 of 2"]
    assert len(measured["load"]) == 2
    for name, median in measured["images_per_second"]["resnet8"].items():
        one, other = measured["blocks"]["resnet8"][name]
        assert median == (one + other) / 2 > 0
    assert len(measured["images_per_second"]["resnet8"]) == 4


class TestWaits:
    """With a stand-in for PyTorch's watch over what waits for a GPU."""

    EXPERIMENT = checks.short("cross_entropy", 4).but(network="mlp")

    @pytest.fixture
    def modes(self, monkeypatch):
        modes = ["default"]
        monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
        return modes

    @staticmethod
    def step(monkeypatch, before):
        original = Trainer.step
        monkeypatch.setattr(Trainer, "step", lambda self, batch: before(self) or original(self, batch))

    def test_later_steps_of_an_epoch_are_watched(self, modes, monkeypatch):
        watched = []
        self.step(monkeypatch, lambda trainer: watched.append(modes[-1] == "error"))
        assert not checks.waits(self.EXPERIMENT, CPU, graph=True)
        assert watched == 2 * [*5 * [False], *4 * [True]]
        assert modes[-1] == "default"

    @pytest.mark.parametrize(
        ("said", "told"), [("called a synchronizing CUDA operation", True), ("out of memory", False)]
    )
    def test_a_step_that_waits_is_told_from_one_that_fails(self, said, told, modes, monkeypatch):
        def fail(trainer):
            if modes[-1] == "error":
                raise RuntimeError(said)

        self.step(monkeypatch, fail)
        with contextlib.nullcontext() if told else pytest.raises(RuntimeError, match=said):
            assert checks.waits(self.EXPERIMENT, CPU, graph=False)
        assert modes[-1] == "default"


FOLDER = project_root() / "data" / "benchmarks"
RECORDED = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_speeds_say_where_they_were_measured(path):
    recorded = json.loads(path.read_text())
    for each in [recorded] if "provenance" in recorded else recorded.values():
        assert {"device", "torch", "python"} <= each["provenance"].keys()


@pytest.mark.parametrize("name", ["cpu", "h200"])
def test_recorded_speeds_are_of_networks_of_images(name):
    for network, speeds in json.loads((FOLDER / f"{name}.json").read_text())["images_per_second"].items():
        assert networks.input_shape(network) == (3, 32, 32)
        assert {"labelreg", "bare step"} <= speeds.keys()
        assert min(speeds.values()) > 0


def test_training_on_texts_keeps_up_with_a_bare_loop_and_wastes_little_on_padding():
    measured = json.loads((FOLDER / "texts.json").read_text())
    assert {*measured} == {f"ag_news {network}" for network in TEXT_NETWORKS}
    for each in measured.values():
        assert each["training"] > 0.9 * each["bare"]
        assert 0 < each["padding"] < 0.1
