"""The result that the book begins with: every method against cross-entropy, in every setting that is recorded.

``python -m labelreg.book.overview FILE.svg`` draws it as it is shown in the README.
"""

import sys
from collections.abc import Iterable, Mapping

import pandas as pd
from pandas.io.formats.style import Styler

from labelreg.book.figures import difference_columns, method_style, set_style
from labelreg.book.tables import differences, recorded_against_baseline
from labelreg.papers import BENCHMARK
from labelreg.papers.shared import BASELINE
from labelreg.reports import recorded_runs
from labelreg.reports.measures import p_values
from labelreg.results import Result

# heading to table of the benchmark and profile
SETTINGS = {
    "ResNet-8,\nCIFAR-100": ("resnet8", "paper"),
    "PlainCNN-6,\nCIFAR-100": ("plaincnn6", "fast"),
    "200 digits,\nclean labels": ("digits", "paper"),
    "200 digits,\n30 % redrawn": ("digits_redrawn", "paper"),
}


def settings(store: Iterable[Result] | None = None) -> dict[str, pd.DataFrame]:
    """Return tables of :func:`.recorded_against_baseline` by setting; ``store`` is ``data/results`` by default."""
    results = store if store is None else list(store)
    return {
        heading: recorded_against_baseline(recorded_runs(BENCHMARK.tables[item].rows, profile, results), BASELINE)
        for heading, (item, profile) in SETTINGS.items()
    }


def colours() -> dict[str, str]:
    """Return the colour of every method of the benchmark by its name there, in the order of its tables."""
    return {row.method: method_style(row.experiment)["color"] for row in BENCHMARK.tables["digits"].rows}


def show(tables: Mapping[str, pd.DataFrame], column: str = "difference") -> Styler:
    """Show one column of several tables (see :func:`settings`) side by side; missing runs leave a cell empty.

    A star marks a difference that is significant at 5 % after Holm's correction for its column.
    """
    shown = {}
    for heading, table in tables.items():
        if column == "difference":
            shown[heading] = differences(table, *p_values([table]))
        else:
            shown[heading] = table[column].map("{:.2f}".format if column == "nll" else "{:.1f}".format)
    rows = [label for label in colours() if any(label in table.index for table in tables.values())]
    frame = pd.DataFrame(shown, dtype=object).reindex(rows).fillna("").rename_axis(None)
    if column == "difference":
        frame = frame.drop(index=BASELINE, errors="ignore")
    return frame.style.set_properties(**{"text-align": "right"})


def written(tables: Mapping[str, pd.DataFrame]) -> str:
    """Write what the figure shows as text, which identifies the numbers that a file was drawn from."""
    return "; ".join(
        f"{heading} {method} {row.difference:.2f} {row.half_width:.2f}".replace("\n", " ")
        for heading, table in tables.items()
        for method, row in table.iterrows()
    )


if __name__ == "__main__":
    set_style()
    found = settings()
    figure = difference_columns(found, colours(), BASELINE)
    figure.savefig(sys.argv[1], facecolor="white", metadata={"Date": None, "Description": written(found)})
