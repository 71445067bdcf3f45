"""What a method is called and drawn in."""

from labelreg import methods
from labelreg.experiment import Experiment


def method_name(method: str) -> str:
    """Return what a method is called where there is little room, such as ``"KR"``."""
    return methods.find(method).title


def method_style(experiment: Experiment) -> dict[str, str]:
    """Return the colour and line style of an experiment's method, as keywords for a line.

    The line is dashed where label smoothing is added. Of a method inside another, it has the colour of the one that a
    paper of this book introduces, and is dash-dotted.
    """
    options = dict(experiment.options)
    outer, inner = (methods.find(name) for name in (experiment.method, options.get("method") or "cross_entropy"))
    if inner is not methods.CrossEntropy:
        return {"color": (inner if inner.paper and not outer.paper else outer).colour, "linestyle": "-."}
    return {"color": outer.colour, "linestyle": "--" if options.get("smoothing", 0) > 0 else outer.linestyle}
