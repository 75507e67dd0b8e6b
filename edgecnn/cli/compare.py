"""`edgecnn compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.names import complete_task
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, data_options, input_option, print_json, tables
from edgecnn.cli.table import format_worst, print_table, warn
from edgecnn.units import format_share

if TYPE_CHECKING:
    from edgecnn.datasets import DataSource


@click.command("compare", cls=Command)
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("candidate", type=click.Path(path_type=Path))
@data_options
@option(
    "--task",
    metavar="NAME",
    shell_complete=complete_task,
    default_text="as the files or the data say",
    section="Network and data",
    help="What the networks do, for the share of answers that agree: classification, segmentation or none.",
)
@input_option("Compare on noise of this shape, for example 1x3x224x224.")
@option(
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    default=1000,
    section="Network and data",
    help="Largest number of samples to compare on.",
)
@tables
@common
def command(
    reference: Path,
    candidate: Path,
    source: DataSource,
    task: str | None,
    samples: int,
    as_json: bool,
) -> None:
    """Compare two exported files on the same samples, each in its own runtime.

    \b
    Example:
      edgecnn compare out/m.fp32.onnx out/m.w8a8.tflite --data digits
    """
    from edgecnn.evaluate.compare import compare

    result = compare(
        reference,
        candidate,
        data=source,
        task=task,
        samples=samples,
    )
    for text in result.assumptions:
        warn(text)
    parity = result.parity.to_json()
    if as_json:
        print_json({"reference": result.reference, "candidate": result.candidate, **parity})
        return
    row = [
        Path(result.candidate).name,
        "identical" if result.parity.max_abs_diff == 0 else f"{result.parity.max_abs_diff:.3g}",
        format_worst(result.parity),
        format_share(result.parity.top1_agreement),
        str(result.parity.n),
    ]
    title = f"Measured against {result.reference}"
    print_table(
        title,
        ["candidate", "max diff", "worst SQNR", "top-1 agrees", "samples"],
        [row],
        right=(1, 2, 3, 4),
        spare=(4, 1),
    )
