"""`edgecnn report`: one page about exported files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.names import complete_device
from edgecnn.cli.quantities import Size
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, data_options, is_standard_output, print_json, showing_progress, task_options
from edgecnn.cli.table import say, warn
from edgecnn.errors import EdgecnnError

if TYPE_CHECKING:
    from edgecnn.datasets import DataSource
    from edgecnn.evaluate.choice import TaskChoice


@click.command("report", cls=Command)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@data_options
@task_options
@option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_device,
    default_text="common devices that suit the files",
    section="Device",
    help="Device to estimate for. Repeat the option for several.",
)
@option(
    "--ram",
    type=Size(),
    metavar="SIZE",
    default_text="the device's RAM",
    section="Device",
    help="RAM a file may take, for example 64KiB. Without --device it is the limit of a device of its own.",
)
@option(
    "--flash",
    type=Size(),
    metavar="SIZE",
    default_text="the device's flash",
    section="Device",
    help="Flash a file may take, for example 256KiB.",
)
@option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="FILE",
    section="Measurement",
    help="Show these results of `edgecnn bench -o` instead of measuring.",
)
@option(
    "--profile",
    is_flag=True,
    section="Measurement",
    help="Show the time of each operator, by the runtime's own profiler.",
)
@option(
    "--title", metavar="TITLE", default_text="the names of the files", section="Output", help="Title of the report."
)
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default=Path("report.html"),
    section="Output",
    help="HTML file to write; - is standard output.",
)
@common
def command(
    files: Sequence[Path],
    source: DataSource,
    task: TaskChoice,
    devices: tuple[str, ...],
    ram: int | None,
    flash: int | None,
    results: Path | None,
    profile: bool,
    title: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Write an HTML report on exported files: accuracy, latency, size, and the devices they fit.

    Each file is measured briefly on this machine; latency and memory on devices are estimated. With --data the accuracy
    is measured as well; without it, the report shows the accuracy that the export measured. A file that cannot be run
    is listed with the reason. The HTML file is self-contained and works offline.

    \b
    Example:
      edgecnn report out/m.w8a8.tflite out/m.fp32.tflite --data digits -o report.html
      edgecnn report out/m.w8a8.tflite --device rpi4 --device nrf5340
      edgecnn report out/m.w8a8.tflite --ram 64KiB --flash 256KiB
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
            data=source,
            task=task,
            devices=devices,
            ram_bytes=ram,
            flash_bytes=flash,
            results=results,
            profile=profile,
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
