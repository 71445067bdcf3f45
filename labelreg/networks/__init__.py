"""Networks by name.

``build("resnet32", num_classes=100)`` returns a network, ``names()`` lists them. Every module of this package is
imported here, so a new network takes one new file: a builder under ``@register("name")`` (see
``labelreg.networks.registry``). Unknown names and invalid values raise ``ValueError`` with a message that says what
would be right.

The last layer of every network is an ``nn.Linear``, the classifier: ``classifier(network)`` finds it, and
``features(network, inputs)`` returns the logits together with the classifier's input.
``injectable(network, inputs)`` lists the layers whose activations ``inject`` can replace by a larger batch, for a loss
on virtual samples.
"""

import importlib
import pkgutil

from labelreg.networks.features import classifier, count_parameters, features
from labelreg.networks.injection import check_injectable, inject, injectable
from labelreg.networks.language_model import reset_state
from labelreg.networks.registry import build, complete_options, input_shape, names, reading, register
from labelreg.networks.words import PADDING, UNKNOWN

__all__ = ["build", "complete_options", "count_parameters", "input_shape", "names", "reading", "register"]
__all__ += ["PADDING", "UNKNOWN", "check_injectable", "classifier", "features", "inject", "injectable", "reset_state"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
