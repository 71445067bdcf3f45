"""Several trainings at once on one device: images per second of them all."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain, count

from loops import MADE_UP, synchronize, training_speed

from labelreg.build import prepare_training
from labelreg.costs import offer_made_up
from labelreg.experiment import Experiment

PATIENCE = 120  # seconds, after which the processes are ended whatever they do


def packed(
    networks: Sequence[str], counts: Sequence[int], device: str, batch_size: int, seconds: float
) -> dict[str, dict[int, float]]:
    """Return network to the number of processes to the images per second of them all.

    Args:
        networks: trained with cross-entropy, one after the other.
        counts: numbers of processes, of which the largest is started; the others wait.
        seconds: how long to train for each number.
    """
    words = [sys.executable, __file__, device, str(batch_size), *networks]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with contextlib.ExitStack() as running:
        workers = [running.enter_context(_ended(subprocess.Popen(words, **pipes))) for _ in range(max(counts))]
        watchdog = threading.Timer(PATIENCE, lambda: [each.kill() for each in workers])
        watchdog.daemon = True
        watchdog.start()
        running.callback(watchdog.cancel)
        for each in workers:
            _answer(each)
        return {
            network: {several: _together(workers[:several], network, seconds) for several in counts}
            for network in networks
        }


def _together(workers: Sequence[subprocess.Popen], network: str, seconds: float) -> float:
    for each in workers:
        each.stdin.write(f"{network} {seconds}\n")
    return sum(_answer(each) for each in workers)


def _answer(worker: subprocess.Popen) -> float:
    if line := worker.stdout.readline():
        return float(line)
    raise RuntimeError(f"a process ended with exit code {worker.wait()}")


@contextlib.contextmanager
def _ended(worker: subprocess.Popen) -> Iterator[subprocess.Popen]:
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def work(device: str, batch_size: int, networks: Sequence[str]) -> None:
    """Train when told to, by a line with a network and a number of seconds; answer with images per second."""
    offer_made_up()
    long = {"epochs": 10_000, "batch_size": batch_size}  # for the schedule to last
    trainers = {
        name: prepare_training(Experiment(dataset=MADE_UP, network=name).at("fast", **long), device)
        for name in networks
    }
    for trainer in trainers.values():
        training_speed(trainer, steps=1)  # records a step
    print(0, flush=True)  # ready
    for line in sys.stdin:
        name, seconds = line.split()
        trainer, samples = trainers[name], 0
        batches = chain.from_iterable(trainer.loader.epoch(epoch) for epoch in count())
        began = time.perf_counter()
        for position, batch in enumerate(batches):
            trainer.step(batch)
            samples += len(batch.targets)
            if position % 20 == 0:  # steps are queued faster than they run
                synchronize(trainer.device)
                if time.perf_counter() - began > float(seconds):
                    break
        print(samples / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
