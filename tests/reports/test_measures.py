"""What recorded runs say."""

import numpy as np
import pytest

from labelreg.experiment import Experiment
from labelreg.reports import epochs_until
from labelreg.results import Result


@pytest.mark.parametrize(("error", "epochs"), [(0.5, 1), (0.3, 2), (0.25, 3), (0.1, 4)])
def test_epochs_until_the_mean_error_is_as_low(error, epochs):
    histories = ([0.6, 0.4, 0.2], [0.4, 0.2, 0.2])  # their mean is 0.5, 0.3, 0.2
    runs = [Result(Experiment(), {"test_error": np.array(each)}, {}, {}) for each in histories]
    assert epochs_until(runs, error + 1e-9) == epochs
