"""`edgecnn bench`: latency, memory and accuracy of exported files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import click

from edgecnn.cli.shared import common, complete_device, data_options, print_json, print_table, showing_progress, warn
from edgecnn.measurement import Measurement, Memory, to_document
from edgecnn.units import format_bytes, format_ns, format_share

_COLUMNS = ("file", "runtime", "threads", "p50", "p90", "p99", "load", "first call", "peak RSS", "size", "top-1 (95 %)")


def parse_numbers(ctx: click.Context, param: click.Parameter, text: str) -> tuple[int, ...]:
    """Return the whole numbers from 1 to 9999 that *text* lists: `1,2,4`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,3}", part) for part in parts):
        raise click.BadParameter(f"'{text}' is not a list of whole numbers from 1 to 9999, like 1,2,4")
    return tuple(int(part) for part in parts)


@click.command("bench")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--device", default="host", metavar="NAME", shell_complete=complete_device, help="Whose figures (host).")
@click.option("--target", default="local", metavar="TARGET", help="Where it runs (local).")
@click.option(
    "--runtime", default="", metavar="NAME,NAME", help="litert, onnxruntime; else the usual one of each file."
)
@click.option("--threads", default="1", callback=parse_numbers, help="How many threads, several in one go: 1,2,4.")
@click.option(
    "--processes", type=click.IntRange(min=1), default=3, show_default=True, help="Worker processes a result."
)
@click.option(
    "--min-time",
    type=click.FloatRange(min=0, max=3600),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds measured, a process.",
)
@data_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the results there as JSON."
)
@common
def command(
    files: Sequence[Path],
    device: str,
    target: str,
    runtime: str,
    threads: tuple[int, ...],
    processes: int,
    min_time: float,
    data: str | None,
    data_dir: str | None,
    download: bool,
    normalize: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure latency, memory and accuracy of exported files.

    Each of FILES runs in processes of its own. What was measured before a failure or Ctrl-C is shown and written all
    the same.

    \b
    Example:
      edgecnn bench out/m.w8a8.tflite out/m.fp32.onnx --data digits
      edgecnn bench out/m.w8a8.tflite --threads 1,2,4 --json -o results.json
      edgecnn bench theirs.tflite --data cifar10 --normalize pixels
    """
    from edgecnn.benchmarks.measure import Effort
    from edgecnn.benchmarks.plan import measure_files
    from edgecnn.files import check_writable, write_whole
    from edgecnn.normalization import Normalization

    if output is not None:
        check_writable(output)
    results: list[Measurement] = []
    try:
        with showing_progress() as progress:
            for measurement in measure_files(
                files,
                runtimes=[name.strip() for name in runtime.split(",") if name.strip()],
                threads=threads,
                device=device,
                target=target,
                data=data,
                data_dir=data_dir,
                download=download,
                normalization=None if normalize is None else Normalization.parse(normalize),
                effort=Effort(processes=processes, min_time_s=min_time),
                progress=progress,
            ):
                results.append(measurement)
                if output is not None:
                    write_whole(output, json.dumps(to_document(results), indent=1) + "\n")
    finally:
        if results and as_json:
            print_json(to_document(results))
        elif results:
            print_results(results)


def print_results(results: Sequence[Measurement]) -> None:
    """Print one table of all *results*, the fastest first, and below it what its figures contain and rest on."""
    from edgecnn.benchmarks.gains import missing_gains

    fastest = sorted(results, key=lambda result: result.p50_ns or 0.0)
    first = fastest[0]
    title = f"{first.method.capitalize()} on {first.device} ({first.conditions.get('cpu') or first.target})"
    print_table(title, _COLUMNS, [_row(result) for result in fastest], right=tuple(range(2, 10)))
    click.echo("peak RSS is all of the worker process:")
    for result in fastest:
        click.echo(f"  {_label(result)}: {_memory(result)}")
    for assumption in dict.fromkeys(text for result in results for text in result.assumptions):
        click.echo(assumption)
    for sentence in missing_gains(fastest):
        click.echo(sentence)
    for result in fastest:
        for warning in result.warnings:
            warn(f"{_label(result)}: {warning}")


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
        _accuracy(result),
    )


def _accuracy(result: Measurement) -> str:
    if result.accuracy is None:
        return "-"
    low, high = result.accuracy.interval
    return f"{format_share(result.accuracy.top1)} ({100 * low:.2f}…{100 * high:.2f}, n={result.accuracy.n})"


def _label(result: Measurement) -> str:
    return f"{Path(result.file).name}, {result.runtime}, {result.threads} thread{'s' * (result.threads > 1)}"


def _memory(result: Measurement) -> str:
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
