"""What `edgecnn bench --profile` prints: a table of operators for each file, and where int8 lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgecnn.benchmarks.profile import (
    KindTime,
    OperatorTime,
    Profile,
    figure_text,
    lost_sentence,
    pairs_of,
    to_document,
)
from edgecnn.cli.shared import print_json
from edgecnn.cli.table import print_table, say
from edgecnn.files import write_whole
from edgecnn.measurement import EMULATED
from edgecnn.units import format_bytes, format_count

_COLUMNS = ("operator", "name", "time", "share", "MACs", "bytes", "of the limit")
_COUNTED = ("operator", "name", "instructions", "share", "MACs", "bytes", "of the limit")
_RIGHT = (2, 3, 4, 5, 6)
_SPARE = (6, 5, 4)


def show_profiles(profiles: Sequence[Profile], output: Path | None, as_json: bool) -> None:
    """Print *profiles*, and write them to *output* where it is given."""
    if output is not None:
        write_whole(output, json.dumps(to_document(profiles), indent=1) + "\n")
    if as_json:
        print_json(to_document(profiles))
        return
    for profile in profiles:
        _print_profile(profile)
    for own, plain in pairs_of(profiles):
        say(lost_sentence(own, plain))


def _print_profile(profile: Profile) -> None:
    counted = profile.method == EMULATED
    title = (
        f"{profile.method.capitalize()} on {profile.device}: {profile.file}, {profile.runtime} "
        f"{profile.runtime_version}, {profile.threads} thread{'s' * (profile.threads > 1)}"
    )
    rows = [_row(profile, one) for one in profile.operators]
    print_table(title, _COUNTED if counted else _COLUMNS, rows, right=_RIGHT, spare=_SPARE)
    name = Path(profile.file).name
    if len(profile.kinds) < len(rows):
        columns = ("kind", "operators", *(_COUNTED if counted else _COLUMNS)[2:6])
        kinds = [_kind_row(profile, one) for one in profile.kinds]
        print_table(f"{name} by kind of operator", columns, kinds, right=(1, 2, 3, 4, 5))
    outside = 100 * (1 - profile.sum_ns / profile.whole_ns)
    say(
        f"{name}: all operators {figure_text(profile, profile.sum_ns)}; the whole call with the "
        f"profiler off {figure_text(profile, profile.whole_ns)}, {outside:+.0f} % of it outside of operators"
    )
    say(f"of the limit: the machine's least time for the multiply-adds or bytes, over the time; from {profile.limit}")


def _kind_row(profile: Profile, one: KindTime) -> tuple[str, ...]:
    return (
        one.kind,
        str(one.count),
        figure_text(profile, one.ns),
        f"{100 * one.ns / profile.sum_ns:.1f} %",
        format_count(one.macs) if one.macs else "-",
        format_bytes(one.moved_bytes) if one.moved_bytes else "-",
    )


def _row(profile: Profile, one: OperatorTime) -> tuple[str, ...]:
    return (
        one.kind,
        one.name or "-",
        figure_text(profile, one.ns),
        f"{100 * one.ns / profile.sum_ns:.1f} %",
        format_count(one.macs) if one.macs else "-",
        format_bytes(one.moved_bytes) if one.moved_bytes else "-",
        "-" if one.limit_share is None else f"{100 * one.limit_share:.0f} %",
    )
