"""`edgecnn debug`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, data_options, print_json, showing_progress, tables
from edgecnn.cli.table import print_table
from edgecnn.errors import EdgecnnError
from edgecnn.units import format_share

if TYPE_CHECKING:
    from edgecnn.datasets import DataSource


@click.command("debug", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@option(
    "--against",
    required=True,
    metavar="MODEL",
    section="Network and data",
    help="Network that the file was made from, or its fp32 file of the same format.",
)
@option("--weights", metavar="FILE", section="Network and data", help="Weights of that network.")
@data_options
@option(
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    default=32,
    section="Network and data",
    help="Number of samples to run.",
)
@option(
    "--layers",
    type=click.IntRange(min=1),
    metavar="N",
    default=20,
    section="Output",
    help="Number of layers to show, the worst first.",
)
@tables
@common
def command(
    file: Path,
    against: str,
    weights: str | None,
    source: DataSource,
    samples: int,
    layers: int,
    as_json: bool,
) -> None:
    """Show in which layers an int8 file loses its signal, the worst first.

    For each layer: SQNR of its inputs and of its output against the float network, its share of the noise that all
    layers add, the share of the int8 range that its output uses, and the share of values at the end of that range.

    \b
    Example:
      edgecnn debug out/m.w8a8.tflite --against out/m.fp32.tflite --data digits
    """
    from edgecnn.pipeline.debug import debug_int8

    if source.data is None:
        raise EdgecnnError("debug needs samples: give --data, for example --data digits")
    with showing_progress() as progress:
        result = debug_int8(
            file,
            against,
            source,
            weights=weights,
            samples=samples,
            progress=progress,
        )
    if as_json:
        print_json(result.to_json())
        return
    rows = [
        [
            f"{layer.kind} {layer.name}",
            str(layer.step),
            f"{layer.input_db:.1f} dB",
            f"{layer.output_db:.1f} dB",
            format_share(result.share(layer)),
            format_share(layer.range_used),
            format_share(layer.saturated),
        ]
        for layer in result.layers[:layers]
    ]
    print_table(
        f"{file.name} against {result.against}, measured on {result.n} samples",
        ["layer", "operator", "SQNR before", "SQNR after", "of the noise", "range used", "saturated"],
        rows,
        right=(1, 2, 3, 4, 5, 6),
        spare=(1, 6, 5),
    )
