"""The elements of the drawings, and sliders that move through frames, all of which Python has computed."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from IPython.display import HTML

SCRIPT, STYLE = (Path(__file__).with_name(f"moving.{kind}").read_text() for kind in ("js", "css"))

HAS_KEYS = {"data_lm_suppress_shortcuts": "true"}  # for what is moved: otherwise JupyterLab takes the arrow keys
# marks a path or a text that differs from frame to frame; its value names a text for screen readers
PART = {"data_part": ""}


def tag(name: str, *inside: str, **attributes: object) -> str:
    """Write an element; underscores of attributes become hyphens, but one at the end, as in ``class_``, is dropped."""
    names = {key.removesuffix("_").replace("_", "-"): value for key, value in attributes.items()}
    written = "".join(f' {key}="{escape(str(value))}"' for key, value in names.items())
    return f"<{name}{written}>{''.join(inside)}</{name}>"


def text(words: str, x: float, y: float, anchor: str = "start", **attributes: object) -> str:
    """Write words at a point of a drawing, where they start, are centred or end."""
    return tag("text", escape(words), x=x, y=y, text_anchor=anchor, **attributes)


def path(d: str, colour: str = "currentColor", width: float = 1, **attributes: object) -> str:
    """Write a line; for a dot, give it no length and a round ``stroke_linecap``."""
    return tag("path", d=d, **{"fill": "none", "stroke": ink(colour), "stroke_width": width} | attributes)


def ink(colour: str) -> str:
    """Return a colour of a drawing; black becomes the colour of the surrounding text, which may be white."""
    return "currentColor" if colour == "#000000" else colour


def piece(kind: str, name: str, data: Mapping[str, Any], *inside: str) -> HTML:
    """Return a drawing with its name, and with what the script needs to move a drawing of this kind."""
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    held = f'<script type="application/json">{written}</script>'
    drawn = tag("div", *inside, held, class_="labelreg-moving", data_moving=kind, role="group", aria_label=name)
    return HTML(f"<style>{STYLE}</style>{drawn}<script>{SCRIPT}</script>")


def sliding(
    name: str,
    sliders: Mapping[str, Sequence[Any]],
    start: Sequence[int],
    frames: Sequence[Any],
    drawing: str,
    *beside: str,
) -> HTML:
    """Return a drawing, in its first frame, with sliders: ``sliders`` maps the name of each to its values.

    Frames are nested in the order of the sliders; each has a path or a text for every ``PART`` of the drawing, in the
    order of the drawing. ``start`` has the first positions of the sliders, ``beside`` the elements next to them.
    """
    controls = [*beside]
    for (label, values), first in zip(sliders.items(), start, strict=True):
        moved = tag("input", type="range", min=0, max=len(values) - 1, value=first, aria_label=label, **HAS_KEYS)
        controls.append(tag("label", label, moved, tag("output", str(values[first]))))
    data = {"values": [*sliders.values()], "frames": frames}
    return piece("frames", name, data, drawing, tag("div", *controls, class_="controls"))
