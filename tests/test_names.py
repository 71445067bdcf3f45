"""Names as they are printed."""

import pytest

from labelreg import data, networks
from labelreg.names import PRINTED, printed


@pytest.mark.parametrize("name", [*networks.names(), *data.names()])
def test_everything_has_a_printed_name(name):
    assert name.removeprefix("imagenet_") in PRINTED


def test_names_for_large_images_are_printed_as_the_others():
    assert printed("imagenet_resnet50") == "ResNet-50"
    assert printed("a network of somebody's") == "a network of somebody's"


def test_no_two_networks_have_one_name():
    small = [name for name in networks.names() if not name.startswith("imagenet_")]
    assert len(set(map(printed, small))) == len(small)
