"""The plots of the files: accuracy, latency, size, each as rows, and accuracy against latency."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from edgecnn.errors import require
from edgecnn.measurement import percentile
from edgecnn.report.drawing import (
    COLOURS,
    SMALL,
    WIDTH,
    add_axes,
    grid,
    new_figure,
    role_of,
    scale_axis,
    title_axis,
    to_svg,
    write,
)
from edgecnn.report.facts import Row, shorten
from edgecnn.report.markup import Markup
from edgecnn.tasks.score import Score
from edgecnn.units import format_bytes, format_ns

_ROW = 36.0  # height of a row: its text above, its mark below
_FOOT = 34.0  # of the axis below the rows
_SIDE = 8.0  # free at the left and the right
_LINE = 48  # characters of a row's text, label and value together
_MARK = -0.24  # where in a row the mark is; the text is above

Draw = Callable[[Any, float, Row], None]


def draw_sizes(rows: Sequence[Row]) -> Markup:
    """Draw the size of each file as a bar."""
    most = max(row.size_bytes for row in rows) * 1.05

    def bar(axes: Any, y: float, row: Row) -> None:
        axes.barh(y, row.size_bytes, height=0.3, color=_colour(row))

    figure, axes = _rows_figure(rows, [format_bytes(row.size_bytes) for row in rows], bar)
    axes.set_xlim(0, most)
    scale_axis(axes.xaxis, "bytes", most)
    title_axis(axes, "size of the file")
    return to_svg(figure, "sizes", "Size of each file")


def draw_latencies(rows: Sequence[Row]) -> Markup:
    """Draw the p50 of each row as a bar, the p90 as a tick, and the spread of its raw values as a rug over them."""
    most = latency_limit(rows)

    def bar(axes: Any, y: float, row: Row) -> None:
        values = row.measured.values_ns if row.measured else ()
        axes.barh(y, row.p50_ns or 0, height=0.3, color=_colour(row), alpha=0.35, linewidth=0)
        shown = _thinned([value for value in values if value <= most])
        _ticks(axes, shown, y, 0.15, edgecolor=_colour(row), linewidth=0.5, alpha=0.8)
        _ticks(axes, [row.p50_ns or 0], y, 0.21, edgecolor=COLOURS["ink"], linewidth=1.8)
        p90_ns = row.measured.p90_ns if row.measured else None
        if p90_ns is not None and p90_ns <= most:
            _ticks(axes, [p90_ns], y, 0.21, edgecolor=COLOURS["ink"], linewidth=0.9)

    figure, axes = _rows_figure(rows, [_latency_text(row) for row in rows], bar)
    axes.set_xlim(0, most)
    scale_axis(axes.xaxis, "ns", most)
    title_axis(axes, "time of one call, each thin line a raw value")
    return to_svg(figure, "latencies", "Latency of each file")


def latency_limit(rows: Sequence[Row]) -> float:
    """Return how far the latency axis reaches, in ns: past nine tenths of every row's values, not to each outlier."""
    measured = [row.measured for row in rows if row.measured and row.measured.values_ns]
    return max(min(1.12 * (percentile(result.values_ns, 97) or 0), 2.2 * (result.p90_ns or 0)) for result in measured)


def draw_accuracies(rows: Sequence[Row], reference: float | None) -> Markup:
    """Draw the accuracy of each row as a dot in its 95 % interval; the network's own is a dashed line.

    Args:
        rows: one for each file and runtime; those without a score are left out.
        reference: the network's own score; None: unknown.
    """
    intervals = [_ends(row.score) for row in rows if row.score]
    low, high = min(pair[0] for pair in intervals), max(pair[1] for pair in intervals)
    low, high = min(low, reference or 1.0), max(high, reference or 0.0)
    pad = max(0.05 * (high - low), 0.0005)

    def dot(axes: Any, y: float, row: Row) -> None:
        if row.score is not None:
            axes.plot(_ends(row.score), (y, y), color=_colour(row), linewidth=4, alpha=0.35, solid_capstyle="butt")
            axes.plot(row.score.value, y, "o", color=_colour(row), markersize=8)

    texts = [row.score.text if row.score else "-" for row in rows]
    figure, axes = _rows_figure(rows, texts, dot)
    if reference is not None:
        for index in range(len(rows)):
            _ticks(axes, [reference], _MARK - index, 0.2, edgecolor=COLOURS["ink"], linewidth=1, linestyle=(0, (2, 2)))
    axes.set_xlim(low - pad, high + pad)
    _score_ticks(axes.xaxis, low, high, rows)
    title_axis(axes, f"{_metric(rows)}, the bar is the 95 % interval")
    return to_svg(figure, "accuracies", "Accuracy of each file")


def _ends(score: Score) -> tuple[float, float]:
    """Return the interval; the value alone where it has none."""
    return (score.value, score.value) if math.isnan(score.low) or math.isnan(score.high) else score.interval


def _metric(rows: Sequence[Row]) -> str:
    """Return the name of the score of *rows*."""
    return next((row.score.name for row in rows if row.score), "score")


def draw_tradeoff(rows: Sequence[Row]) -> Markup:
    """Draw accuracy against p50, the marker's area being the file's size; labels stand in a column of their own."""
    height, left, right, bottom = max(250.0, 28.0 * len(rows) + 56), 52.0, 200.0, 40.0
    top = height - 16
    figure = new_figure(height)
    axes = add_axes(figure, left, bottom, right - left, top - bottom)
    biggest = max(row.size_bytes for row in rows)
    points = [(row.p50_ns or 0.0, row.score.value if row.score else 0.0, row) for row in rows]
    for x, y, row in points:
        interval = _ends(row.score) if row.score else (y, y)
        axes.plot((x, x), interval, color=_colour(row), linewidth=1.2, alpha=0.5, zorder=2)
        axes.scatter(x, y, s=40 + 420 * row.size_bytes / biggest, color=_colour(row), alpha=0.75, linewidth=0, zorder=3)
    most = 1.18 * max(x for x, _, _ in points)
    axes.set_xlim(0, most)
    lows, highs = zip(*(_ends(row.score) for _, _, row in points if row.score), strict=True)
    pad = max(0.08 * (max(highs) - min(lows)), 0.0005)
    axes.set_ylim(min(lows) - pad, max(highs) + pad)
    scale_axis(axes.xaxis, "ns", most)
    _score_ticks(axes.yaxis, min(lows), max(highs), rows)
    grid(axes, "both")
    title_axis(axes, "p50 of one call")
    write(axes, 0, 1.045, _metric(rows), "muted", transform=axes.transAxes, fontsize=SMALL)
    _label_column(axes, points, most, (right - left), top - bottom)
    return to_svg(figure, "tradeoff", "Accuracy against latency")


def _label_column(
    axes: Any, points: Sequence[tuple[float, float, Row]], most: float, width: float, high: float
) -> None:
    """Write each point's label right of the axes, no two on the same lines, joined to its point by a thin line.

    From above by accuracy; of the same accuracy the slower, which is nearer to the column, comes first.
    """
    low, top = axes.get_ylim()
    order = sorted(range(len(points)), key=lambda index: (-points[index][1], -points[index][0]))
    step = min(30.0, high / max(1, len(points))) / high * (top - low)
    wanted = [points[index][1] for index in order]
    middle = sum(wanted) / len(wanted)
    first = min(top - step / 2, middle + step * (len(order) - 1) / 2)
    first = max(first, low + step * (len(order) - 0.5))
    begin = most * (1 + 16 / width)
    for place, index in enumerate(order):
        x, y, row = points[index]
        at = first - place * step
        axes.plot((x, begin * 0.985), (y, at), color=COLOURS["muted"], linewidth=0.7, clip_on=False, zorder=1)
        lift = 5.5 / high * (top - low)
        write(axes, begin, at + lift, shorten(row.label, 20), clip_on=False)
        detail = f"{format_ns(row.p50_ns)}, {format_bytes(row.size_bytes)}"
        write(axes, begin, at - lift, detail, "muted", fontsize=SMALL, clip_on=False)


def _rows_figure(rows: Sequence[Row], values: Sequence[str], draw: Draw) -> tuple[Any, Any]:
    """Return a figure of one row for each of *rows*: its label and its value above, and what *draw* draws below."""
    figure = new_figure(_ROW * len(rows) + _FOOT)
    axes = add_axes(figure, _SIDE, _FOOT, WIDTH - 2 * _SIDE, _ROW * len(rows))
    axes.set_ylim(-len(rows) + 0.5, 0.5)
    axes.set_yticks([])
    grid(axes, "x")
    across = axes.get_yaxis_transform()
    for index, (row, value) in enumerate(zip(rows, values, strict=True)):
        draw(axes, -index + _MARK, row)
        write(axes, 0, -index + 0.18, shorten(row.label, _LINE - len(value)), transform=across)
        write(axes, 1, -index + 0.18, value, transform=across, ha="right")
    return figure, axes


def _ticks(axes: Any, places: Sequence[float], y: float, half: float, **style: Any) -> None:
    """Draw a vertical tick at each of *places*, all as one path."""
    path = require("matplotlib.path", "report").Path
    patch = require("matplotlib.patches", "report").PathPatch
    if places:
        ends = [point for place in places for point in ((place, y - half), (place, y + half))]
        axes.add_patch(patch(path(ends, [path.MOVETO, path.LINETO] * len(places)), facecolor="none", **style))


def _thinned(values: Sequence[float], most: int = 150) -> list[float]:
    """Return at most *most* of *values*, sorted, evenly taken over their ranks."""
    ordered = sorted(values)
    if len(ordered) <= most:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]


def _latency_text(row: Row) -> str:
    p90_ns = row.measured.p90_ns if row.measured else None
    return f"p50 {format_ns(row.p50_ns)}, p90 {format_ns(p90_ns)}"


def _colour(row: Row) -> str:
    return COLOURS[role_of(row.precision)]


def _score_ticks(axis: Any, low: float, high: float, rows: Sequence[Row]) -> None:
    """Put round ticks on *axis* from *low* to *high*: fractions, written in percent, or errors as they are."""
    locator = require("matplotlib.ticker", "report").MaxNLocator(4, steps=[1, 2, 5, 10])
    places = [place for place in locator.tick_values(low, high) if low <= place <= high + 1e-9]
    if any(row.score is not None and not row.score.higher_is_better for row in rows):
        axis.set_ticks(places, [f"{place:.4g}" for place in places])
        return
    gap = min((b - a for a, b in pairwise(places)), default=0.01)
    digits = 0 if gap >= 0.00999 else 1 if gap >= 0.000999 else 2
    axis.set_ticks(places, [f"{100 * place:.{digits}f} %" for place in places])
