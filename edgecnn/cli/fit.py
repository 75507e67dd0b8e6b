"""`edgecnn fit`: whether a file fits a device's memory."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli.names import complete_device
from edgecnn.cli.quantities import Size
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, print_json, tables
from edgecnn.cli.table import print_table, say
from edgecnn.fit import FitReport, check_fit
from edgecnn.units import format_bytes

DOES_NOT_FIT = 1


@click.command("fit", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@option(
    "--device",
    metavar="NAME",
    shell_complete=complete_device,
    section="Device",
    help="A device that `edgecnn devices` lists, or a TOML file.",
)
@option(
    "--ram",
    type=Size(),
    metavar="SIZE",
    default_text="the device's RAM",
    section="Device",
    help="RAM limit, for example 64KiB.",
)
@option(
    "--flash",
    type=Size(),
    metavar="SIZE",
    default_text="the device's flash",
    section="Device",
    help="Flash limit, for example 256KiB.",
)
@option(
    "--kind",
    type=click.Choice(["mcu", "linux"]),
    default_text="mcu with --flash or up to 8 MiB of RAM, else linux",
    section="Device",
    help="Kind of device that --ram and --flash describe.",
)
@tables
@common
def command(file: Path, device: str | None, ram: int | None, flash: int | None, kind: str | None, as_json: bool) -> int:
    """Check whether a file fits a device's memory.

    FILE is a .tflite or .onnx file. It is read, not run: neither a runtime nor a board is needed. The exit code is 0 if
    the file fits, 1 if it does not, and 2 for an error.

    \b
    Example:
      edgecnn fit out/resnet20.w8a8.tflite --device stm32h7a3
      edgecnn fit out/resnet20.w8a8.tflite --ram 64KiB --flash 256KiB
      edgecnn fit out/resnet20.w8a8.onnx --device rpi4 --ram 64MiB
      edgecnn fit out/resnet20.fp32.onnx --device rpi4 --json
    """
    report = check_fit(file, device, ram_bytes=ram, flash_bytes=flash, kind=kind)
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    return 0 if report.fits else DOES_NOT_FIT


def _print_report(report: FitReport) -> None:
    rows = [
        (
            region.name,
            format_bytes(region.used_bytes),
            format_bytes(region.limit_bytes),
            format_bytes(region.headroom_bytes),
            "yes" if region.fits else "no",
        )
        for region in report.regions
    ]
    columns = ("memory", "use", "limit", "left", "fits")
    print_table(f"{report.file} on {report.device}, estimated", columns, rows, right=(1, 2, 3))
    parts = [
        (region.name, part, format_bytes(size)) for region in report.regions for part, size in region.parts.items()
    ]
    print_table("Memory by part", ("memory", "part", "size"), parts, right=(2,))
    if report.peak is not None:
        peak = report.peak
        say(f"peak: {format_bytes(peak.live_bytes)} live at operator {peak.step}, {peak.operator}")
        for name, size in peak.tensors:
            say(f"  {format_bytes(size)}  {name}")
    for operator in report.unsupported_operators:
        say(f"unsupported: {operator}")
    for warning in report.warnings:
        say(f"warning: {warning}")
    for note in report.notes:
        say(f"note: {note}")
    for step in report.next_steps:
        say(f"next: {step}")
    besides = ", without what the warnings name" if report.warnings else ""
    say(f"fits{besides}" if report.fits else "does not fit")
