"""Copy into the book what its pages load of MathJax: a tenth of what sphinx-mathjax-offline would copy."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

FONTS, MACROS = "output/chtml/fonts/woff-v2/*", "input/tex/extensions/*.js"
SPEECH = "a11y/*.js", "sre/mathmaps/base.json", "sre/mathmaps/en.json"


def copy(app, exception):
    if exception:
        return
    with as_file(files("sphinx-mathjax-offline") / "static" / "mathjax") as source:
        for path in (path for pattern in ("tex-chtml.js", FONTS, MACROS, *SPEECH) for path in source.glob(pattern)):
            target = Path(app.outdir, "_static", "mathjax", path.relative_to(source))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def setup(app):
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
