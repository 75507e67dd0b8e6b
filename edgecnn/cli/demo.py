"""`edgecnn demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, parse_folder, print_json, showing_progress
from edgecnn.cli.table import Cell, print_table, say
from edgecnn.units import format_bytes, format_count, format_ns

if TYPE_CHECKING:
    from edgecnn.demo import DemoResult


@click.command("demo", cls=Command)
@option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    callback=parse_folder,
    default=Path("demo"),
    section="Output",
    help="Folder to write to.",
)
@common
def command(out: Path, as_json: bool) -> None:
    """Train, compress, export and measure a small network, end to end.

    All files are written to one folder; report.html there shows the results.

    \b
    Example:
      edgecnn demo -o demo
    """
    from edgecnn.demo import run_demo

    with showing_progress() as progress:
        result = run_demo(out, progress=progress)
    if as_json:
        print_json(
            {
                "compressed": result.compressed.to_json(),
                "files": [file.to_json() for export in result.exports for file in export.files],
                "measurements": [measurement.to_json() for measurement in result.report.measurements],
                "devices": [prediction.to_json() for prediction in result.report.predictions],
                "report": str(result.report.path),
            }
        )
        return
    _print(result, out)


def _print(result: DemoResult, out: Path) -> None:
    compressed = result.compressed
    rows = [
        ["trained", format_count(compressed.before.params), format_count(compressed.before.macs)],
        ["compressed", format_count(compressed.after.params), format_count(compressed.after.macs)],
    ]
    for row, score in zip(rows, (compressed.score_before, compressed.score_after), strict=True):
        row.append(score.text if score else "-")
    n = compressed.verdict.n
    title = f"Measured in torch, on {n} samples"
    print_table(title, ["network", "parameters", "MACs", "accuracy"], rows, right=(1, 2, 3))
    fastest = sorted(result.report.measurements, key=lambda measurement: measurement.p50_ns or 0.0)
    measured = [
        [
            _name(m.file, out),
            m.runtime,
            format_ns(m.p50_ns),
            format_ns(m.p90_ns),
            format_bytes(m.size_bytes),
            format_bytes(m.peak_rss_bytes),
            m.score.text if m.score else "-",
        ]
        for m in fastest
    ]
    columns = ["file", "runtime", "p50", "p90", "size", "peak RSS", "accuracy"]
    print_table("Measured on this machine, one thread", columns, measured, right=(2, 3, 4, 5, 6), spare=(3, 5, 4))
    fits: list[list[Cell]] = [
        [
            one.device,
            _name(str(one.artifact.path), out),
            f"~{format_ns(one.estimate.p50_ns)}" if one.estimate else "-",
            [
                f"{region.name} {format_bytes(region.used_bytes)} of {format_bytes(region.limit_bytes)}"
                for region in one.fit.regions
            ],
            "fits" if one.fit.fits else "does not fit",
        ]
        for one in result.report.smallest
        if one.fit
    ]
    columns = ["device", "file", "latency", "memory", "verdict"]
    print_table("On devices, estimated, the file that takes the least RAM", columns, fits)
    say(f"report: {result.report.path}")


def _name(file: str, folder: Path) -> str:
    return str(Path(file).relative_to(folder))
