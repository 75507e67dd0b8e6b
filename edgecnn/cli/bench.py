"""`edgecnn bench`: latency, memory and accuracy of exported files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.shared import common, complete_device, data_options, print_json, print_table, showing_progress, warn
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import EMULATED, Measurement, Memory, read_measurements, to_document
from edgecnn.units import format_bytes, format_count, format_ns, format_share, parse_share

if TYPE_CHECKING:
    from edgecnn.benchmarks.changes import Change

SLOWER = 4  # the exit code of a regression

_COLUMNS = ("file", "runtime", "threads", "p50", "p90", "p99", "load", "first call", "peak RSS", "size", "top-1 (95 %)")


def complete_suite(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the suites whose names begin with *incomplete*."""
    from edgecnn.benchmarks.suite import suite_names

    return [name for name in suite_names() if name.startswith(incomplete)]


def parse_numbers(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Return the whole numbers of at least 1 that *text* lists: `1,2,4`; none where it is not given."""
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"'{text}' is not a list of whole numbers of at least 1, like 1,2,4")
    return tuple(int(part) for part in parts)


@click.command("bench")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--suite", metavar="NAME", shell_complete=complete_suite, help="A suite, or its TOML file: what to measure."
)
@click.option("--device", metavar="NAME", shell_complete=complete_device, help="Whose figures (host).")
@click.option("--target", metavar="TARGET", help="Where it runs: local, ssh://user@host, adb:SERIAL, emulated.")
@click.option("--yes", is_flag=True, help="Build the emulated board, where it is not yet, without asking.")
@click.option("--install", is_flag=True, help="Install a runtime that the target lacks, in a folder of our own there.")
@click.option(
    "--runtime", default="", metavar="NAME,NAME", help="litert, onnxruntime; else the usual one of each file."
)
@click.option(
    "--threads", metavar="N,N", callback=parse_numbers, help="How many threads, several in one go: 1,2,4 (1)."
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Worker processes a result (3; 9 with --against).",
)
@click.option(
    "--min-time",
    type=click.FloatRange(min=0, max=3600),
    metavar="S",
    help="Seconds measured, a process (1).",
)
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="FILE", help="An earlier result (-o) to compare with."
)
@click.option("--tolerance", default="5%", show_default=True, help="The change in latency that is none yet.")
@data_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the results there as JSON."
)
@common
def command(
    files: Sequence[Path],
    suite: str | None,
    device: str | None,
    target: str | None,
    yes: bool,
    install: bool,
    runtime: str,
    threads: tuple[int, ...],
    processes: int | None,
    min_time: float | None,
    against: Path | None,
    tolerance: str,
    data: str | None,
    data_dir: str | None,
    download: bool,
    normalize: str | None,
    output: Path | None,
    as_json: bool,
) -> int:
    """Measure latency, memory and accuracy of exported files.

    Each of FILES runs in processes of its own. What was measured before a failure or Ctrl-C is shown and written all
    the same. What is given here takes the place of what --suite says. With --against the exit code is 4 where a file
    became slower by more than --tolerance. For a --device that is not at hand, without --target, the latency is
    estimated and the memory checked.

    \b
    Example:
      edgecnn bench out/m.w8a8.tflite out/m.fp32.onnx --data digits
      edgecnn bench out/m.w8a8.tflite --threads 1,2,4 --json -o results.json
      edgecnn bench theirs.tflite --data cifar10 --normalize pixels
      edgecnn bench out/m.w8a8.tflite --device rpi4 --target ssh://pi@raspberrypi.local
      edgecnn bench out/m.w8a8.tflite --device rpi4 --target emulated --data digits
      edgecnn bench --suite regression out/m.w8a8.tflite --against before.json
      edgecnn bench out/m.w8a8.tflite --device rpi4
    """
    from edgecnn.benchmarks.changes import COMPARED_PROCESSES, find_change
    from edgecnn.benchmarks.foretell import is_at_hand
    from edgecnn.benchmarks.history import keeping_history
    from edgecnn.benchmarks.suite import Suite, load_suite, measure_suite, with_given
    from edgecnn.files import write_whole

    if device is not None and suite is None and target is None and against is None and not is_at_hand(device):
        from edgecnn.cli.estimates import show_estimates

        names = [name.strip() for name in runtime.split(",") if name.strip()]
        show_estimates(files, device, names, threads, output, as_json)
        return 0
    plan = with_given(
        Suite(files=tuple(map(str, files))) if suite is None else load_suite(suite, files),
        device=device,
        target=target,
        runtimes=[name.strip() for name in runtime.split(",") if name.strip()],
        threads=threads,
        data=data,
        normalize=normalize,
        processes=processes,
        min_time_s=min_time,
    )
    earlier, tolerated = None if against is None else read_measurements(against), parse_share(tolerance)
    if earlier is not None and processes is None:
        plan = with_given(plan, processes=max(plan.effort.processes, COMPARED_PROCESSES))
    if against is not None and output is not None and against.resolve() == output.resolve():
        raise EdgecnnError(f"-o would overwrite {against}, which --against compares with; write to another file")
    if any(name.partition(":")[0] == "emulated" for name in plan.targets.values()):
        from edgecnn.cli.board import prepare_board

        prepare_board(agreed=yes)
    results: list[Measurement] = []
    changes: list[Change] = []
    try:
        with showing_progress() as progress:
            taken = measure_suite(plan, data_dir=data_dir, download=download, install=install, progress=progress)
            for measurement in keeping_history(taken, warn):
                results.append(measurement)
                if output is not None:
                    write_whole(output, json.dumps(to_document(results), indent=1) + "\n")
                if earlier is not None:
                    changes.append(find_change(measurement, earlier, tolerated))
    finally:
        if results and as_json:
            print_json(to_document(results) | ({} if earlier is None else {"changes": [c.to_json() for c in changes]}))
        elif results:
            print_results(results)
            print_changes(changes)
    return SLOWER if any(change.verdict == "slower" for change in changes) else 0


def print_results(results: Sequence[Measurement]) -> None:
    """Print counted instructions and measured latencies apart: they share no column."""
    emulated = [result for result in results if result.method == EMULATED]
    if emulated:
        from edgecnn.cli.board import print_emulated

        print_emulated(emulated)
    if len(emulated) < len(results):
        _print_measured([result for result in results if result.method != EMULATED])
    for result in results:
        for warning in result.warnings:
            warn(f"{label_of(result)}: {warning}")
    for assumption in dict.fromkeys(text for result in results for text in result.assumptions):
        click.echo(assumption)


def _print_measured(results: Sequence[Measurement]) -> None:
    """Print one table of all *results*, the fastest first, and below it what its figures contain and rest on."""
    from edgecnn.benchmarks.gains import missing_gains

    fastest = sorted(results, key=lambda result: result.p50_ns or 0.0)
    first = fastest[0]
    title = f"{first.method.capitalize()} on {first.device} ({first.conditions.get('cpu') or first.target})"
    rows = [_row(result) for result in fastest]
    if len({result.device for result in results}) > 1:
        title = first.method.capitalize()
        rows = [(f"{row[0]} on {result.device}", *row[1:]) for row, result in zip(rows, fastest, strict=True)]
    print_table(title, _COLUMNS, rows, right=tuple(range(2, 10)))
    click.echo("peak RSS is all of the worker process:")
    for result in fastest:
        click.echo(f"  {label_of(result)}: {describe_memory(result)}")
    for sentence in missing_gains(fastest):
        click.echo(sentence)


def print_changes(changes: Sequence[Change]) -> None:
    """Print a line for each change, with the interval of its ratio."""
    for change in changes:
        interval = "" if change.low is None else f" (95 %: {change.low:.3f}…{change.high:.3f})"
        figures = " → ".join(_figure(figure, change.unit) for figure in (change.earlier, change.later))
        line = (
            f"{change.verdict}: {change.file}, {change.runtime}, {change.threads} thread{'s' * (change.threads > 1)}: "
            f"{change.ratio:.3f} times{interval}, {figures}"
        )
        click.echo(f"{line}; {change.remedy}" if change.remedy else line)


def _figure(figure: float, unit: str) -> str:
    return format_ns(figure) if unit == "ns" else f"{format_count(figure)} {unit}"


def _row(result: Measurement) -> tuple[str, ...]:
    return (
        result.file,
        f"{result.runtime} {result.runtime_version or ''}".strip(),
        str(result.threads),
        format_ns(result.p50_ns),
        format_ns(result.p90_ns),
        format_ns(result.p99_ns),
        format_ns(result.load_ns),
        format_ns(result.first_ns),
        format_bytes(result.peak_rss_bytes),
        format_bytes(result.size_bytes),
        describe_accuracy(result),
    )


def describe_accuracy(result: Measurement) -> str:
    if result.accuracy is None:
        return "-"
    low, high = result.accuracy.interval
    return f"{format_share(result.accuracy.top1)} ({100 * low:.2f}…{100 * high:.2f}, n={result.accuracy.n})"


def label_of(result: Measurement) -> str:
    return f"{Path(result.file).name}, {result.runtime}, {result.threads} thread{'s' * (result.threads > 1)}"


def describe_memory(result: Measurement) -> str:
    """Say what each step adds to the resident memory, in the process where the peak was highest."""
    memory = max((run.memory for run in result.runs), key=lambda memory: memory.peak_bytes or 0, default=Memory())
    steps = (
        ("Python and numpy", memory.python_bytes),
        (result.runtime, memory.import_bytes),
        ("the file loaded", memory.load_bytes),
        ("running it", memory.peak_bytes),
    )
    parts, before = [], 0
    for name, size_bytes in steps:
        if size_bytes is None:
            return f"{format_bytes(memory.peak_bytes)}; this system does not tell its parts"
        parts.append(f"{name} {format_bytes(max(0, size_bytes - before))}")
        before = size_bytes
    return f"{format_bytes(memory.peak_bytes)} = " + " + ".join(parts)
