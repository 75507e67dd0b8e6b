"""How every plot of a report looks: matplotlib draws it, the page's own style sheet gives fonts and colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from typing import Any

from edgecnn.errors import require
from edgecnn.formats.precision import PRECISIONS
from edgecnn.report.markup import Markup, element
from edgecnn.units import format_bytes, format_count, format_ns

#: Role → the colour it is drawn in; on the page it is the CSS variable of the role, which light and dark set.
COLOURS: Mapping[str, str] = {
    "ink": "#1b2430",
    "muted": "#5d6878",
    "line": "#d9dee6",
    "page": "#fdfefe",
    "float": "#2f6db3",
    "half": "#0a8f86",
    "weights": "#8a5cc2",
    "integer": "#d98a00",
    "wide": "#a65a35",
    "bad": "#b8123f",
}
#: Types of (weights, values) → the role of such files in a plot; 4-bit weights are drawn as 8-bit ones.
_ROLES = {
    ("float32", "float32"): "float",
    ("float16", "float32"): "half",
    ("float16", "float16"): "half",
    ("int8", "float32"): "weights",
    ("int8", "int8"): "integer",
    ("int8", "int16"): "wide",
    ("int16", "int16"): "wide",
    ("int8 or float32", "int8 or float32"): "integer",
}
#: Of every plot, in points, which are the units of its drawing. A phone of 390 pixels shows one as about one pixel.
WIDTH = 350.0
TEXT = 11.0  # size of text, in points
SMALL = 10.0

_SETTINGS = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "edgecnn",  # the same plot gets the same ids
    "font.family": "DejaVu Sans",  # for measuring alone; it is wider than what browsers use
    "font.size": TEXT,
    "path.simplify": False,
}


def role_of(precision: str) -> str:
    """Return the role in `COLOURS` of files of *precision*, a name of `PRECISIONS`."""
    row = PRECISIONS.get(precision, PRECISIONS["fp32"])
    return _ROLES[row.weights.replace("int4", "int8"), row.activations]


def describe_precision(precision: str) -> str:
    """Return what the weights and values of *precision* are: `8-bit integer weights, float32 values`."""
    row = PRECISIONS.get(precision)
    if row is None:
        return "unknown"
    if row.weights == row.activations:
        return f"{row.weights} weights and values"
    return f"{row.weights} weights, {row.activations} values"


def new_figure(height: float) -> Any:
    """Return an empty matplotlib `Figure`, `WIDTH` wide and *height* points high."""
    return require("matplotlib.figure", "report").Figure(figsize=(WIDTH / 72, height / 72), dpi=72)


def add_axes(figure: Any, left: float, bottom: float, width: float, height: float) -> Any:
    """Return bare axes at that place, in points from the figure's lower left; what is drawn outside is not clipped.

    Args:
        figure: from `new_figure`.
        left: distance from the left side of the figure.
        bottom: distance from its lower side.
        width: of the axes.
        height: of the axes.
    """
    full = figure.get_figheight() * 72
    axes = figure.add_axes((left / WIDTH, bottom / full, width / WIDTH, height / full))
    axes.patch.set_visible(False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=COLOURS["muted"], pad=4)
    axes.set_axisbelow(True)
    return axes


def grid(axes: Any, axis: str) -> None:
    """Draw the thin lines at the ticks of *axis*, `x` or `y`."""
    axes.grid(axis=axis, color=COLOURS["line"], linewidth=0.8)


def write(axes: Any, x: float, y: float, text: str, role: str = "ink", **options: Any) -> None:
    """Write *text* at data coordinates, or as *options* say; `$` is a dollar sign, not mathematics.

    Args:
        axes: from `add_axes`.
        x: place of the text.
        y: place of its middle line.
        text: one line.
        role: of its colour, a key of `COLOURS`.
        options: as `Axes.text` of matplotlib takes them.
    """
    given = {"fontsize": TEXT, "va": "center", "parse_math": False, "color": COLOURS[role], **options}
    axes.text(x, y, text, **given)


def title_axis(axes: Any, text: str) -> None:
    """Say below the x axis what it shows."""
    axes.set_xlabel(text, fontsize=SMALL, color=COLOURS["muted"], labelpad=5)


def scale_axis(axis: Any, kind: str, most: float, ticks: int = 4) -> None:
    """Put about *ticks* round ticks from 0 to *most* on *axis*; *kind*: `bytes`, `ns`, `count`.

    Args:
        axis: matplotlib's, x or y.
        kind: what the numbers are: `bytes`, `ns` or `count`.
        most: the end of the axis.
        ticks: about how many.
    """
    step = _byte_step(most / ticks) if kind == "bytes" else _decimal_step(most / ticks)
    places = [index * step for index in range(math.floor(most / step) + 1)]
    texts = {"bytes": format_bytes, "ns": format_ns, "count": format_count}
    axis.set_ticks(places, ["0" if place == 0 else texts[kind](place).replace(".0 ", " ") for place in places])


def _byte_step(size: float) -> float:
    """Return the power of two next above *size*."""
    return float(2 ** max(0, math.ceil(math.log2(max(size, 1)))))


def _decimal_step(size: float) -> float:
    """Return 1, 2 or 5 times a power of ten, the next above *size*."""
    power = 10.0 ** math.floor(math.log10(max(size, 1e-9)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= size * 0.999)


def to_svg(figure: Any, name: str, description: str) -> Markup:
    """Return *figure* as an inline `<svg>`: its ids begin with *name*, its colours are the page's variables.

    Args:
        figure: from `new_figure`.
        name: differs from that of every other plot on the page.
        description: read out by screen readers.
    """
    matplotlib = require("matplotlib", "report")
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    body = stream.getvalue().partition("<svg")[2].partition(">")[2].rpartition("</svg>")[0]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"<g id=\"[a-z]+[^\"]*_\d+\">", "<g>", body)
    body = re.sub(r"(\bid=\"|url\(#)", rf"\g<1>{name}-", body)
    body = re.sub(r"xlink:href=\"#", f'href="#{name}-', body)
    body = re.sub(r"\s*\n\s*", " ", body)
    for role, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{role})")
    height = figure.get_figheight() * 72
    view = f"0 0 {WIDTH:g} {height:g}"
    return element("svg", Markup(body), role="img", aria_label=description, viewBox=view)
