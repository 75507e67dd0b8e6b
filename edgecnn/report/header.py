"""The head of a report: what became of the network, what was done, and where it was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from edgecnn.report.facts import ReportFacts, Row
from edgecnn.report.markup import Markup, element, join
from edgecnn.units import format_bytes, format_count, format_ns


def page_head(title: str, facts: ReportFacts, rows: Sequence[Row]) -> Markup:
    """Return the title, the figures in large, the steps and the conditions.

    Args:
        title: of the page.
        facts: what the files do not say themselves.
        rows: one for each file and runtime.
    """
    columns = []
    if facts.steps:
        steps = [element("li", step) for step in facts.steps]
        columns.append(element("div", element("h3", "Steps"), element("ol", steps)))
    conditions = _conditions(rows)
    if conditions:
        pairs = [join([element("dt", name), element("dd", text)]) for name, text in conditions.items()]
        columns.append(element("div", element("h3", "Conditions"), element("dl", pairs)))
    return element(
        "header",
        element("h1", title),
        element("p", _lead(title, facts, rows), class_="lead"),
        element("div", list(_tiles(facts, rows)), class_="tiles"),
        element("div", columns, class_="two"),
    )


def _lead(title: str, facts: ReportFacts, rows: Sequence[Row]) -> str:
    files = {row.name: row.is_kept for row in rows}
    data = f", judged on the data set {facts.data}" if facts.data else ""
    rejected = len(files) - sum(files.values())
    verdict = f", {rejected} of them rejected by their recipe" if rejected else ""
    model = "" if facts.model == title else f"{facts.model}: "
    return f"{model}{len(files)} exported file{'s' * (len(files) != 1)}{verdict}{data}."


def _tiles(facts: ReportFacts, rows: Sequence[Row]) -> Iterator[Markup]:
    before, after = facts.before, facts.after
    if after.score:
        n = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{after.score.n}"
        interval = f"95 % interval {after.score.interval_text.replace('…', ' to ')}, {n}"
        was = f"before {before.score.text}; " if before.score else ""
        yield _tile(f"{after.score.name}, measured", after.score.text, was + interval)
    elif judged := [(row.score, row.name) for row in rows if row.is_kept and row.score is not None]:
        score, name = max(judged, key=lambda pair: pair[0].value * (1 if pair[0].higher_is_better else -1))
        yield _tile(f"best {score.name}, measured", score.text, name)
    yield from _count_tile("parameters, counted", before.params, after.params)
    yield from _count_tile("multiply-adds, counted", before.macs, after.macs)
    kept = [row for row in rows if row.is_kept]
    if kept:
        smallest = min(kept, key=lambda row: row.size_bytes)
        yield _tile("smallest file", format_bytes(smallest.size_bytes), smallest.name)
    timed = [row for row in kept if row.p50_ns is not None]
    if timed:
        fastest = min(timed, key=lambda row: row.p50_ns or 0)
        yield _tile("fastest p50, measured", format_ns(fastest.p50_ns), fastest.name)


def _tile(name: str, figure: str, detail: str) -> Markup:
    return element(
        "div", element("span", name, class_="muted"), element("b", figure), element("small", detail), class_="tile"
    )


def _count_tile(name: str, before: int | None, after: int | None) -> Iterator[Markup]:
    if after is None:
        return
    detail = ""
    if before is not None:
        detail = f"before {format_count(before)}"
        if after and before != after:
            detail += f", {before / after:.1f} times as many"
    yield _tile(name, format_count(after), detail)


def _conditions(rows: Sequence[Row]) -> dict[str, str]:
    """Return what the measurements say of the machine, the same thing once."""
    measured = [row.measured for row in rows if row.measured]
    measured_conditions = [result.conditions for result in measured]

    def all_of(key: str) -> str:
        return _distinct(_text(conditions.get(key)) for conditions in measured_conditions)

    counts = sorted(len(result.values_ns) for result in measured)
    processes = _distinct(str(len(result.runs)) for result in measured)
    found = {
        "machine": _distinct(f"{result.device} ({result.target})" for result in measured),
        "CPU": all_of("cpu"),
        "cores": all_of("cores_allowed"),
        "governor": all_of("governors"),
        "system": all_of("system"),
        "Python": all_of("python"),
        "runtimes": _distinct(f"{result.runtime} {result.runtime_version or ''}".strip() for result in measured),
        "effort": f"{processes} processes and {_range(counts)} timed values for each file" if counts else "",
        "taken at": min((_text(conditions.get("taken_at")) for conditions in measured_conditions), default=""),
    }
    return {name: text for name, text in found.items() if text}


def _range(counts: Sequence[int]) -> str:
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
