"""Sliders that lead through frames, all of which Python has computed."""

from collections.abc import Mapping, Sequence
from typing import Any

from IPython.display import HTML

from labelreg.book.moving.markup import HAS_KEYS, piece, tag

PART = {
    "data_part": ""
}  # marks a path or a text that differs from frame to frame; its value names a text when read out


def sliding(
    name: str,
    sliders: Mapping[str, Sequence[Any]],
    start: Sequence[int],
    frames: Sequence[Any],
    drawing: str,
    *beside: str,
) -> HTML:
    """Return a drawing, in its first frame, with sliders by name, each with its values.

    Frames are nested in the order of the sliders; each has a path or a text for every ``PART`` of the drawing, in the
    order of the drawing. ``start`` has the positions of the sliders, ``beside`` what stands next to them.
    """
    controls = [*beside]
    for (label, values), first in zip(sliders.items(), start, strict=True):
        moved = tag("input", type="range", min=0, max=len(values) - 1, value=first, aria_label=label, **HAS_KEYS)
        controls.append(tag("label", label, moved, tag("output", str(values[first]))))
    data = {"values": [*sliders.values()], "frames": frames}
    return piece("frames", name, data, drawing, tag("div", *controls, class_="controls"))
