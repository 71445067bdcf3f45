"""Trials of what must never go wrong, at random and with counts; no test, and too slow for one.

Run by hand from the root of the repository::

    python tests/trials/run.py --minutes 3 --seed 0

Runs are killed, raced and resumed from damaged files, and must end bit by bit as if nothing had been, or say in one
clear line why they cannot; a bad command line is answered by one line and exit code 2. What goes wrong is printed.
"""

import argparse
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from inputs import BAD_INPUTS

from labelreg import checkpoints, cli, paths
from labelreg.experiment import Experiment
from labelreg.results import Store
from labelreg.running import run, train, trained
from labelreg.training import Trainer

SHORT = {"subset": 100, "epochs": 4, "batch_size": 16, "schedule": "one_cycle"}
PLAIN = Experiment(**SHORT, method="knowledge_refinery", observe=("residual_labels", "reliability"))
AHEAD = Experiment(**SHORT, method="snapshot_regularization", options={"direction": "pos", "interval": 1})
STUDENT = Experiment(**SHORT, method="knowledge_distillation", teacher=Experiment(**SHORT, seed=5))
KINDS = (PLAIN, AHEAD, STUDENT)
CLEAR = ("cannot be resumed from (", "cannot be read (", "is not a valid result and is skipped")
MEMORY = 8 << 30  # bytes that a bad command line may ask for


class Wrong(Exception):
    """A trial that did not go as it should."""


def ensure(condition: object, what: str) -> None:
    if not condition:
        raise Wrong(what)


def fork(function: Callable[[], object], output: Path) -> int:
    """Call a function in a process of its own, whose output goes to a file; its exit code is 1 after an error."""
    child = os.fork()
    if child:
        return child
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
    code = 1
    try:
        function()
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ended(child: int, seconds: float) -> int | None:
    """Return the exit code of a process, None if it had to be killed after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def quietly(experiment: Experiment) -> None:
    run(experiment, device="cpu", progress=None)


class Straight:
    """What runs give that nothing disturbs, and how long they take."""

    def __init__(self) -> None:
        started = time.monotonic()
        self.runs = {each: train(each, device="cpu") for each in (*KINDS, STUDENT.teacher)}
        self.seconds = (time.monotonic() - started) / len(KINDS)

    def ensure_same(self, experiment: Experiment) -> None:
        """The recorded run and its weights are the straight ones, and nothing else is left of it."""
        straight, result = self.runs[experiment], Store().find(experiment)
        ensure(result is not None, f"{experiment.name} is not recorded")
        folder = paths.runs_root() / f"{experiment.name}-{experiment.key}"
        kept = checkpoints.read(folder / "weights.pt")["network"]
        same = all(torch.equal(kept[name], value) for name, value in straight.network.state_dict().items())
        ensure(same, f"{experiment.name} has other weights")
        for name, values in straight.result.history.items():
            expected = [float(f"{value:.5g}") for value in values]
            ensure(name == "seconds" or result.history[name] == expected, f"{experiment.name} has another {name}")
        ensure(result.observations.keys() == straight.result.observations.keys(), "observations are missing")
        left = {path.name for path in folder.iterdir()} - {"lock", "weights.pt"}
        ensure(not left, f"{left} is left over")


def kill(draws: random.Random, folder: Path, straight: Straight) -> None:
    """A run is killed at random moments, and resumed each time."""
    experiment = draws.choice(KINDS)
    for _ in range(draws.randint(1, 4)):
        child = fork(lambda: quietly(experiment), folder / "output")
        ended(child, draws.uniform(0, straight.seconds))
    code = ended(fork(lambda: quietly(experiment), folder / "output"), 120)
    ensure(code == 0, f"resuming ended with {code}: {(folder / 'output').read_text()[-500:]}")
    run(experiment, device="cpu", progress=None)
    straight.ensure_same(experiment)


def race(draws: random.Random, folder: Path, straight: Straight) -> None:
    """Two processes want the same run, or the same teacher, at once."""
    other = STUDENT.but(options={"alpha": 0.2})
    pair = draws.choice([(PLAIN, PLAIN), (AHEAD, AHEAD), (STUDENT, STUDENT), (STUDENT, other)])
    steps = Trainer.step

    def counted(experiment: Experiment, delay: float) -> None:
        def step(self: Trainer, batch: object) -> object:
            os.write(counter, b".")
            return steps(self, batch)

        counter = os.open(folder / "steps", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        Trainer.step = step
        time.sleep(delay)
        quietly(experiment)

    children = [
        fork(lambda each=each: counted(each, draws.uniform(0, straight.seconds / 2)), folder / "output")
        for each in pair
    ]
    codes = [ended(child, 120) for child in children]
    ensure(codes == [0, 0], f"they ended with {codes}: {(folder / 'output').read_text()[-500:]}")
    one = 7 * SHORT["epochs"]  # steps of a run
    expected = one * {PLAIN: 1, AHEAD: 2, STUDENT: 2}[pair[0]] + one * (pair[1] is other)
    count = (folder / "steps").stat().st_size
    ensure(count == expected, f"{count} steps were made in place of {expected}")
    straight.ensure_same(pair[0])


class Evil:
    """Runs code where it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


def damage(draws: random.Random, folder: Path, straight: Straight) -> None:
    """A file is damaged: what is made of it is right, or it is named in one line."""
    experiment = draws.choice((PLAIN, AHEAD))
    work = paths.runs_root() / f"{experiment.name}-{experiment.key}"
    if resumed := draws.random() < 0.6:
        stop_after = draws.randint(1, 50)
        asked: list[int] = []
        ended(fork(lambda: run(experiment, progress=None, stop=lambda: asked.append(1) or len(asked) == stop_after),
                   folder / "stopped"), 60)  # fmt: skip
    else:
        quietly(experiment)
    victims = [*work.glob("*.pt"), *work.glob("*.epochs"), *Store().root.glob("*/*.npz")]
    victims += [] if resumed else Store().root.glob("*/*.json")
    victim = draws.choice([each for each in victims if each.stat().st_size])
    content, marker = bytearray(victim.read_bytes()), folder / "code was run"
    place = draws.randrange(len(content))
    match draws.choice(("bit", "cut", "zeros", "evil")):
        case "bit" if victim.suffix != ".json":  # a number of a text is as good as another
            content[place] ^= 1 << draws.randrange(8)
        case "zeros":
            content[place : place + 64] = bytes(len(content[place : place + 64]))
        case "evil":
            content = draws.choice((pickle.dumps(Evil(marker)), b"[" * 100_000, b"", b'{"schema": 1}'))
        case _:
            content = content[:place]
    victim.write_bytes(content)

    def load() -> None:
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        try:
            trained(experiment, device="cpu", progress=None)
        except ValueError as error:
            print(error, file=sys.stderr)
            sys.exit(2)

    code = ended(fork(load, folder / "output"), 120)
    said = (folder / "output").read_text() if (folder / "output").exists() else ""
    ensure(not marker.exists(), f"{victim.name} ran code")
    ensure(code in (0, 2), f"{victim.name} ended with {code}: {said[-500:]}")
    if code == 2:
        ensure(any(each in said for each in CLEAR) and said.count("\n") <= 2, f"unclear of {victim.name}: {said}")
    elif not said:
        straight.ensure_same(experiment)


def stop(draws: random.Random, folder: Path, straight: Straight) -> None:
    """The command line is stopped with two processes at work: it says so, no process is left, and all is resumed."""
    two = PLAIN.but(observe=(), method="label_smoothing", options={}, epochs=60).with_seeds(2)
    words = ["method=label_smoothing", "subset=100", "epochs=60", "batch_size=16", "schedule=one_cycle"]
    number = draws.choice((signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
    command = [sys.executable, "-m", "labelreg", "run", "--profile=paper", "--device=cpu", "--jobs=2", "--seeds=2"]
    process = subprocess.Popen([*command, *words], text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    saved = [paths.runs_root() / f"{each.name}-{each.key}" / "checkpoint.pt" for each in two]
    while process.poll() is None and not any(path.exists() for path in saved):
        time.sleep(0.01)
    time.sleep(draws.uniform(0, 1))
    group = [int(each) for each in subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True,
                                                  check=False).stdout.split()]  # fmt: skip
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    if number != signal.SIGKILL and process.returncode != 0:  # it may have ended before
        ensure(process.returncode == 130, f"{number!r} ended it with {process.returncode}: {said[-500:]}")
        ensure(said.splitlines()[-1] == "interrupted; saved, the same call resumes there", said[-500:])
    end = time.monotonic() + 30
    while alive := [each for each in group if Path(f"/proc/{each}").exists()]:
        ensure(time.monotonic() < end, f"{alive} still run after {number!r}")
        time.sleep(0.05)
    for each in two:
        result, expected = run(each, device="cpu", progress=None), train(each, device="cpu").result
        ensure(result.last["loss"] == float(f"{expected.last['loss']:.5g}"), f"{each.name} has another loss")


def mistype(arguments: list[str], folder: Path) -> None:
    """A bad command line is one line and exit code 2, and asks for no more than a few GB."""

    def call() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.argv = ["labelreg", *arguments]
        cli.main()

    code = ended(fork(call, folder / "output"), 120)
    said = (folder / "output").read_text()
    shown = f"{' '.join(arguments)[:200]} ended with {code}: {said[-500:]}"
    ensure(code == 2 and "Traceback" not in said, shown)
    ensure(said.startswith("Usage: ") or said.splitlines()[-1].startswith("labelreg: "), shown)
    ensure(said.count("labelreg: ") == 1 or said.startswith("Usage: "), shown)


def attempts(kind: Callable, draws: random.Random, until: float, straight: Straight) -> Iterator[Callable]:
    """The trials of a kind: as many as there is time for, or each bad input once."""
    if kind is mistype:
        yield from (lambda folder, each=each: mistype(each, folder) for each in BAD_INPUTS)
    while kind is not mistype and time.monotonic() < until:
        yield lambda folder: kind(draws, folder, straight)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="for kills, races, damaged files and stops together")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    straight, counts = Straight(), {}
    kinds = {"kills": kill, "races": race, "damaged files": damage, "stops of two jobs": stop, "bad inputs": mistype}
    for name, kind in kinds.items():
        right = wrong = 0
        draws, until = random.Random(arguments.seed), time.monotonic() + 60 * arguments.minutes / 4
        for attempt in attempts(kind, draws, until, straight):
            folder = Path(tempfile.mkdtemp(prefix="labelreg-trial-"))
            os.environ |= {f"LABELREG_{each}": str(folder / each.lower()) for each in ("RESULTS", "RUNS")}
            try:
                attempt(folder)
                right += 1
            except Exception as error:
                wrong += 1
                print(f"{name}: {type(error).__name__}: {error}", flush=True)
            shutil.rmtree(folder)
        counts[name] = right + wrong, right, wrong
    print(f"{'kind':20}{'tried':>8}{'right':>8}{'wrong':>8}")
    for name, numbers in counts.items():
        print(f"{name:20}" + "".join(f"{number:8}" for number in numbers))
    sys.exit(any(wrong for _, _, wrong in counts.values()))


if __name__ == "__main__":
    main()
