"""What every method computes, pinned: the same numbers come out as long as nothing is meant to change them.

Run by hand from the root of the repository::

    python tests/golden/record.py                    # write values.json anew, in float64
    python tests/golden/record.py --exact PATH       # write float32 and bfloat16 values, bit by bit, to a file
    python tests/golden/record.py --compare PATH     # recompute them and list what is not identical

The first is compared by ``test_golden.py`` and holds on any machine. The second holds on one machine only, and is what
a change of code is checked with: record before, compare after.
"""

import argparse
import hashlib
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import nn

from labelreg import Experiment, methods
from labelreg.data import Batch, load
from labelreg.networks import build
from labelreg.running import train

VALUES = Path(__file__).with_name("values.json")
DIGITS = 12  # significant ones of what is kept: the comparison asks for 9
CLASSES = 5
SAMPLES = 12  # in a batch
EPOCHS = 2
LEARNING_RATE = 0.05

NAR, SNAPSHOT, FOREST = "network_as_regularization", "snapshot_regularization", "forest_as_regularization"
ALR, KR = "adaptive_label_regularization", "knowledge_refinery"
CSKD, SBA, BA = "class_wise_self_distillation", "stochastic_batch_augmentation", "batch_augmentation"
KD, DML, ATTACK = "knowledge_distillation", "deep_mutual_learning", "adversarial_training"
PLAIN = ("cross_entropy", {})
PIXEL_STD = (0.2, 0.25, 0.3)
ALWAYS = {"omega": 0.0, "virtual": 4}  # every step is augmented

# by method, the options that it is made with; a method inside a method is a pair of its name and options
CASES = {
    "cross_entropy": [{}],
    "label_smoothing": [{}, {"epsilon": 0.3, "convention": "others"}, {"epsilon": 0.0}],
    "confidence_penalty": [{}, {"weight": 0.5}],
    "disturb_label": [{}, {"rate": 0.6}],
    NAR: [
        {}, {"lam": 0.3, "alpha": 0.0}, {"lam": 0.0, "alpha": 0.4}, {"auxiliary_smoothing": 0.3},
        {"variant": "official", "warm_up": 1}, {"variant": "official"},
        {"variant": "official", "warm_up": 0, "alpha": 0.0, "lam": 0.7, "auxiliary_smoothing": 0.5},
    ],
    SNAPSHOT: [
        {}, {"interval": 1}, {"interval": 1, "direction": "pos"},
        {"interval": 2, "direction": "pos", "lam": 0.7, "alpha": 0.3},
    ],
    FOREST: [{}, {"lam": 0.3, "alpha": 0.4, "trees": 5}],
    ALR: [
        {}, {"smoothing": 0.1, "lr_mult": 5.0}, {"tracking": "ema"}, {"kind": "kl", "direction": "literal"},
        {"kind": "kl", "tracking": "ema", "smoothing": 0.2},
    ],
    KR: [
        {}, {"gamma": 0.5, "smoothing": 0.1}, {"gamma": 0.0}, {"gamma": 1.0, "truncate": 1},
        {"kind": "cross_entropy", "lr_mult": 10.0}, {"direction": "literal", "smoothing": 0.3},
    ],
    CSKD: [
        {}, {"temperature": 2.0, "class_weight": 3.0, "t_squared": False}, {"sample_weight": 1.0},
        {"class_weight": 0.0, "sample_weight": 0.5, "bn": "anchor_only"}, {"partners": "batch"}, {"bn": "anchor_only"},
        {"partners": "batch", "sample_weight": 1.0, "t_squared": False, "temperature": 1.0},
        {"method": ("label_smoothing", {})}, {"method": (KD, {})}, {"method": ("ada_cos", {})},
        {"method": (KR, {"gamma": 0.5}), "sample_weight": 1.0}, {"method": (SBA, ALWAYS | {"vote": True})},
    ],
    SBA: [
        {}, {"granularity": "epoch", "omega": math.pi / 4}, {"eta": 0.0}, {"omega": math.pi / 2}, ALWAYS,
        ALWAYS | {"virtual": 5, "sigma": 0.5, "tau": 1.0, "drop_rate": 0.2, "eta": 1.0}, ALWAYS | {"rescale": True},
        ALWAYS | {"basis": "identity"}, ALWAYS | {"detach_reference": False}, ALWAYS | {"layers": "0, , 4"},
        ALWAYS | {"vote": True},
    ],
    BA: [{"method": PLAIN}, {"method": (SBA, ALWAYS), "copies": 2}, {"method": (CSKD, {}), "copies": 3}],
    KD: [{}, {"temperature": 2.0, "alpha": 0.9}],
    "born_again": [{}, {"beta": 0.3}],
    DML: [{}, {"weight": 0.5}],
    "ada_cos": [{}, {"dynamic": False}, {"scaled_evaluation": False}],
    "virtual_softmax": [{}],
    "mixup": [
        {"method": PLAIN}, {"method": PLAIN, "alpha": 0.2}, {"method": ("label_smoothing", {"convention": "others"})},
        {"method": (NAR, {})}, {"method": (NAR, {"variant": "official", "warm_up": 1})},
        {"method": (SNAPSHOT, {"interval": 1})}, {"method": (CSKD, {})}, {"method": (SBA, ALWAYS)},
        {"method": (CSKD, {"sample_weight": 1.0, "bn": "anchor_only"})}, {"method": (KD, {})}, {"method": (DML, {})},
        {"method": (ATTACK, {"method": PLAIN})},
    ],
    ATTACK: [
        {"method": PLAIN}, {"method": PLAIN, "pixel_std": PIXEL_STD, "epsilon": 0.1}, {"method": ("ada_cos", {})},
        {"method": (NAR, {}), "pixel_std": PIXEL_STD}, {"method": (KR, {"smoothing": 0.1})},
    ],
}  # fmt: skip
# on a text: one label per word, and a network with a state
TEXT_CASES = {name: [{}] for name in ("cross_entropy", "label_smoothing", KR, ALR, NAR, DML)} | {SBA: [ALWAYS]}
SINGLE = (FOREST,)  # what a forest predicts is put into float32 tensors
ROLES = ("auxiliary", "teacher", "peer")  # what a method takes networks for
TEXT_NETWORK = {"hidden": 8, "layers": 1, "dropout": 0.2, "init_range": 0.5}

# whole runs, from the data set to the history
RUNS = {
    "knowledge_refinery on digits": {
        "dataset": "digits", "network": "mlp", "method": KR, "subset": 200, "epochs": 3, "batch_size": 64,
        "learning_rate": 0.1, "schedule": "one_cycle", "observe": ("class_distributions",),
    },
    "network_as_regularization on cifar100": {
        "dataset": "cifar100", "network": "resnet8", "method": NAR, "subset": 500, "epochs": 2,
    },
}  # fmt: skip


def name_of(method: str, options: dict) -> str:
    """A case as it is written in Python, without what every method is given."""
    written = (f"{key}={name_of(*value) if key == 'method' else repr(value)}" for key, value in options.items())
    return f"{methods.find(method).__name__}({', '.join(written)})"


def all_cases() -> dict[str, tuple]:
    """Printed name to (name of the method, options, whether on a text)."""
    return {
        name_of(method, options) + " on text" * on_text: (method, options, on_text)
        for table, on_text in ((CASES, False), (TEXT_CASES, True))
        for method, each in table.items()
        for options in each
    }


def record_case(name: str) -> dict:
    """Record one of :func:`all_cases` at PyTorch's default dtype; where that is not possible, in float32."""
    method, options, on_text = all_cases()[name]
    with default_dtype(torch.float32 if method in SINGLE else torch.get_default_dtype()):
        return _record(method, options, on_text)


def record_run(name: str) -> dict:
    """Record a whole run: its history, what was observed, and ``sha256`` of network and method at the end."""
    trained = train(Experiment(**RUNS[name]), device="cpu")
    rows = trained.trainer.history  # with all digits
    history = {key: [row[key] for row in rows] for key in rows[0] if key != "seconds"}
    observations = sorted(trained.result.observations.items())
    observed = {key: _projection([torch.as_tensor(values)]) for key, values in observations}
    return {"history": history, "observed": observed, "sha256": _hash(trained.network, trained.method)}


def record_all() -> dict[str, dict]:
    """Record everything but the whole runs."""
    return {name: record_case(name) for name in all_cases()}


def record_runs() -> dict[str, dict]:
    """Record the whole runs of which the data are there."""
    return {name: record_run(name) for name, settings in RUNS.items() if is_here(settings["dataset"])}


def is_here(dataset: str) -> bool:
    """Whether a data set can be loaded."""
    with suppress(FileNotFoundError):
        return bool(load(dataset))
    return False


def record_exactly() -> dict[str, dict]:
    """Record everything in float32, and all cases under autocast to bfloat16 too, with numbers as hexadecimal text."""
    with torch.autocast("cpu", torch.bfloat16):
        in_bfloat16 = {f"{name} in bfloat16": case for name, case in record_all().items()}
    return _mapped(record_all() | in_bfloat16 | record_runs(), float.hex)


def differences(before: object, after: object, where: str = "") -> list[str]:
    """List where two records are not identical."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = dict.fromkeys([*before, *after])
        return [line for key in keys for line in differences(before.get(key), after.get(key), f"{where} / {key}")]
    return [] if before == after else [f"{where.removeprefix(' / ')}: {before} before, {after} now"]


def rounded(record: dict[str, dict]) -> dict[str, dict]:
    """Numbers at the significant digits that are kept, and no hashes."""
    kept = {name: {key: each for key, each in case.items() if key != "sha256"} for name, case in record.items()}
    return _mapped(kept, lambda number: float(f"{number:.{DIGITS}g}"))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """PyTorch's default dtype, restored afterwards."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


def _record(name: str, options: dict, on_text: bool = False) -> dict:
    """Train a small network for four steps.

    Returns:
        One number per step of the loss, of each of its terms and of what else is watched; numbers of the network and
        the method as they are left; and ``sha256`` of their parameters and buffers.
    """
    network = _network(0, on_text)
    method = _make(name, options, on_text)
    method.prepare(lambda second, with_method: _fit(second, with_method, on_text))
    torch.manual_seed(2)
    watched = _fit(network, method, on_text)
    return watched | _end(network, method, on_text) | {"sha256": _hash(network, method)}


def _network(seed: int, on_text: bool) -> nn.Module:
    torch.manual_seed(100 + seed)
    if on_text:
        return build("lstm", num_classes=CLASSES, **TEXT_NETWORK)
    seen = [nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
    hidden = [nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*seen, *hidden, nn.Linear(16, CLASSES))


def _make(name: str, options: dict, on_text: bool) -> nn.Module:
    asked = inspect.signature(methods.find(name)).parameters
    given = {"num_classes": CLASSES} if "num_classes" in asked else {}
    for seed, role in enumerate(ROLES, start=1):
        if role in asked:
            given[role] = _network(seed, on_text)
    for key, value in options.items():
        if key == "method":
            value = _make(*value, on_text)
        given[key] = torch.tensor(value) if key == "pixel_std" else value
    torch.manual_seed(1)
    return methods.find(name)(**given)


def _batches(on_text: bool) -> list[Batch]:
    draws = torch.Generator().manual_seed(3)
    made = []
    for position in range(2):
        targets = torch.arange(SAMPLES) % CLASSES
        indices = torch.randperm(SAMPLES, generator=draws) + position * SAMPLES
        if on_text:
            made.append(Batch(torch.randint(CLASSES, (4, SAMPLES // 4), generator=draws), targets, indices))
            continue
        images = (torch.randn(SAMPLES, 3, 6, 6, generator=draws, dtype=torch.float64) for _ in range(3))
        inputs, partner, change = (each.to(torch.get_default_dtype()) for each in images)
        made.append(Batch(inputs, targets, indices, partner, inputs + change / 4))
    return made


def _fit(network: nn.Module, method: nn.Module, on_text: bool) -> dict[str, list[float]]:
    groups = [{"params": list(network.parameters())}, *method.parameter_groups(LEARNING_RATE)]
    optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=0.9, weight_decay=1e-2, nesterov=True)
    rows = []
    for epoch in range(EPOCHS):
        network.train()
        method.train()
        method.start_epoch(epoch)
        for batch in _batches(on_text):
            step = method.step(network, batch)
            optimizer.zero_grad(set_to_none=True)
            step.loss.backward()
            row = {"loss": step.loss.item()} | {f"loss_{name}": term.item() for name, term in step.terms.items()}
            row["logits"] = _projection([step.logits])
            row |= {"network_gradient": _gradient_norm(network), "method_gradient": _gradient_norm(method)}
            rows.append(row)
            optimizer.step()
    return {name: [row[name] for row in rows] for name in rows[0] if any(row[name] for row in rows)}


@torch.no_grad()
def _end(network: nn.Module, method: nn.Module, on_text: bool) -> dict[str, float]:
    end = {}  # a method without a state has none here
    for name, module in (("network", network), ("method", method)):
        state = _state(module)
        end[f"{name}_norm"] = sum(each.double().square().sum().item() for each in state) ** 0.5
        end[name] = _projection(state)
    network.eval()
    method.eval()
    batch = _batches(on_text)[0]
    end["predicted"] = _projection([method.predict(network, batch.inputs)])
    if hasattr(method, "residual_labels"):
        end["labels"] = _projection([method.residual_labels()])
    elif hasattr(method, "labels") and not getattr(method, "replays", False):
        end["labels"] = _projection([method.labels(network, batch.inputs, batch.targets)])
    return {name: value for name, value in end.items() if value}


def _state(module: nn.Module) -> list[torch.Tensor]:
    """Parameters and buffers; among the latter the running statistics of batch normalisation."""
    return [each.detach() for each in (*module.parameters(), *module.buffers())]


def _gradient_norm(module: nn.Module) -> float:
    return sum(each.grad.double().square().sum().item() for each in module.parameters() if each.grad is not None) ** 0.5


def _projection(values: list[torch.Tensor]) -> float:
    """Onto a fixed direction that draws no random numbers."""
    flat = torch.cat([each.detach().double().flatten() for each in values] or [torch.zeros(0, dtype=torch.float64)])
    return (flat * torch.arange(1, len(flat) + 1, dtype=torch.float64).cos()).sum().item()


def _mapped(record: object, function: Callable[[float], object]) -> object:
    """Apply a function to every number of a record."""
    if isinstance(record, dict):
        return {key: _mapped(each, function) for key, each in record.items()}
    if isinstance(record, list):
        return [_mapped(each, function) for each in record]
    return function(record) if isinstance(record, float) else record


def _hash(*modules: nn.Module) -> str:
    digest = hashlib.sha256()
    for module in modules:
        for each in _state(module):
            digest.update(each.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _lines(record: dict) -> str:
    """JSON with a line for each case."""
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in record.items()) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exact", type=Path, metavar="PATH", help="write float32 and bfloat16 values bit by bit")
    parser.add_argument("--compare", type=Path, metavar="PATH", help="list what differs from such a file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.exact:
        arguments.exact.write_text(_lines(record_exactly()))
    elif arguments.compare:
        before = json.loads(arguments.compare.read_text())
        found = differences(before, json.loads(json.dumps(record_exactly())))
        print("\n".join(found) or f"all of {len(before)} records are identical")
        sys.exit(bool(found))
    else:
        runs = record_runs()
        with default_dtype(torch.float64):
            VALUES.write_text(_lines(rounded(record_all() | runs)))


if __name__ == "__main__":
    main()
