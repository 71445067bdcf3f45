"""Every method under one protocol: the same network, schedule, weight decay and seeds.

The protocol is the package's default, that of the KR paper: SGD with Nesterov momentum, batches of 128, 200 epochs, a
weight decay of 5e-4; or 30 epochs of one cycle at the ``fast`` profile. All methods have their default options, so none
was tuned to the protocol; the peak of the cycle, twice the usual learning rate, is the one setting that was chosen.

Two protocols are for machines without a GPU. ResNet-8 trains for eight epochs of one cycle on all of CIFAR-100, with
clean and with redrawn labels, and on CIFAR-10. On a tenth of CIFAR-100 it trains for 80 epochs, which are as many
steps. A language model of 200 units learns Penn Treebank like PyTorch's word-level example at its defaults: six epochs
with a dropout of 0.2, a learning rate of 20 that is multiplied by 0.25 when the validation set does not improve, and
gradients clipped at 0.25. It is trained with the methods of NaR's table 4.

Text classification uses the protocol that ALR and KR share (see :mod:`labelreg.papers.decoupled`), also with label
smoothing, which their tables lack. For AG News, 15,000 training texts are used, the first of each class. Which texts
these are depends on the file: in the subset of 15,181 rows, two classes have only 2,825 texts each.
``training_digest``, which is recorded with a run, tells one choice of texts from another.
"""

from collections.abc import Iterator

from labelreg import methods
from labelreg.experiment import Experiment
from labelreg.names import printed
from labelreg.papers import alr, kr, nar
from labelreg.papers.decoupled import TEXT, TEXT_NETWORKS
from labelreg.papers.paper import Item, Paper, Row

BASELINE = "Cross-entropy"


def compared(baseline: Experiment) -> Item:
    """Return the table of all methods, each at its defaults, under the protocol of a baseline."""
    title = f"Methods on {printed(baseline.dataset)}, {printed(baseline.network)}"
    if baseline.subset:
        title += f", {baseline.subset:,} images"
    if baseline.label_noise:
        title += f", {baseline.label_noise:.0%} of labels redrawn"
    return Item(title, tuple(_rows(baseline, on_text=False)))


def language_models(baseline: Experiment) -> Item:
    """Return the methods of NaR's table 4; NaR with an auxiliary like the target, and with one half as wide."""
    rows = tuple(_rows(baseline, on_text=True))
    like = next(row.experiment for row in rows if row.method == "NaR")
    narrow = like.but(auxiliary_options={"hidden": baseline.network_options["hidden"] // 2})
    title = f"Methods on {printed(baseline.dataset)}, {printed(baseline.network)}"
    return Item(title, (*rows, Row("NaR, half as wide", narrow)))


def text_classification(title: str, baseline: Experiment) -> Item:
    """Return the methods of table 3 of ALR and KR, and label smoothing, on a data set with all text networks."""
    rows = [
        Row(label, baseline.but(network=network, method=method, options=options))
        for network in TEXT_NETWORKS
        for label, (method, options) in ON_TEXTS.items()
    ]
    return Item(f"Classes of texts, {title}", tuple(rows))


def related_classes(baseline: Experiment) -> Item:
    """Return the runs that show which classes of a data set a network takes for related, and ALR's matrix too.

    One run trains the matrix at a hundred times the default learning rate, at which it stays near its initial value
    with SGD.
    """
    method, options = ON_TEXTS["ALR-S"]
    residual = baseline.but(method=method, options=options, observe=("class_distributions", "residual_labels"))
    rows = {
        BASELINE: baseline.but(observe="class_distributions"),
        "ALR-S": residual,
        "ALR-S, lr_mult=100": residual.but(options=options | {"lr_mult": 100.0}),
    }
    return Item(f"Related classes of {printed(baseline.dataset)}", tuple(Row(*row) for row in rows.items()))


def _rows(baseline: Experiment, on_text: bool) -> Iterator[Row]:
    """One row per method and variant that the method's class names for the benchmark; the baseline comes first."""
    classes = {name: each for name in methods.names() if (each := methods.find(name)).on_text or not on_text}
    for name in sorted(classes, key=lambda name: (BASELINE not in classes[name].benchmark, not classes[name].paper)):
        variants = classes[name].benchmark or {classes[name].title: {}} if on_text else classes[name].benchmark
        for label, options in variants.items():
            teaches = "teacher" in methods.network_roles(name, options)
            yield Row(label, baseline.but(method=name, options=options, teacher=baseline if teaches else None))


SMALL = Experiment(dataset="cifar100", network="resnet8", epochs=8, learning_rate=0.2, schedule="one_cycle")
# what the live runs of the book train
DIGITS = Experiment(observe=("embedding", "robustness")).at("quick")
SMALL_LANGUAGE_MODEL = nar.LANGUAGE_MODEL | {"epochs": 6, "learning_rate": 20.0, "clip_norm": 0.25}
SMALL_LANGUAGE_MODEL |= {"network_options": {"hidden": 200, "dropout": 0.2, "init_range": 0.1}}
ON_TEXTS = {
    BASELINE: alr.METHODS["Baseline"],
    "Label smoothing": alr.METHODS["SLR"],
    "ALR-S": alr.METHODS["ALR-S"],
    "KR-LS": kr.METHODS["KR-LS"],
}
AG_NEWS = Experiment(dataset="ag_news", subset=15_000, network="textrnn", **TEXT)
NEWSGROUPS = Experiment(dataset="20news", network="textrnn", **TEXT)
BENCHMARK = Paper(
    key="shared",
    baseline=BASELINE,
    tables={
        "resnet18": compared(Experiment(dataset="cifar100", network="resnet18")),
        "resnet32": compared(Experiment(dataset="cifar100", network="resnet32")),
        "plaincnn6": compared(Experiment(dataset="cifar100", network="plaincnn6")),
        "resnet8": compared(SMALL),
        "resnet8_cifar10": compared(SMALL.but(dataset="cifar10")),
        "resnet8_tenth": compared(SMALL.but(subset=5_000, epochs=80)),
        "resnet8_redrawn": compared(SMALL.but(label_noise=0.3)),
        "digits": compared(DIGITS),
        "digits_redrawn": compared(DIGITS.but(label_noise=0.3, observe=())),
        "lstm": language_models(Experiment(**SMALL_LANGUAGE_MODEL)),
        "ag_news": text_classification("AG News, 15k subset", AG_NEWS),
        "newsgroups": related_classes(NEWSGROUPS),  # before the table, for which what was observed is run too
        "20news": text_classification("20 Newsgroups", NEWSGROUPS),
    },
)
