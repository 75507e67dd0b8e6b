"""`edgecnn compare`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli.names import complete_task
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, data_options, parse_input_shape, print_json, tables
from edgecnn.cli.table import format_worst, print_table, warn
from edgecnn.normalization import Normalization, Resize
from edgecnn.units import format_share


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
@option(
    "--input",
    "input_text",
    metavar="SHAPE",
    section="Network and data",
    help="Compare on noise of this shape, for example 1x3x224x224.",
)
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
    data: str | None,
    data_dir: Path | None,
    download: bool,
    normalization: Normalization | None,
    resize: Resize | None,
    task: str | None,
    input_text: str | None,
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
        data=data,
        task=task,
        input_shape=parse_input_shape(input_text),
        samples=samples,
        normalization=normalization,
        resize=resize,
        data_dir=data_dir,
        download=download,
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
