"""`edgecnn report`: one page about exported files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.names import complete_device
from edgecnn.cli.shared import common, data_options, is_standard_output, print_json, showing_progress
from edgecnn.cli.table import say, warn
from edgecnn.errors import EdgecnnError

if TYPE_CHECKING:
    from edgecnn.normalization import Normalization, Resize


@click.command("report")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@data_options
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_device,
    help="A device of `edgecnn devices`; may be given several times.  [default: usual ones that suit the files]",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Show these results of `edgecnn bench -o` and measure nothing.",
)
@click.option("--title", metavar="TITLE", help="Title of the page.  [default: the names of the files]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default=Path("report.html"),
    show_default=True,
    help="The page to write; - is standard output.",
)
@common
def command(
    files: Sequence[Path],
    data: str | None,
    data_dir: Path | None,
    download: bool,
    normalization: Normalization | None,
    resize: Resize | None,
    devices: tuple[str, ...],
    results: Path | None,
    title: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Write one page about exported files: accuracy, latency, size, and the devices they fit.

    Each of FILES is measured briefly on this machine; latency and memory on devices are estimated. With --data the
    accuracy is measured as well; without, it is what the export found. A file that cannot be run stands on the page
    with the reason. The page needs no network and no other file.

    \b
    Example:
      edgecnn report out/m.w8a8.tflite out/m.fp32.tflite --data digits -o report.html
      edgecnn report out/m.w8a8.tflite --device rpi4 --device nrf5340
      edgecnn report theirs.tflite --results results.json -o theirs.html
    """
    from edgecnn.report import write_report

    to_standard_output = is_standard_output(output)
    if to_standard_output and as_json:
        raise EdgecnnError("-o - and --json both go to standard output; write the page to a file")
    with showing_progress() as progress:
        report = write_report(
            files,
            None if to_standard_output else output,
            title=title,
            data=data,
            data_dir=data_dir,
            download=download,
            normalization=normalization,
            resize=resize,
            devices=devices,
            results=results,
            progress=progress,
        )
    for file in report.contents.files:
        if file.failure is not None:
            warn(file.failure)
    if as_json:
        print_json(report.to_json())
    elif to_standard_output:
        click.echo(report.page, nl=False)
    else:
        say(f"report: {report.path}")
