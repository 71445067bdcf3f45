"""Networks by name.

`build("resnet32", num_classes=100)` returns a network, `names()` lists all of them. To add networks, add a module to
this package with a builder under `@register("name")`: every module of the package is imported here, so nothing else
needs to change (see `labelreg.networks.registry` for what a builder must accept).

Whatever the network, its last layer is an `nn.Linear`, the classifier: `classifier(network)` returns it and
`features(network, inputs)` returns the logits together with what went into it. `injectable(network, inputs)` lists the
layers whose activations `inject` can replace by more of them, for a loss on virtual samples.
"""

import importlib
import pkgutil

from labelreg.networks.features import classifier, count_parameters, features
from labelreg.networks.injection import check_injectable, inject, injectable, tail
from labelreg.networks.language_model import reset_state
from labelreg.networks.registry import build, names, options, register

__all__ = [
    "build",
    "check_injectable",
    "classifier",
    "count_parameters",
    "features",
    "inject",
    "injectable",
    "names",
    "options",
    "register",
    "reset_state",
    "tail",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
