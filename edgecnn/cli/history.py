"""`edgecnn history`: what was measured before on this machine."""

from __future__ import annotations

from collections.abc import Sequence

import click

from edgecnn.benchmarks.history import HistoryEntry, history_file, read_from_history, read_history
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, print_json, tables
from edgecnn.cli.table import print_table, say
from edgecnn.measurement import to_document
from edgecnn.units import format_bytes, format_count, format_ns, format_share

_COLUMNS = (
    "id",
    "taken (UTC)",
    "file",
    "content",
    "device",
    "runtime",
    "threads",
    "p50",
    "instructions",
    "peak RSS",
    "score",
)
_RIGHT = (0, 6, 7, 8, 9, 10)
_SPARE = (3, 9, 10, 5, 6, 8)


@click.command("history", cls=Command)
@click.argument("file", required=False)
@option(
    "--last",
    type=click.IntRange(1, 2**31),
    metavar="N",
    default=50,
    section="Selection",
    help="Largest number of measurements to list, the latest first.",
)
@option(
    "--show",
    type=click.IntRange(1, 2**63 - 1),
    metavar="ID",
    section="Selection",
    help="Show this measurement in full.",
)
@tables
@common
def command(file: str | None, last: int, show: int | None, as_json: bool) -> None:
    """List earlier measurements, or show one in full.

    FILE is a file name (in any folder) or a path (only that file). `edgecnn bench` keeps every measurement. The output
    of --show ID --json is a result file, for example for `edgecnn bench --against`.

    \b
    Example:
      edgecnn history small.w8a8.tflite
      edgecnn history --show 12
      edgecnn history --show 12 --json > before.json
    """
    if show is not None:
        from edgecnn.cli.results import print_results

        measurement = read_from_history(show)
        if as_json:
            print_json(to_document([measurement]))
        else:
            print_results([measurement])
        return
    entries = read_history(file, last=last)
    if as_json:
        print_json([entry.to_json() for entry in entries])
    elif entries:
        print_table(f"History in {history_file()}", _COLUMNS, _rows(entries), right=_RIGHT, spare=_SPARE)
    else:
        say(f"nothing measured yet{' of ' + file if file else ''}: edgecnn bench FILE keeps its results here")


def _rows(entries: Sequence[HistoryEntry]) -> list[tuple[str, ...]]:
    return [
        (
            str(entry.id),
            entry.taken_at[:19].replace("T", " "),
            entry.name,
            (entry.sha256 or "-")[:8],
            entry.device if entry.method == "measured" else f"{entry.device} ({entry.method})",
            _runtime(entry, entries),
            str(entry.threads),
            format_ns(entry.p50_ns),
            format_count(entry.instructions),
            format_bytes(entry.peak_rss_bytes),
            _score(entry),
        )
        for entry in entries
    ]


def _score(entry: HistoryEntry) -> str:
    if entry.metric is None or entry.score is None:
        return format_share(entry.top1)
    return f"{entry.metric} {entry.score:.4g}"


def _runtime(entry: HistoryEntry, entries: Sequence[HistoryEntry]) -> str:
    """Return the runtime, its version, and its interface where *entries* have several: those are not comparable."""
    several = len({other.interface for other in entries if other.runtime == entry.runtime}) > 1
    parts = (entry.runtime, entry.runtime_version, f"({entry.interface})" if several and entry.interface else None)
    return " ".join(part for part in parts if part)
