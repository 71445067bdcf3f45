"""Copy into the book what its pages load of MathJax: a tenth of what sphinx-mathjax-offline would copy."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

# the bundle of the pages, its fonts, what formulas load when they need it, and speech in English
LOADED = ("tex-chtml.js", "output/chtml/fonts/woff-v2/*", "input/tex/extensions/*.js", "a11y/*", "sre/mathmaps/[be]*.json")


def copy(app, exception):
    if exception:
        return
    with as_file(files("sphinx-mathjax-offline") / "static" / "mathjax") as source:
        for path in (path for pattern in LOADED for path in source.glob(pattern)):
            target = Path(app.outdir, "_static", "mathjax", path.relative_to(source))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def setup(app):
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
