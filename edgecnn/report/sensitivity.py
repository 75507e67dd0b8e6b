"""The table, the plot and the JSON of a sensitivity analysis, as files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.errors import require
from edgecnn.files import write_whole
from edgecnn.report.drawing import COLOURS, SMALL, TEXT
from edgecnn.units import format_bytes, format_count

if TYPE_CHECKING:
    from edgecnn.compress.sensitivity import Row, Sensitivity

COLUMNS = (
    *("rank", "unit", "cut", "score", "95 %", "n", "points lost", "loss"),
    *("parameters", "MACs", "weights", "activations"),
)

#: What loss is weighed against → its unit.
_UNITS = {"bytes": "bytes", "macs": "MACs", "activations": "elements of activations"}

_ROW = 22.0  # height of a row of the plot, in points
_WIDTH = 640.0


def write_sensitivity(sensitivity: Sensitivity, folder: Path) -> tuple[Path, ...]:
    """Write `sensitivity.json`, `.md` and `.svg` to *folder*, which is made where it is missing; return their paths.

    Raises:
        EdgecnnError: matplotlib is not there.
    """
    contents = {
        "svg": draw_sensitivity(sensitivity),
        "md": _markdown(sensitivity),
        "json": json.dumps(sensitivity.to_json(), indent=2, allow_nan=False) + "\n",
    }
    paths = sensitivity_files(folder)
    for path in paths:
        write_whole(path, contents[path.suffix[1:]])
    return paths


def sensitivity_files(folder: Path) -> tuple[Path, ...]:
    """Return the files that `write_sensitivity` writes to *folder*."""
    return tuple(folder / f"sensitivity.{kind}" for kind in ("svg", "md", "json"))


def table_of(sensitivity: Sensitivity) -> list[tuple[str, ...]]:
    """Return the cells of each row under `COLUMNS`, the cheapest cut first; what is saved has a minus."""
    return [_cells(rank, row) for rank, row in enumerate(sensitivity.ranked, start=1)]


def title_of(sensitivity: Sensitivity) -> str:
    """Return the sentence that stands above the table."""
    of = f" of {sensitivity.score.name} {sensitivity.score.text}" if sensitivity.score else ""
    following = ", batch norm's statistics and the spread of scores following it" if sensitivity.recalibrated else ""
    return (
        f"Each cut alone{following}, in a network{of}, {format_count(sensitivity.costs.params)} parameters, "
        f"{format_count(sensitivity.costs.macs)} MACs, {format_bytes(sensitivity.costs.size_bytes)} of weights as "
        f"floats; measured on up to {sensitivity.n} samples, ranked by loss per {_UNITS[sensitivity.per]} saved"
    )


def staying(sensitivity: Sensitivity) -> Iterator[str]:
    """Yield a line for each reason that keeps filters, each that keeps layers whole, and each that keeps out blocks."""
    from edgecnn.compress.sensitivity import by_reason, shortened

    for reason, names in by_reason(sensitivity.fixed).items():
        yield f"{', '.join(names)} stay{'s' if len(names) == 1 else ''}: {reason}"
    # Most layers of most networks cannot: the JSON names each.
    for reason, names in by_reason(sensitivity.fixed_whole).items():
        yield f"{shortened(names)} cannot be removed as a whole: {reason}"
    for reason, names in by_reason(sensitivity.unsubstituted).items():
        yield f"no block in its place: {shortened(names)}: {reason}"


def draw_sensitivity(sensitivity: Sensitivity) -> str:
    """Return an SVG: for each cut, in the order in which the network runs, what it loses and what it saves."""
    rows = sensitivity.rows
    height = _ROW * len(rows) + 60
    figure = require("matplotlib.figure", "report").Figure(figsize=(_WIDTH / 72, height / 72), dpi=72)
    bottom, high = 42 / height, _ROW * len(rows) / height
    lost = figure.add_axes((0.27, bottom, 0.40, high))
    saved = figure.add_axes((0.70, bottom, 0.27, high))
    for axes in (lost, saved):
        _prepare(axes, len(rows))
    for index, row in enumerate(rows):
        change = row.score_lost or row.loss_increase
        ends = (100 * change.low, 100 * change.high)
        lost.plot(ends, (-index, -index), color=COLOURS["float"], linewidth=4, alpha=0.35, solid_capstyle="butt")
        lost.plot(100 * change.mean, -index, "o", color=COLOURS["float"], markersize=5)
        for place, share, colour in (
            (0.17, _share(row.saved.size_bytes, sensitivity.costs.size_bytes), "integer"),
            (-0.17, _share(row.saved.macs, sensitivity.costs.macs), "muted"),
        ):
            saved.barh(-index + place, 100 * share, height=0.3, color=COLOURS[colour])
    lost.axvline(0, color=COLOURS["ink"], linewidth=0.8)
    names = [f"{row.unit}, {_cut(row)}" for row in rows]
    lost.set_yticks([-index for index in range(len(rows))], names)
    saved.set_yticks([])
    what = f"{sensitivity.score.name} lost, points" if sensitivity.score else "share of the output lost, percent"
    lost.set_xlabel(f"{what}, with the 95 % interval", fontsize=SMALL, color=COLOURS["muted"])
    saved.set_xlabel("% saved: bytes of weights (orange), MACs (grey)", fontsize=SMALL, color=COLOURS["muted"])
    stream = io.StringIO()
    settings = {"svg.hashsalt": "edgecnn", "font.family": "DejaVu Sans", "font.size": TEXT}
    with require("matplotlib", "report").rc_context(settings):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator")), facecolor=COLOURS["page"])
    return stream.getvalue()


def _prepare(axes: Any, rows: int) -> None:
    axes.set_ylim(-rows + 0.4, 0.6)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=COLOURS["ink"])
    axes.grid(axis="x", color=COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _cut(row: Row) -> str:
    return "whole" if row.ratio == 1 else f"{100 * row.ratio:.0f} %"


def _cells(rank: int, row: Row) -> tuple[str, ...]:
    change = row.score_lost
    return (
        str(rank),
        row.unit,
        _cut(row),
        row.score.text if row.score else "-",
        row.score.interval_text if row.score else "-",
        str(row.n),
        f"{100 * change.mean:.2f} ({100 * change.low:.2f}…{100 * change.high:.2f})" if change else "-",
        f"{row.loss:.4g}",
        f"-{format_count(row.saved.params)}",
        f"-{format_count(row.saved.macs)}",
        f"-{format_bytes(row.saved.size_bytes)}",
        f"-{format_count(row.saved.activations)}",
    )


def _markdown(sensitivity: Sensitivity) -> str:
    """Return the table as Markdown, with what could not be cut below it."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(cells) for cells in table_of(sensitivity))]
    remarks = [f"- {line}" for line in (*staying(sensitivity), *sensitivity.notes)]
    return "\n".join([f"{title_of(sensitivity)}.", "", *lines, "", *remarks]).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
