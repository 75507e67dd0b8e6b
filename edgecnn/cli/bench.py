"""`edgecnn bench`: latency, memory and accuracy of exported files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import click

from edgecnn.cli.names import complete_device, complete_runtimes
from edgecnn.cli.results import print_results
from edgecnn.cli.shared import common, data_options, print_json, showing_progress
from edgecnn.cli.table import warn
from edgecnn.measurement import Measurement, to_document
from edgecnn.normalization import Normalization


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
    "--runtime",
    default="",
    metavar="NAME,NAME",
    shell_complete=complete_runtimes,
    help="litert, onnxruntime; else the usual one of each file.",
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
    data_dir: Path | None,
    download: bool,
    normalization: Normalization | None,
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
    from edgecnn.benchmarks.plan import left_out, measure_files
    from edgecnn.files import check_writable, write_whole

    if output is not None:
        check_writable(output)
    runtimes = [name.strip() for name in runtime.split(",") if name.strip()]
    results: list[Measurement] = []
    try:
        with showing_progress() as progress:
            for measurement in measure_files(
                files,
                runtimes=runtimes,
                threads=threads,
                device=device,
                target=target,
                data=data,
                data_dir=data_dir,
                download=download,
                normalization=normalization,
                effort=Effort(processes=processes, min_time_s=min_time),
                progress=progress,
            ):
                results.append(measurement)
                if output is not None:
                    write_whole(output, json.dumps(to_document(results), indent=1) + "\n")
    finally:
        for sentence in left_out(results, runtimes):
            warn(sentence)
        if results and as_json:
            print_json(to_document(results))
        elif results:
            print_results(results)
