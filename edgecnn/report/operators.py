"""The operators of each file that was profiled, the slowest first, and those that int8 made slower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgecnn.benchmarks.profile import OperatorTime, Profile, lost_sentence, pairs_of
from edgecnn.report.markup import Markup, element, join
from edgecnn.units import format_bytes, format_count, format_ns

#: Of a longer file the slowest so many are shown.
MOST_OPERATORS = 12
_HEAD = ("operator", "name", "time", "share", "MACs", "bytes", "of the limit")


def operator_tables(profiles: Sequence[Profile], names: Mapping[str, str]) -> Markup | None:
    """Return a table for each of *profiles*, each file under its name in *names*; None where there is none."""
    if not profiles:
        return None
    lost = [element("p", lost_sentence(own, plain)) for own, plain in pairs_of(profiles)]
    return join([*(_table(profile, names) for profile in profiles), *lost])


def _table(profile: Profile, names: Mapping[str, str]) -> Markup:
    slowest = sorted(profile.operators, key=lambda one: -one.ns)[:MOST_OPERATORS]
    more = len(profile.operators) - len(slowest)
    file = names.get(profile.file, Path(profile.file).name)
    lead = (
        f"{file}, {profile.method} with {profile.runtime}: all operators {format_ns(profile.sum_ns)}, the whole call "
        f"{format_ns(profile.whole_ns)}" + (f"; the slowest {len(slowest)} of {len(profile.operators)}" if more else "")
    )
    head = element("tr", [element("th", title, scope="col", class_=_class(place)) for place, title in enumerate(_HEAD)])
    body = [element("tr", _cells(profile, one)) for one in slowest]
    table = element("table", element("thead", head), element("tbody", body), class_="files")
    limit = element("p", f"The limit rests on {profile.limit}.", class_="muted")
    return join([element("p", lead), _kinds(profile), element("div", table, class_="wide"), limit])


def _kinds(profile: Profile) -> Markup:
    """Return the operators summed by kind, in a sentence: which kinds take the time."""
    parts = [
        f"{one.kind} {100 * one.ns / profile.sum_ns:.0f} % ({one.count} operator{'s' * (one.count > 1)})"
        for one in profile.kinds
        if profile.sum_ns and one.ns >= 0.01 * profile.sum_ns
    ]
    return element("p", f"By kind: {', '.join(parts)}.", class_="muted")


def _cells(profile: Profile, one: OperatorTime) -> list[Markup]:
    texts = (
        one.kind,
        one.name or "–",
        format_ns(one.ns),
        f"{100 * one.ns / profile.sum_ns:.1f} %",
        format_count(one.macs) if one.macs else "–",
        format_bytes(one.moved_bytes) if one.moved_bytes else "–",
        "–" if one.limit_share is None else f"{100 * one.limit_share:.0f} %",
    )
    return [
        element("td", element("span", text), class_=_class(place), data_label=_HEAD[place])
        for place, text in enumerate(texts)
    ]


def _class(place: int) -> str:
    return "name" if place < 2 else "figure"


__all__ = ["operator_tables"]
