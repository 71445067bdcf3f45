"""The protocol of NaR, as far as the paper prints it."""

import pytest

from labelreg.experiment import Experiment
from labelreg.papers import nar, papers

PAPER = papers["nar"]
NETWORKS = ("plaincnn6", "resnet32", "preresnet110", "wrn28_10")


def test_recipes_by_network(protocol):
    names = ("epochs", "milestones", "decay", "weight_decay", "learning_rate", "batch_size", "nesterov")
    slow = (300, (150, 225), 0.1, 1e-4, 0.1, 128, True)
    expected = {
        "plaincnn6": (200, (60, 120, 160), 0.1, 5e-4, 0.1, 128, True),
        "resnet32": slow,
        "preresnet110": slow,
        "wrn28_10": (200, (60, 120, 160), 0.2, 5e-4, 0.1, 128, True),
    }
    images = [each for item in PAPER.items.values() for each in item if each.network != "lstm"]
    assert protocol.values(images, "network", *names) == {(network, *recipe) for network, recipe in expected.items()}
    assert protocol.values(images, "dataset") == {("cifar10",), ("cifar100",)}


def test_born_again_networks_learn_from_the_generation_before(protocol):
    table = PAPER.tables["table2"]
    for second in protocol.find(table, method="BAN-2"):
        first, third = (table.find(second.dataset, second.network, name) for name in ("Baseline", "BAN-3"))
        assert (second.experiment.teacher, third.experiment.teacher) == (first.experiment, second.experiment)
        assert first.experiment == second.experiment.but(method="cross_entropy")
        assert third.experiment.with_seeds(2)[1].teacher.teacher.seed == 1


def test_table_3_pairs_every_network_with_every_auxiliary(protocol):
    table = PAPER.tables["table3"]
    pairs = [row for row in table.rows if row.method != "Single"]
    found = {(row.dataset, row.network, row.method): row.experiment.options["auxiliary"] for row in pairs}
    assert found == {
        (dataset, network, f"NaR ({auxiliary})"): "" if auxiliary == network else auxiliary
        for dataset in ("cifar10", "cifar100")
        for network in NETWORKS
        for auxiliary in NETWORKS
    }
    assert {row.against for row in pairs} == {"Single"}
    assert {row.experiment.method for row in protocol.find(table, method="Single")} == {"cross_entropy"}


def test_quick_pairs_cross_the_sizes_of_a_perceptron():
    base = Experiment().at("quick")
    pairs = nar.quick_pairs(base)
    widths = {
        (target, name): (each.network_options["hidden"], each.auxiliary_options.get("hidden"))
        for target, group in pairs.items()
        for name, each in group.items()
    }
    sizes = nar.QUICK_SIZES
    expected = {(target, "Single"): (sizes[target], None) for target in sizes}
    expected |= {(one, f"NaR ({other})"): (sizes[one], sizes[other]) for one in sizes for other in sizes}
    assert widths == expected
    assert pairs["large"]["NaR (large)"] == base.but(method=nar.NAR)


@pytest.mark.parametrize(
    ("classes", "epochs", "smoothing", "warm_up"), [(10, 200, 0.3, 20), (100, 300, 0.5, 20), (10, 5, 0.3, 1)]
)
def test_published_code_smooths_by_the_data_set_and_warms_up_for_twenty_epochs(classes, epochs, smoothing, warm_up):
    options = nar.published_code(classes, epochs)
    assert options == {"variant": "official", "auxiliary_smoothing": smoothing, "warm_up": warm_up}


class TestPennTreebank:
    TABLE = PAPER.tables["table4"]

    def test_network(self):
        for experiment in self.TABLE:
            options = experiment.network_options
            assert (options["hidden"], options["layers"], options["dropout"]) == (1500, 2, 0.65)

    @pytest.mark.parametrize(
        ("label", "method", "auxiliary"),
        [
            ("Baseline", "cross_entropy", None),
            ("Label noise", "disturb_label", None),
            ("LSR", "label_smoothing", None),
            ("CP", "confidence_penalty", None),
            ("BAN-2", "born_again", None),
            ("NaR-small", "network_as_regularization", 750),
            ("NaR-large", "network_as_regularization", 1500),
        ],
    )
    def test_methods_under_their_printed_names(self, label, method, auxiliary, protocol):
        (row,) = protocol.find(self.TABLE, method=label)
        assert (row.experiment.method, row.experiment.auxiliary_options.get("hidden")) == (method, auxiliary)

    @pytest.mark.parametrize(("label", "strength"), [("Label noise", 0.1), ("LSR", 0.1), ("CP", 2 / 35)])
    def test_strengths_are_those_of_pereyra_et_al(self, label, strength, protocol):
        (row,) = protocol.find(self.TABLE, method=label)
        assert strength in row.experiment.options.values()

    def test_other_settings_reach_the_auxiliary(self):
        quick = nar.language_models(**nar.QUICK_LANGUAGE_MODEL)
        assert {each.dataset for each in quick.values()} == {"pydoc"}
        assert quick["NaR-small"].auxiliary_options["hidden"] == 32
        assert quick["BAN-2"].teacher == quick["Baseline"]


def test_table_5_puts_nar_inside_both(protocol):
    table = PAPER.tables["table5"]
    assert {(row.method, row.experiment.method, row.experiment.options["method"]) for row in table.rows} == {
        ("AT", "adversarial_training", "cross_entropy"),
        ("AT+NaR", "adversarial_training", "network_as_regularization"),
        ("mixup", "mixup", "cross_entropy"),
        ("mixup+NaR", "mixup", "network_as_regularization"),
    }
    assert {row.against for row in table.rows} == {"AT", "mixup"}
    options = [row.experiment.options for row in protocol.find(table, method="mixup+NaR")]
    assert {(each["alpha"], each["method.alpha"], each["method.lam"]) for each in options} == {(1.0, 0.1, 0.5)}


def test_figure_4_is_a_grid_with_the_chosen_point():
    points = {(each.options["lam"], each.options["alpha"]) for each in PAPER.figures["figure4"]}
    assert points == {(lam, alpha) for lam in nar.GRID for alpha in nar.GRID}
    assert (min(nar.GRID), max(nar.GRID)) == (0.01, 0.9)
    chosen = PAPER.tables["table2"].find("cifar100", "resnet32", "NaR").experiment
    assert (chosen.options["lam"], chosen.options["alpha"]) == (0.5, 0.1)
    assert chosen in PAPER.figures["figure4"]


def test_figure_5_takes_snapshots_from_earlier_and_later(protocol):
    figure = PAPER.figures["figure5"]
    assert protocol.values(figure, "dataset", "network") == {("cifar100", "plaincnn6"), ("cifar100", "resnet32")}
    snapshots = {row.method: row.experiment.options for row in figure.rows if row.method.startswith("NaR-")}
    assert {label: options["direction"] for label, options in snapshots.items()} == {"NaR-pre": "pre", "NaR-pos": "pos"}
    again = [row for row in figure.rows if row.method in ("NaR", "BAN-2", "BAN-3")]
    assert {row.experiment for row in again} <= set(PAPER.tables["table2"])
