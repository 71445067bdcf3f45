"""Every paper and the benchmark: tables and figures as experiments, each with its printed number."""

import pytest

from labelreg import methods, paths
from labelreg.experiment import PROFILES
from labelreg.papers import COLLECTIONS, cskd, papers, reported
from labelreg.reports.compare import is_runnable
from labelreg.reports.measures import METRICS

ITEMS = {(key, name): item for key, paper in COLLECTIONS.items() for name, item in paper.items.items()}
every_item = pytest.mark.parametrize("item", ITEMS.values(), ids=map("-".join, ITEMS))


def test_are_found_by_their_modules():
    assert papers.keys() >= {"alr", "kr", "nar", "cskd", "sba"}
    assert list(COLLECTIONS) == ["shared", *papers]


@pytest.mark.parametrize(
    ("key", "last_epochs", "figures"),
    [
        ("alr", 1, {"figure3": 1}),
        ("kr", 1, {"figure2": 1, "figure4": 4, "figure5": 6}),
        ("nar", 1, {"figure4": 36, "figure5": 10}),
        ("cskd", 0, {"figure2": 6, "figure3": 5}),
        ("sba", 5, {"figure2": 35, "figure3": 28}),
        ("shared", 1, {}),
    ],
)
def test_facts(key, last_epochs, figures):
    paper = COLLECTIONS[key]
    assert (paper.key, paper.last_epochs) == (key, last_epochs)
    assert {name: len(item) for name, item in paper.figures.items()} == figures
    assert paper.items == {**paper.tables, **paper.figures} != {}


# printed, or else three, and one on ImageNet
SEEDS = {("alr", "table2"): {1}, ("alr", "table3"): {3}, ("kr", "table2"): {1}, ("sba", "table1"): {1, 3}}
SEEDS |= {(key, table): {5} for key in ("alr", "kr") for table in ("table1", "table4")}
SEEDS |= {("nar", "table2"): {5}, ("nar", "table4"): {3}, ("nar", "figure4"): {5}, ("cskd", "table1"): {3}}


@pytest.mark.parametrize(("key", "item"), SEEDS)
def test_runs_of_an_item(key, item):
    found = papers[key].items[item]
    assert {found.runs(row, "paper") for row in found.rows} == SEEDS[key, item]
    assert {found.runs(row, "fast") for row in found.rows} == {min(3, seeds) for seeds in SEEDS[key, item]}


PAIRS = [
    (key, name, *pair)
    for key, paper in papers.items()
    for name, item in paper.tables.items()
    for pair in dict.fromkeys((row.dataset, row.network) for row in item.rows)
]


@pytest.mark.parametrize(("key", "name", "dataset", "network"), PAIRS)
def test_the_recipe_of_a_data_set_and_network_is_that_of_their_first_table(key, name, dataset, network):
    paper = papers[key]
    item, row = paper.nearest(dataset, network)
    assert (row.dataset, row.network) == (dataset, network)
    compared = paper.compared(dataset, network)
    assert paper.baseline in compared
    same = [each for each in paper.tables[name].rows if (each.dataset, each.network) == (dataset, network)]
    if item is paper.tables[name]:
        assert all(compared[each.method] == each.experiment for each in same if each.method in compared)
        assert {each.experiment for each in same} & set(compared.values())


@pytest.mark.parametrize(
    ("key", "asked", "found"),
    [
        ("nar", ("cifar100", "resnet20"), ("cifar100", "resnet32")),
        ("nar", ("cifar100", "resnet32"), ("cifar100", "resnet32")),
        ("nar", ("fashion_mnist", "preresnet110"), ("cifar10", "preresnet110")),
        ("cskd", ("cub200", ""), ("cub200", "imagenet_resnet18")),
        ("cskd", ("", "imagenet_densenet121"), ("cub200", "imagenet_densenet121")),
        ("sba", ("cifar100", "vgg16"), ("cifar100", "vgg16")),
        ("kr", ("imagenet", "imagenet_resnet18"), ("imagenet", "imagenet_resnet101")),
        ("kr", ("", ""), ("cifar10", "preact_resnet18")),
    ],
)
def test_what_no_table_has_takes_the_recipe_of_the_nearest_row(key, asked, found):
    row = papers[key].nearest(*asked)[1]
    assert (row.dataset, row.network) == found


@pytest.mark.parametrize(
    ("keys", "item", "names", "settings"),
    [
        ("alr", "table1", "epochs", (300,)),
        ("kr", "table1", "epochs", (200,)),
        ("alr kr", "table1", "milestones decay schedule precision", ((60, 120, 160), 0.1, "multi_step", "float32")),
        ("alr kr", "table1", "optimizer learning_rate momentum nesterov batch_size", ("sgd", 0.1, 0.9, True, 128)),
        (
            "alr kr",
            "table1",
            "augmentation subset holdout label_noise weight_decay",
            ("standard", None, 0.0, 0.0, 5e-4),
        ),
        ("alr kr", "table2", "dataset epochs batch_size milestones", ("imagenet", 90, 256, (30, 60))),
        ("alr kr", "table2", "weight_decay precision", (1e-4, "bfloat16")),
        ("alr kr", "table3", "optimizer learning_rate batch_size epochs milestones", ("adam", 1e-4, 128, 30, (10, 20))),
        ("alr kr", "table3", "decay weight_decay schedule", (0.5, 0.0, "multi_step")),
        ("alr", "figure3", "dataset method epochs", ("cifar10", "adaptive_label_regularization", 300)),
        ("alr", "figure3", "observe", (("residual_labels",),)),
        ("kr", "figure2", "dataset method epochs observe", ("cifar10", "cross_entropy", 300, ("class_distributions",))),
        ("kr", "figure5", "dataset network method epochs", ("cifar100", "preact_resnet18", "knowledge_refinery", 200)),
        ("nar", "table4", "dataset network schedule decay", ("ptb", "lstm", "plateau", 0.25)),
        ("nar", "table4", "sequence_length batch_size", (35, 20)),
        ("nar", "table4", "epochs learning_rate momentum weight_decay clip_norm", (55, 35.0, 0.0, 0.0, 10 / 35)),
        ("cskd", "", "epochs milestones decay schedule", (200, (100, 150), 0.1, "multi_step")),
        ("cskd", "", "optimizer learning_rate momentum nesterov weight_decay", ("sgd", 0.1, 0.9, False, 1e-4)),
        ("cskd", "", "augmentation subset label_noise", ("standard", None, 0.0)),
        ("cskd", "table3", "observe", (cskd.WATCHED,)),
        ("cskd", "figure2", "observe", ((*cskd.WATCHED, "feature_map"),)),
        ("sba", "", "nesterov", (False,)),
    ],
)
def test_all_rows_of_an_item_or_a_paper_have_these_settings(keys, item, names, settings, protocol):
    for key in keys.split():
        every = [each for name, rows in papers[key].items.items() if item in ("", name) for each in rows]
        assert protocol.values(every, *names.split()) == {settings}


class TestItem:
    @every_item
    def test_is_a_sequence_of_the_experiments_of_its_rows(self, item):
        assert item.title
        assert [item[index] for index in range(len(item))] == list(item) == [row.experiment for row in item.rows] != []
        assert item[-1] in item
        assert all(item.find(row.dataset, row.network, row.method) is row for row in item.rows)
        assert item.find("digits", "mlp", "none of these") is None

    @every_item
    def test_names_are_unique_and_runs_too_at_every_full_size_profile(self, item):
        assert len({(row.dataset, row.network, row.method) for row in item.rows}) == len(item)
        for profile in PROFILES.keys() - {"quick"}:
            assert len({experiment.at(profile) for experiment in item}) == len(item)

    @every_item
    def test_begins_with_seed_0_and_has_the_teachers_it_needs(self, item):
        for each in item:
            assert each.seed == 0
            roles = methods.network_roles(each.method, each.options)
            assert any("teacher" in role for role in roles) == (each.teacher is not None)

    @every_item
    def test_quick_versions_are_small(self, item):
        for quick in (experiment.at("quick") for experiment in item):
            assert (quick.dataset, quick.network, quick.subset) == ("digits", "mlp", 200)
            assert quick.teacher is None or quick.teacher.network == "mlp"

    def test_texts_are_fast_with_adam_in_ten_epochs(self):
        fast = [each.at("fast") for key in ("alr", "kr") for each in papers[key].tables["table3"]]
        recipes = {(each.optimizer, each.schedule, each.epochs, each.precision) for each in fast}
        assert recipes == {("adam", "one_cycle", 10, "float32")}
        rates = {each.network: each.learning_rate for each in fast}
        assert rates == {"fasttext": 3e-2, "textrnn": 3e-3, "charcnn": 1e-3, "transformer": 1e-3}

    @pytest.mark.parametrize("key", ["alr", "kr"])
    def test_every_cell_of_the_tables_of_texts_can_be_run(self, key):
        rows = papers[key].tables["table3"].rows
        assert [is_runnable(row) for row in rows] == [True] * 24


@pytest.mark.parametrize("paper", COLLECTIONS.values(), ids=COLLECTIONS)
def test_every_row_of_a_table_is_compared_with_one_of_its_table(paper):
    for item in paper.tables.values():
        for row in item.rows:
            assert item.find(row.dataset, row.network, row.against or paper.baseline) or row.method == "Single"


class TestReported:
    @pytest.mark.parametrize("key", sorted(path.stem for path in paths.reported_root().glob("*.csv")))
    def test_has_the_agreed_columns_and_kinds(self, key):
        table = reported(key)
        assert tuple(table.columns) == ("item", "dataset", "network", "method", "metric", "value", "std")
        assert not table.duplicated(["item", "dataset", "network", "method", "metric"]).any()
        assert table.drop(columns=["method", "std"]).notna().all(axis=None)
        assert table[table.metric.isin(METRICS)].value.between(0, 100).all()
        assert table["std"].dropna().between(0, 10).all()

    @pytest.mark.parametrize("key", papers)
    def test_every_measured_number_has_its_experiment_and_every_experiment_its_number(self, key):
        measured = reported(key).query("metric in @METRICS")
        printed = set(measured[["item", "dataset", "network", "method"]].itertuples(index=False, name=None))
        tables = papers[key].tables.items()
        rows = {(name, row.dataset, row.network, row.method) for name, item in tables for row in item.rows}
        assert printed == rows

    def test_unknown_paper(self):
        with pytest.raises(ValueError, match="no paper with reported numbers is called 'krr'; did you mean kr"):
            reported("krr")


class TestBenchmark:
    """Every method under one protocol, as the classes of the methods name themselves."""

    VARIED = {"method": "cross_entropy", "options": {}, "teacher": None, "auxiliary_options": {}}  # noqa: RUF012
    ROWS = {  # noqa: RUF012
        label: (name, options) for name in methods.names() for label, options in methods.find(name).benchmark.items()
    }

    @pytest.mark.parametrize("name", ["resnet8", "resnet18", "resnet32", "plaincnn6"])
    def test_images(self, name):
        item = COLLECTIONS["shared"].tables[name]
        assert {row.method for row in item.rows} == self.ROWS.keys()
        for row in item.rows:
            method, options = self.ROWS[row.method]
            teacher = item[0] if method == "born_again" else None
            assert row.experiment == item[0].but(method=method, options=options, teacher=teacher)
        assert item.rows[0].method == COLLECTIONS["shared"].baseline
        assert {experiment.but(**self.VARIED) for experiment in item} == {item[0]}
        assert (item[0].dataset, item[0].network, item[0].weight_decay) == ("cifar100", name, 5e-4)

    def test_the_papers_methods_come_after_the_baseline_and_before_the_others(self):
        found = [methods.find(experiment.method) for experiment in COLLECTIONS["shared"].tables["resnet18"]]
        assert [bool(method.paper) for method in found[1:]] == sorted((bool(m.paper) for m in found[1:]), reverse=True)

    def test_language_models_are_those_of_nar(self):
        text = COLLECTIONS["shared"].tables["lstm"]
        assert {each.method for each in text} == {each.method for each in papers["nar"].tables["table4"]}
        assert {each.method for each in text} == {name for name in methods.names() if methods.find(name).on_text}
        assert {each.but(**self.VARIED) for each in text} == {text[0]}
        assert [each.auxiliary_options["hidden"] for each in text if each.auxiliary_options] == [200, 100]

    @pytest.mark.parametrize(("name", "subset"), [("ag_news", 15_000), ("20news", None)])
    def test_texts_are_learned_by_the_protocol_of_the_two_papers_with_all_four_networks(self, name, subset):
        table = COLLECTIONS["shared"].tables[name]
        for network in ("fasttext", "textrnn", "charcnn", "transformer"):
            for ours, key, theirs in (("Cross-entropy", "kr", "Baseline"), ("ALR-S", "alr", "ALR-S")):
                printed = papers[key].tables["table3"].find("ag_news", network, theirs).experiment
                assert table.find(name, network, ours).experiment == printed.but(dataset=name, subset=subset)
        assert len(table) == 16

    def test_classes_that_are_related_are_watched_where_the_table_needs_the_same_runs(self):
        tables = COLLECTIONS["shared"].tables
        for row in tables["newsgroups"].rows[:2]:
            assert row.experiment.but(observe=()) == tables["20news"].find("20news", "textrnn", row.method).experiment
        assert [each.options.get("lr_mult") for each in tables["newsgroups"]] == [None, 1.0, 100.0]
