"""The table of a report: every figure of each file, and how each column came to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecnn.report.drawing import describe_precision, role_of
from edgecnn.report.facts import Row
from edgecnn.report.markup import Markup, element, join
from edgecnn.tasks.score import ACCURACY
from edgecnn.units import format_bytes, format_ns, format_share

NOT_TAKEN = "–"


@dataclass(frozen=True)
class Column:
    """One column: its title, how its figures came to be, and a row's cell."""

    title: str
    origin: Callable[[Row], str]
    cell: Callable[[Row], str]
    is_figure: bool = True


def files_table(rows: Sequence[Row]) -> Markup:
    """Return the table of *rows*; on a narrow screen the style sheet turns each row into a card."""
    head = [_head(column, rows) for column in COLUMNS]
    body = [element("tr", [_cell(column, row, rows) for column in COLUMNS]) for row in rows]
    return element(
        "div",
        element("table", element("thead", element("tr", head)), element("tbody", body), class_="files"),
        class_="wide",
    )


def _origins(column: Column, rows: Sequence[Row]) -> list[str]:
    return sorted({origin for row in rows if column.cell(row) != NOT_TAKEN and (origin := column.origin(row))})


def _head(column: Column, rows: Sequence[Row]) -> Markup:
    origins = element("small", ", ".join(_origins(column, rows)) or ("not taken" if column.is_figure else ""))
    return element("th", column.title, origins, scope="col", class_="figure" if column.is_figure else "name")


def _cell(column: Column, row: Row, rows: Sequence[Row]) -> Markup:
    """Return the cell; where the column's figures came to be in several ways, each says its own."""
    text = column.cell(row)
    mark = column.origin(row) if len(_origins(column, rows)) > 1 and text != NOT_TAKEN else ""
    content = [text, element("small", mark)] if mark else [text]
    label = column.title + (f" ({column.origin(row)})" if column.is_figure and not mark and text != NOT_TAKEN else "")
    return element("td", element("span", content), class_="figure" if column.is_figure else "name", data_label=label)


def _dash(text: str) -> str:
    return NOT_TAKEN if text == "-" else text


def _measured(row: Row) -> str:
    return row.measured.method if row.measured else ""


def _name(row: Row) -> str:
    return join(
        [element("strong", row.name), element("small", swatch(row.precision), f"{row.precision}, {row.format}")]
    )


def _runtime(row: Row) -> str:
    if row.measured is None:
        return NOT_TAKEN
    threads = f"{row.measured.threads} thread{'s' * (row.measured.threads > 1)}, {row.measured.device}"
    version = f"{row.measured.runtime_version}, " if row.measured.runtime_version else ""
    return join([row.measured.runtime, element("small", version + threads)])


def _score(row: Row) -> str:
    if row.score is None:
        return NOT_TAKEN
    interval = row.score.interval_text.replace("…", " to ")
    texts = [interval, f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{row.score.n}"]
    if row.score.name != ACCURACY:
        texts.insert(0, row.score.name)
    texts += [f"{one.name} {one.text}" for one in row.further_scores]
    return join([row.score.text, element("small", ", ".join(texts))])


def _sqnr(row: Row) -> str:
    found = row.file.verification
    if found is None:
        return NOT_TAKEN
    if found.sqnr_db is not None:
        same = found.top1_agreement
        agreement = [] if same is None else [element("small", f"same class: {format_share(same)}")]
        return join([f"{found.sqnr_db:.1f} dB", element("small", found.worst or ""), *agreement])
    return "identical" if found.is_identical else NOT_TAKEN


def _verdict(row: Row) -> str:
    found = row.file.verification
    if row.file.failure is not None:
        return join([element("strong", "failed", class_="bad"), element("small", row.file.failure)])
    if found is None:
        return NOT_TAKEN
    if found.rejected is not None:
        return join([element("strong", "rejected", class_="bad"), element("small", found.rejected)])
    floats = len(found.float_operators)
    if floats:
        left = f"{floats} operator{'s' * (floats > 1)} left in float"
        return join([element("strong", "ok", class_="good"), element("small", left)])
    return element("strong", "ok", class_="good")


def legend(precisions: Sequence[str]) -> Markup:
    """Return the colour of each of *precisions* and what it stands for."""
    items = [
        element("li", swatch(name), element("strong", name), f" {describe_precision(name)}")
        for name in sorted(set(precisions))
    ]
    return element("ul", items, class_="legend")


def swatch(precision: str) -> Markup:
    """Return a small square in the colour of *precision*."""
    return element("i", class_="swatch", style=f"background:var(--{role_of(precision)})", aria_hidden="true")


COLUMNS = (
    Column("file", lambda row: "", _name, is_figure=False),
    Column("runtime", lambda row: "", _runtime, is_figure=False),
    Column("score (95 %)", lambda row: "measured", _score),
    Column("p50", _measured, lambda row: _dash(format_ns(row.p50_ns))),
    Column("p90", _measured, lambda row: _dash(format_ns(row.measured.p90_ns if row.measured else None))),
    Column("size", lambda row: "measured", lambda row: format_bytes(row.size_bytes)),
    Column(
        "peak RSS", _measured, lambda row: _dash(format_bytes(row.measured.peak_rss_bytes if row.measured else None))
    ),
    Column("SQNR", lambda row: "measured", _sqnr),
    Column("verdict", lambda row: "", _verdict, is_figure=False),
)
