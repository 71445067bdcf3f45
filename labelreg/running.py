"""Run an experiment: find the recorded result, else resume or train, then record."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from labelreg import checkpoints, paths
from labelreg.build import build, own_generators, resolve_device, untrained
from labelreg.data import Dataset, Split
from labelreg.experiment import Experiment
from labelreg.methods import Method
from labelreg.names import one_line
from labelreg.processes import ALONE, Processes
from labelreg.results import Claimed, Result, Store, hold, provenance, rounded
from labelreg.training import Diverged, Stop, Trainer

Progress = Callable[[str], None] | None
_CHECKPOINTS = ("checkpoint.pt", "preparation.pt")  # of a run, and of what its method trains beforehand


@dataclass(frozen=True)
class Trained:
    """A result, and the trainer after training, with ``network``, ``method`` and ``dataset`` on its device."""

    result: Result
    trainer: Trainer

    @property
    def network(self) -> nn.Module:
        return self.trainer.network

    @property
    def method(self) -> Method:
        return self.trainer.method

    @property
    def dataset(self) -> Dataset:
        return self.trainer.dataset

    def predict(self, split: Split) -> tuple[Tensor, Tensor, Tensor]:
        """Return the method's logits (N, K), the network's penultimate features (N, D) and the targets (N,)."""
        split = split.to(self.trainer.device)
        logits, targets = self.trainer.predict(split)
        return logits.cpu(), self.trainer.features(split).cpu(), targets.cpu()


def run(
    experiment: Experiment,
    *,
    results: Path | str | None = None,
    device: str = "auto",
    wait: bool = True,
    progress: Progress = print,
    stop: Stop | None = None,
    processes: Processes = ALONE,
) -> Result:
    """Return the recorded result if there is one; else resume an interrupted run or train, and record.

    Two processes that share a folder of results never train the same experiment.

    Args:
        results: folder of the recorded runs, ``data/results`` by default.
        device: ``"auto"`` for the GPU if there is one, or a PyTorch device.
        wait: whether to wait for another process that is running this experiment.
        progress: called with a line of text after every epoch, and before waiting; None for silence.
        stop: called after every step; training is saved and interrupted when it returns True. It also ends waiting.
        processes: the processes that train the network together, see :func:`labelreg.processes.launch`; each of them
            makes this call, and their devices replace ``device``.

    Raises:
        ValueError: the experiment does not fit its data set, or there is no such data set, network or device.
        FileNotFoundError: the data set is not on disk and cannot be fetched.
        labelreg.results.Claimed: another process is running the experiment, and this one does not wait.
        labelreg.training.Interrupted: on SIGINT, SIGTERM or ``stop``; the same call resumes.
    """
    check_experiments(experiment)
    store = Store(results)
    if found := processes.first(lambda: store.find(experiment)):
        processes.first(lambda: tidy(experiment, store))
        return found
    with ExitStack() as held:
        at_work = _at_work(experiment, store, progress, stop, wait)
        folder = processes.first(lambda: held.enter_context(at_work))
        # another process may have finished it while this one waited
        found = processes.first(lambda: store.find(experiment))
        return found or _train_and_record(experiment, store, folder, device, progress, stop, processes)


def train(
    experiment: Experiment,
    *,
    device: str = "auto",
    progress: Progress = None,
    stop: Stop | None = None,
    processes: Processes = ALONE,
) -> Trained:
    """Train in memory, including a teacher, and return the result with the network; nothing is written.

    The arguments are those of :func:`run`.
    """
    check_experiments(experiment)
    teach = partial(train, device=device, progress=progress, stop=stop)
    return _train(experiment, device, progress, stop, teach, processes=processes)


def trained(
    experiment: Experiment,
    *,
    results: Path | str | None = None,
    device: str = "auto",
    progress: Progress = print,
    stop: Stop | None = None,
) -> Trained:
    """Return the result of :func:`run` with the network, from its stored weights; if there are none, train again.

    Weights stay on the machine where they were trained. A network that is trained again on another machine may differ
    in the last digits.
    """
    check_experiments(experiment)
    store = Store(results)
    result, weights = store.find(experiment), _folder(experiment) / "weights.pt"
    tidy(experiment, store)
    if result is None or not weights.exists():
        with _at_work(experiment, store, progress, stop) as folder:
            result = store.find(experiment)
            if result is None or not weights.exists():
                result = _train_and_record(experiment, store, folder, device, progress, stop)
    with own_generators(resolve_device(device)):
        # an untrained teacher suffices: its weights are part of the method's state
        parts = build(experiment, device, lambda: untrained(experiment.teacher))
        try:
            stored = checkpoints.read(weights)
            if stored["experiment"] != experiment.model_dump_json():
                raise ValueError("it is that of another run")
            parts.network.load_state_dict(stored["network"])
            # unexpected keys are allowed: predictions do not need what a method made in preparation
            missing = parts.method.load_state_dict(stored["method"], strict=False).missing_keys
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
        except Exception as error:
            what = f"{weights} cannot be read ({one_line(error)}); move it away to train {experiment.name} anew"
            raise ValueError(what) from error
        return Trained(result, parts.trainer(parts.network, parts.method))


def check_experiments(*experiments: Experiment) -> None:
    for each in experiments:
        if not isinstance(each, Experiment):
            raise TypeError(f"an experiment must be an Experiment, got {each!r}")


@contextmanager
def _at_work(
    experiment: Experiment, store: Store, progress: Progress, stop: Stop | None, wait: bool = True
) -> Iterator[Path]:
    """Hold an experiment among all processes that share the results or work folders; yield its work folder."""
    told = progress is None

    def waits() -> bool:
        nonlocal told
        if not wait or (stop is not None and stop()):
            return False
        if not told:
            progress(f"waiting for another process that is running {experiment.name}")
        told = True
        return True

    folder = _folder(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    with store.claim(experiment, waits), hold(FileLock(folder / "lock"), waits):
        for file in _leftovers(folder, recorded=store.find(experiment) is not None):
            file.unlink(missing_ok=True)
        yield folder


def _folder(experiment: Experiment) -> Path:
    return paths.runs_root() / f"{experiment.name}-{experiment.key}"


def _leftovers(folder: Path, recorded: bool) -> list[Path]:
    """The files in a work folder that nobody needs, and that a process could not delete because it was killed."""
    finished = recorded and (folder / "weights.pt").exists()
    return [*paths.unfinished(folder), *(_checkpoint_files(folder) if finished else ())]


def _checkpoint_files(folder: Path) -> list[Path]:
    files = (file for name in _CHECKPOINTS for file in checkpoints.files(folder / name))
    return [file for file in files if file.exists()]


def tidy(experiment: Experiment, store: Store) -> None:
    """Delete the leftover files of a recorded run, unless another process is working in its folder."""
    if _leftovers(_folder(experiment), recorded=True):
        with suppress(Claimed, OSError), _at_work(experiment, store, None, None, wait=False):
            pass


def _train_and_record(
    experiment: Experiment,
    store: Store,
    folder: Path,
    device: str,
    progress: Progress,
    stop: Stop | None,
    processes: Processes = ALONE,
) -> Result:
    """Train with a checkpoint; record the result, then store the weights, then delete the checkpoint."""
    teach = partial(trained, results=store.root, device=device, progress=progress, stop=stop)
    files = (folder / name for name in _CHECKPOINTS)
    finished = _train(experiment, device, progress, stop, teach, *files, processes=processes)

    def record() -> Result:
        store.save(finished.result)
        states = {"experiment": experiment.model_dump_json()}
        states |= {"network": finished.network.state_dict(), "method": finished.method.state_dict()}
        checkpoints.write(folder / "weights.pt", states)
        for file in _checkpoint_files(folder):
            file.unlink()
        return store.find(experiment)  # read back, so that a new and a recorded result are rounded alike

    return processes.first(record)


def _train(
    experiment: Experiment,
    device: str,
    progress: Progress,
    stop: Stop | None,
    teach: Callable[[Experiment], Trained],
    checkpoint: Path | None = None,
    preparation: Path | None = None,
    processes: Processes = ALONE,
) -> Trained:
    """Train, from a checkpoint if there is one; ``preparation`` is that for what a method trains beforehand."""
    device = device if processes.count == 1 else processes.device
    with own_generators(resolve_device(device)):
        if experiment.teacher:  # what does not fit is refused before the teacher is trained
            untaught = build(experiment, device, lambda: untrained(experiment.teacher), processes)
            untaught.trainer(untaught.network, untaught.method, experiment.observe)
        parts = build(experiment, device, lambda: teach(experiment.teacher).network, processes)
        tell = progress and (lambda row: progress(_progress_line(experiment, row)))
        tell_before = progress and (lambda row: progress(f"preparing {_progress_line(experiment, row)}"))

        def prepare(network: nn.Module, method: Method) -> None:
            parts.trainer(network, method).fit(preparation, tell_before, stop)

        if parts.method.prepares:  # and before the preparation
            parts.trainer(parts.network, parts.method, experiment.observe)
        try:
            parts.method.prepare(prepare)
            trainer = parts.trainer(parts.network, parts.method, experiment.observe)
            origin = provenance(trainer.device)  # before training: a commit made during training is not what runs
            trainer.fit(checkpoint, tell, stop)
        except Diverged as error:
            raise Diverged(f"{experiment.name}: {error}") from None
        return Trained(_result(experiment, trainer, origin), trainer)


def _result(experiment: Experiment, trainer: Trainer, origin: dict[str, Any]) -> Result:
    measured = {
        "test_digest": trainer.dataset.test.digest,
        "training_digest": trainer.loader.split.digest,
        "training_samples": len(trainer.loader.split),
        "processes": trainer.processes.count,
        "parameters": sum(each.numel() for group in trainer.optimizer.param_groups for each in group["params"]),
        "seconds": round(sum(row["seconds"] for row in trainer.history), 1),
    }
    # rounded here, so that tables of live and of recorded runs are rounded alike
    history = {name: [rounded(row[name]) for row in trainer.history] for name in trainer.history[0]}
    observations = {name: torch.stack(values).numpy() for name, values in trainer.observations.items()}
    return Result(experiment, history, origin | measured, observations)


def _progress_line(experiment: Experiment, row: dict[str, float]) -> str:
    where = f"{experiment.name}  epoch {row['epoch']:.0f}/{experiment.epochs}"
    fit = f"loss {row['loss']:.4f}  train {row['train_accuracy']:.1%} correct"
    perplexity = f"  {row['test_perplexity']:.1f} perplexity" if "test_perplexity" in row else ""
    return f"{where}  {fit}  test {row['test_error']:.2%} error{perplexity}  {row['seconds']:.1f} s"
