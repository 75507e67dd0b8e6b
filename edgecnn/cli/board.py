"""What `edgecnn bench` asks and shows of the emulated board."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from edgecnn.cli.bench import describe_accuracy, describe_memory, label_of
from edgecnn.cli.shared import print_table, showing_progress
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Measurement
from edgecnn.units import format_bytes

_COLUMNS = ("file", "runtime", "instructions", "peak RSS", "RAM for it", "size", "top-1 (95 %)")


def prepare_board(*, agreed: bool) -> None:
    """Build the emulated board where it is not built yet: say what is fetched, and ask where there is a terminal.

    Raises:
        EdgecnnError: the answer is no, a program is missing, or it cannot be built.
    """
    from edgecnn.targets.board.image import build_board, check_programs, describe_build, find_image

    if find_image() is not None:
        return
    check_programs()
    click.echo(describe_build(), err=True)
    if sys.stdin.isatty() and not agreed and not click.confirm("Build it now?", err=True):
        raise EdgecnnError("the emulated board is not built, and nothing was fetched; --yes builds it without asking")
    with showing_progress() as progress:
        build_board(progress)


def print_emulated(results: Sequence[Measurement]) -> None:
    """Print one table of emulated *results*, the fewest instructions first; there are no durations."""
    fewest = sorted(results, key=lambda result: result.instructions or float("inf"))
    devices = list(dict.fromkeys(result.device for result in fewest))
    print_table(f"Emulated {', '.join(devices)}", _COLUMNS, [_row(result) for result in fewest], right=(2, 3, 4, 5))
    click.echo("instructions of one call, counted: no caches and no bandwidth, so they are no measure of time")
    for device in devices:
        features = next((r.conditions["features"] for r in fewest if r.device == device and r.runs), None)
        if features is not None:
            dot = "among them the dot product of int8" if "dotprod" in features else "there is no dot product of int8"
            click.echo(f"kernels on {device} can use {', '.join(features)}; {dot}")
    click.echo("peak RSS is all of the worker process:")
    for result in fewest:
        click.echo(f"  {label_of(result)}: {describe_memory(result) if result.runs else '-'}")


def _row(result: Measurement) -> tuple[str, ...]:
    limit = format_bytes(result.conditions.get("ram_free_bytes"))
    return (
        result.file,
        f"{result.runtime} {result.runtime_version or ''}".strip(),
        "-" if result.instructions is None else f"{result.instructions:,.0f}",
        format_bytes(result.peak_rss_bytes) if result.runs else f"needs more than {limit}",
        limit,
        format_bytes(result.size_bytes),
        describe_accuracy(result),
    )
