"""`edgecnn demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.shared import common, parse_folder, print_json, showing_progress
from edgecnn.cli.table import Cell, print_table, say
from edgecnn.units import format_bytes, format_count, format_ns, format_share

if TYPE_CHECKING:
    from edgecnn.demo import DemoResult


@click.command("demo")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    callback=parse_folder,
    default=Path("demo"),
    show_default=True,
    help="Folder to write to.",
)
@common
def command(out: Path, as_json: bool) -> None:
    """Train, compress, export, measure and check a small network, end to end.

    Everything it made lies in the folder afterwards; report.html shows it.

    \b
    Example:
      edgecnn demo -o demo
    """
    from edgecnn.demo import run_demo

    with showing_progress() as progress:
        result = run_demo(out, progress)
    if as_json:
        print_json(
            {
                "compressed": result.compressed.to_json(),
                "files": [file.to_json() for export in result.exports for file in export.files],
                "measurements": [measurement.to_json() for measurement in result.measurements],
                "fits": [fit.to_json() for fit in result.fits],
                "report": str(result.report),
            }
        )
        return
    _print(result)


def _print(result: DemoResult) -> None:
    compressed = result.compressed
    rows = [
        ["trained", format_count(compressed.before.params), format_count(compressed.before.macs)],
        ["compressed", format_count(compressed.after.params), format_count(compressed.after.macs)],
    ]
    for row, accuracy in zip(rows, (compressed.accuracy_before, compressed.accuracy_after), strict=True):
        row.append(format_share(accuracy.top1))
    n = compressed.accuracy_after.n
    title = f"Measured in torch, on {n} samples"
    print_table(title, ["network", "parameters", "MACs", "accuracy"], rows, right=(1, 2, 3))
    fastest = sorted(result.measurements, key=lambda measurement: measurement.p50_ns or 0.0)
    measured = [
        [
            Path(m.file).name,
            m.runtime,
            format_ns(m.p50_ns),
            format_ns(m.p90_ns),
            format_bytes(m.size_bytes),
            format_bytes(m.peak_rss_bytes),
            format_share(m.accuracy.top1 if m.accuracy else None),
        ]
        for m in fastest
    ]
    columns = ["file", "runtime", "p50", "p90", "size", "peak RSS", "accuracy"]
    print_table("Measured on this machine, one thread", columns, measured, right=(2, 3, 4, 5, 6), spare=(3, 5, 4))
    fits: list[list[Cell]] = [
        [
            fit.device,
            str(Path(fit.file).relative_to(result.report.parent)),
            [
                f"{region.name} {format_bytes(region.used_bytes)} of {format_bytes(region.limit_bytes)}"
                for region in fit.regions
            ],
            "fits" if fit.fits else "does not fit",
        ]
        for fit in result.fits
    ]
    print_table("On devices, estimated", ["device", "file", "memory", "verdict"], fits)
    say(f"report: {result.report}")
