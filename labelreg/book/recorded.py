"""Tables and figures of the papers from recorded runs: drawn where there are any, named where there are none."""

from collections.abc import Callable, Mapping, Sequence

from IPython.display import HTML, display
from matplotlib.figure import Figure

from labelreg.papers import COLLECTIONS, Row
from labelreg.reports import progress, recorded_runs
from labelreg.results import Result


def recorded(collection: str, item: str, draw: Callable[[Mapping[Row, Sequence[Result]]], Figure]) -> Figure | HTML:
    """Draw the recorded runs of a table or figure, such as ``"kr"`` and ``"figure5"``, under a line on them.

    ``draw`` is given the rows that have runs, see :func:`labelreg.reports.recorded_runs`. The line is that of
    :func:`labelreg.reports.progress`; where there are no runs, it is all there is.
    """
    shown = COLLECTIONS[collection].items[item]
    line = HTML(f"<p>{progress(collection, shown)}</p>")
    runs = recorded_runs(shown.rows)
    if not runs:
        return line
    display(line)
    return draw(runs)
