"""What the tests of several papers share."""

from types import SimpleNamespace

import pytest


def values(experiments, *names):
    """The combinations of settings that occur."""
    return {tuple(getattr(experiment, name) for name in names) for experiment in experiments}


def find(item, **names):
    """The rows of a table or figure with these names."""
    return [row for row in item.rows if all(getattr(row, name) == value for name, value in names.items())]


def methods_of(items, label):
    """The methods with all options that stand under a printed name."""
    return {(row.experiment.method, row.experiment.options) for item in items for row in find(item, method=label)}


@pytest.fixture
def protocol():
    """Functions that read tables and figures."""
    return SimpleNamespace(values=values, find=find, methods_of=methods_of)
