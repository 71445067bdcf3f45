"""Where runs are made: how many at once on a device, and on the workers of a cluster, of which some are killed."""

import math
import os
import shutil
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from interruption import Notes, assert_is_the_straight_run, folder

from labelreg import checkpoints, mps, pools, sweeps
from labelreg.experiment import Experiment
from labelreg.pools import Killed
from labelreg.results import Claimed, Store
from labelreg.sweeps import run_all
from labelreg.training import Interrupted

CARD = torch.device("cuda")
SHORT = Experiment(subset=100, epochs=2, batch_size=32, schedule="one_cycle")
LONG = SHORT.but(epochs=4)


@pytest.mark.parametrize(
    ("gigabytes", "cores", "expected"), [(79, 16, 6), (139, 16, 6), (23, 16, 2), (23, 1, 1), (79, 4, 4), (7, 8, 1)]
)
def test_a_card_takes_as_many_processes_as_its_memory_and_the_cores_allow(gigabytes, cores, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gigabytes << 30, 200 << 30))
    monkeypatch.setattr(pools.joblib, "cpu_count", lambda: cores)
    assert pools.at_once(CARD) == expected
    assert pools.at_once(torch.device("cpu")) == cores


@pytest.mark.parametrize(
    ("device", "options", "workers", "served"),
    [
        ("cuda", {}, 3, True),
        ("cuda", {"jobs": 2}, 2, True),
        ("cuda", {"jobs": 1}, 1, False),
        ("cuda", {"mps": False}, 3, False),
        ("cpu", {}, 16, False),
    ],
)
def test_several_processes_on_a_card_share_it_by_mps(device, options, workers, served, monkeypatch):
    """A machine of 16 cores and a card with memory for three."""
    seen, serving = [], []

    class Serving:
        def __enter__(self):
            serving.append(True)

        def __exit__(self, *error):
            serving.clear()

    def parallel(count, **settings):
        seen.append((count, bool(serving)))
        return lambda calls: ((experiment, Claimed("")) for _, (experiment, *_), _ in calls)

    monkeypatch.setattr(mps, "serving", Serving)
    monkeypatch.setattr(pools.joblib, "Parallel", parallel)
    monkeypatch.setattr(pools.joblib, "cpu_count", lambda: 16)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * pools.MEMORY_OF_A_PROCESS, 1 << 40))
    monkeypatch.setattr(sweeps, "resolve_device", torch.device)
    monkeypatch.setattr(sweeps, "provenance", lambda device: {"device": str(device)})
    assert run_all(SHORT.with_seeds(20), device=device, progress=None, **options) == {}
    assert seen == [(workers, served)]
    assert serving == []


def test_a_cluster_needs_an_address_a_backend_a_name_and_the_package(monkeypatch):
    with pytest.raises(ValueError, match="needs the address of a scheduler, such as tcp://HOST:8786, and got none"):
        run_all([SHORT], backend="dask")
    with pytest.raises(ValueError, match="no backend is called 'dusk'; did you mean dask"):
        run_all([SHORT], backend="dusk")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"which is not installed: pip install labelreg\[cluster\]"):
        run_all([SHORT], backend="dask", address="tcp://127.0.0.1:1")


def test_runs_elsewhere_end_with_the_folder_of_the_process_that_waits_and_need_it_to_begin(tmp_path):
    stop = sweeps.StopWhen(math.inf, tmp_path / "flags" / "stop", parent=None)
    stop.flag.parent.mkdir()
    assert not stop()
    stop.flag.touch()
    assert stop()
    shutil.rmtree(stop.flag.parent)
    assert stop()
    experiment, error = sweeps._run(SHORT, True, "cpu", tmp_path, None, stop, None)
    assert experiment == SHORT
    assert str(error) == f"{tmp_path} is not the same folder here as where the runs were started"


class TestOneWorkerOfManyThreads:
    @pytest.fixture
    def address(self):
        distributed = pytest.importorskip("distributed")
        settings = {"processes": False, "dashboard_address": None, "protocol": "tcp", "host": "127.0.0.1"}
        with distributed.LocalCluster(n_workers=1, threads_per_worker=3, **settings) as cluster:
            yield cluster.scheduler_address

    def test_makes_one_run_at_a_time_and_tells_what_fails(self, address):
        """Runs draw from the one generator of a process."""
        todo, lines = SHORT.but(epochs=5).with_seeds(3), []
        with pytest.raises(ValueError, match="no network is called 'mpl'") as caught:
            run_all([*todo, SHORT.but(network="mpl")], backend="dask", address=address, jobs=4, progress=lines.append)
        assert "Traceback" in caught.value.__notes__[1]
        assert len(lines) == 4
        # where everything is recorded, nobody is asked
        finished = run_all(todo, backend="dask", address="tcp://127.0.0.1:1", progress=pytest.fail)
        for each in todo:
            assert_is_the_straight_run(each, finished[each])

    def test_says_which_runs_a_cluster_gave_up(self, address, monkeypatch):
        """joblib's own backend would wait for them forever."""
        from distributed import KilledWorker

        def lose(*arguments):
            raise KilledWorker("run", SimpleNamespace(address="tcp://lost"), 4)

        monkeypatch.setattr(sweeps, "_run", lose)
        with pytest.raises(Killed, match=f"^the cluster lost workers, .*, while these ran: {SHORT.name}. The same"):
            run_all([SHORT], backend="dask", address=address, progress=None)

    def test_stops_in_time(self, address):
        lines = []
        options = {"backend": "dask", "address": address, "progress": lines.append}
        assert run_all(LONG.but(epochs=3000).with_seeds(2), minutes=0.02, **options) == {}
        assert [line.split(": ")[2] for line in lines] == ["stopped; the same call resumes there"]

    def test_a_signal_reaches_the_run_that_a_worker_makes(self, address):
        todo, lines = LONG.but(epochs=3000).with_seeds(2), []
        sender = after(lambda: epochs_saved(todo[0]), lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Interrupted, match="interrupted; saved, the same call resumes there"):
            run_all(todo, backend="dask", address=address, progress=lines.append)
        sender.join()
        assert [line.split(": ")[2] for line in lines] == ["stopped; the same call resumes there"]
        assert epochs_saved(todo[0])


class TestWorkersThatAreKilled:
    @pytest.fixture
    def cluster(self):
        """Two workers that have loaded what runs need, so that both begin at once."""
        distributed = pytest.importorskip("distributed")
        settings = {"dashboard_address": None, "protocol": "tcp", "host": "127.0.0.1"}
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **settings) as cluster:
            with distributed.Client(cluster, set_as_default=False) as client:
                client.run(__import__, "labelreg.sweeps")
            yield cluster

    def test_nothing_is_lost_nor_run_twice(self, cluster, tmp_path, monkeypatch):
        """But for the epoch under way, the second of a run, which was told of and not yet saved."""
        notes, go = tmp_path / "lines", tmp_path / "go"
        monkeypatch.setattr(sweeps, "_SlowLines", lambda: Notes(notes, go))
        todo = LONG.with_seeds(3)
        lines, victim = [], next(iter(cluster.workers.values())).pid

        def kill():
            os.kill(victim, signal.SIGKILL)
            go.touch()

        killer = after(lambda: notes.exists() and notes.read_text().count("  epoch 2/") == 2, kill)
        finished = run_all(todo, backend="dask", address=cluster.scheduler_address, device="cpu", progress=lines.append)
        killer.join()
        assert len(lines) == len(todo)
        assert list(finished) == todo
        epochs = [line.split("  ")[:2] for line in notes.read_text().splitlines()]
        expected = [[each.name, f"epoch {epoch}/{each.epochs}"] for each in todo for epoch in range(1, each.epochs + 1)]
        assert sorted({*map(tuple, epochs)}) == sorted(map(tuple, expected))
        assert len(epochs) == len(expected) + 1
        assert len(list(Store())) == len(todo)
        for each in todo[:2]:  # of which one was interrupted
            assert_is_the_straight_run(each, finished[each], device="cpu")
        assert {path.name for path in folder(todo[0]).iterdir()} == {"lock", "weights.pt"}
        assert list(Store().root.glob(".sweep-*")) == []


def after(condition, act):
    """Act in a thread as soon as a condition holds, or in a minute."""

    def wait_and_act():
        end = time.monotonic() + 60
        while not condition() and time.monotonic() < end:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def epochs_saved(experiment):
    path = folder(experiment) / "checkpoint.pt"
    return len(checkpoints.read(path)["ends"]) if path.exists() else 0
