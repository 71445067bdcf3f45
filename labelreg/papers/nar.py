"""Network as Regularization (NaR; Tian et al., AAAI 2020): tables and figures as experiments.

The paper leaves open, and we chose: 0.1 for label smoothing, the target's weight decay and steps for the auxiliary in
mixed pairs, alpha = 1 for mixup, 8/255 for the attack, and 20 epochs between snapshots, as in the published code.
Table 1 counts parameters and has no runs.

For table 4 the paper states two layers of 1500 units, a dropout of 0.65, and a learning rate that is multiplied by 0.25
when the validation set does not improve. For the rest it refers to Pereyra et al. (2017), who train as Zaremba et al.
(2014) do: 55 epochs, 20 streams of text, 35 words a step, initial parameters within 0.04, a learning rate of 1 and
gradients clipped at 10. Their learning rate and clipping are for a loss that is summed over the 35 words; for the mean,
as here, they become 35 and 10 / 35. (Zaremba et al. divide the learning rate by 1.15 after every epoch from the
fourteenth on; the paper replaces this rule.) The paper found the methods' parameters by a search and does not give
them. Label smoothing's 0.1 and the confidence penalty's weight of 2 are those of Pereyra et al., and 0.1 of the labels
are noise. We read the 2 as the weight of a mean entropy beside the summed loss, which is 2 / 35 beside the mean loss.
With a weight of 2 beside the mean loss, no prediction could be confident: even if the next word were certain, the best
of 10,000 probabilities would be 0.07.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from labelreg.experiment import Experiment
from labelreg.papers.paper import Item, Paper, Row

DATASETS = ("cifar10", "cifar100")
# by network: what differs from the package's defaults (200 epochs, steps at 60, 120, 160, weight decay 5e-4)
SLOW = {"epochs": 300, "milestones": (150, 225), "weight_decay": 1e-4}
RECIPES = {"plaincnn6": {}, "resnet32": SLOW, "preresnet110": SLOW, "wrn28_10": {"decay": 0.2}}
NAR = "network_as_regularization"
SEEDS = 5  # on images; of language models the paper does not say
WORDS = 35  # of a step, over which the recipe of the language models sums its loss
LANGUAGE_MODEL: dict[str, Any] = {"dataset": "ptb", "network": "lstm", "batch_size": 20, "sequence_length": WORDS}
LANGUAGE_MODEL |= {"learning_rate": 1.0 * WORDS, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 10 / WORDS}
LANGUAGE_MODEL |= {"epochs": 55, "schedule": "plateau", "decay": 0.25}
# the same on the small text that comes with Python, for a run of seconds
QUICK_LANGUAGE_MODEL: dict[str, Any] = {"dataset": "pydoc", "epochs": 10, "batch_size": 10, "sequence_length": 20}
QUICK_LANGUAGE_MODEL |= {"network_options": {"hidden": 64, "layers": 1, "dropout": 0.0, "init_range": 0.1}}
QUICK_LANGUAGE_MODEL |= {"learning_rate": 30.0, "clip_norm": 0.25}
# in place of table 3's networks, widths of hidden layers
QUICK_SIZES = {"small": (16,), "middle": (64, 64), "large": (256, 256)}
# of figure 4, "from 10^-2 to 0.9": the grid itself is not printed
GRID = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9)


def experiment(dataset: str, network: str, method: str, **settings: Any) -> Experiment:
    """Return an experiment at the protocol of its network."""
    return Experiment(dataset=dataset, network=network, method=method, **RECIPES[network] | settings)


def generations(first: Experiment, count: int) -> list[Experiment]:
    """Return the experiments of born-again networks: each learns from the one before, the first from labels.

    All see the same data in the same order, and each begins with parameters of its own.
    """
    chain = [first]
    while len(chain) < count:
        chain.append(first.but(method="born_again", teacher=chain[-1]))
    return chain


def experiments(dataset: str, network: str) -> dict[str, Experiment]:
    """Return what table 2 compares on a data set and network, by printed names; for the language model, table 4."""
    if network == "lstm":
        return language_models()
    baseline, second, third = generations(experiment(dataset, network, "cross_entropy"), 3)
    return {
        "Baseline": baseline,
        "LSR": baseline.but(method="label_smoothing"),
        "BAN-2": second,
        "BAN-3": third,
        "NaR": baseline.but(method=NAR),
    }


def pairs(dataset: str, network: str) -> dict[str, Experiment]:
    """Return the experiments of table 3 for a target network, by printed names: alone, and with every auxiliary."""
    found = {"Single": experiment(dataset, network, "cross_entropy")}
    for auxiliary in RECIPES:
        found[f"NaR ({auxiliary})"] = experiment(dataset, network, NAR, options={"auxiliary": auxiliary})
    return found


def quick_pairs(baseline: Experiment) -> dict[str, dict[str, Experiment]]:
    """Return the same for each of three sizes of a multilayer perceptron, whose runs take seconds."""
    found: dict[str, dict[str, Experiment]] = {}
    for target, widths in QUICK_SIZES.items():
        single = baseline.but(network_options={"hidden": widths})
        found[target] = {"Single": single}
        for auxiliary, others in QUICK_SIZES.items():
            found[target][f"NaR ({auxiliary})"] = single.but(method=NAR, auxiliary_options={"hidden": others})
    return found


def published_code(classes: int, epochs: int) -> dict[str, Any]:
    """Return NaR's options as in the published code, by the number of classes; the warm-up fits into a short run."""
    smoothing = 0.3 if classes <= 10 else 0.5
    return {"variant": "official", "warm_up": min(20, max(1, epochs // 10)), "auxiliary_smoothing": smoothing}


def _pairs() -> Iterator[Row]:
    """Table 3: every network with every auxiliary."""
    for dataset in DATASETS:
        for network in RECIPES:
            for name, each in pairs(dataset, network).items():
                yield Row(name, each, against="" if name == "Single" else "Single")


def language_models(**settings: Any) -> dict[str, Experiment]:
    """Table 4: every method by its printed name, on Penn Treebank unless other settings are given by name."""
    baseline = Experiment(**LANGUAGE_MODEL | settings)
    nar = baseline.but(method=NAR)
    return {
        "Baseline": baseline,
        "Label noise": baseline.but(method="disturb_label", options={"rate": 0.1}),
        "LSR": baseline.but(method="label_smoothing", options={"epsilon": 0.1}),
        "CP": baseline.but(method="confidence_penalty", options={"weight": 2 / WORDS}),
        "BAN-2": generations(baseline, 2)[1],
        "NaR-small": nar.but(auxiliary_options={"hidden": baseline.network_options["hidden"] // 2}),
        "NaR-large": nar,
    }


def _combinations() -> Iterator[Row]:
    """Table 5: adversarial training and mixup, alone and with NaR."""
    for network in ("plaincnn6", "resnet32"):
        for dataset in DATASETS:
            for label, wrapper in (("AT", "adversarial_training"), ("mixup", "mixup")):
                for name, inner in ((label, "cross_entropy"), (f"{label}+NaR", NAR)):
                    yield Row(name, experiment(dataset, network, wrapper, options={"method": inner}), against=label)


def _snapshots() -> Iterator[Row]:
    """Figure 5: an auxiliary from earlier or later in training."""
    for network in ("plaincnn6", "resnet32"):
        _, second, third = generations(experiment("cifar100", network, "cross_entropy"), 3)
        for label, each in (("BAN-2", second), ("BAN-3", third), ("NaR", experiment("cifar100", network, NAR))):
            yield Row(label, each)
        for direction in ("pre", "pos"):
            each = experiment("cifar100", network, "snapshot_regularization", options={"direction": direction})
            yield Row(f"NaR-{direction}", each)


AGAINST_OTHERS = tuple(  # table 2
    Row(*named)
    for network in ("plaincnn6", "resnet32", "wrn28_10")
    for dataset in DATASETS
    for named in experiments(dataset, network).items()
)
SENSITIVITY = tuple(  # figure 4
    Row(
        f"lambda = {lam}, alpha = {alpha}",
        experiment("cifar100", "resnet32", NAR, options={"lam": lam, "alpha": alpha}),
    )
    for lam, alpha in itertools.product(GRID, GRID)
)
PAPER = Paper(
    key="nar",
    tables={
        "table2": Item("Against other ways to change the target", AGAINST_OTHERS, SEEDS),
        "table3": Item("Which auxiliary for which network", tuple(_pairs()), SEEDS),
        "table4": Item("Penn Treebank, perplexity", tuple(Row(*named) for named in language_models().items())),
        "table5": Item("With adversarial training and mixup", tuple(_combinations()), SEEDS),
    },
    figures={
        "figure4": Item("Sensitivity to lambda and alpha", SENSITIVITY, SEEDS),
        "figure5": Item("Snapshots as auxiliary", tuple(_snapshots()), SEEDS),
    },
    experiments=experiments,
)
