"""`edgecnn sensitivity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.names import complete_criterion
from edgecnn.cli.quantities import Fraction
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import (
    common,
    data_options,
    input_option,
    model_options,
    parse_folder,
    print_json,
    showing_progress,
    substitute_option,
    tables,
    task_options,
)
from edgecnn.cli.table import print_table, say, warn
from edgecnn.compress.settings import CRITERION
from edgecnn.errors import EdgecnnError, require
from edgecnn.files import check_writable

if TYPE_CHECKING:
    from edgecnn.datasets import DataSource
    from edgecnn.evaluate.choice import TaskChoice


def parse_ratios(ctx: click.Context, param: click.Parameter, text: str) -> tuple[float, ...]:
    """Read `0.5,1.0` as (0.5, 1.0).

    Raises:
        EdgecnnError: another form.
    """
    try:
        return tuple(map(Fraction().read, text.split(",")))
    except EdgecnnError:
        raise EdgecnnError(f"--ratio '{text}' is not valid; write one ratio or several: 0.25,0.5,1.0") from None


@click.command("sensitivity", cls=Command)
@model_options
@data_options
@task_options
@input_option()
@option(
    "--ratio",
    "ratios",
    metavar="FRACTION,FRACTION",
    default="0.5,1.0",
    callback=parse_ratios,
    section="Search",
    help="Fractions of a layer's filters to cut; 1.0 removes the whole layer or block where that is possible.",
)
@substitute_option("Put these blocks in place of each plain convolution too")
@option(
    "--criterion",
    metavar="NAME",
    default=CRITERION,
    shell_complete=complete_criterion,
    section="Search",
    help="How filters are ranked: a name, or your own package.module:function or FILE.py:function.",
)
@option(
    "--round-to",
    type=click.IntRange(min=1),
    metavar="CHANNELS",
    default=1,
    section="Search",
    help="Keep channel counts at multiples of this.",
)
@option(
    "--per",
    type=click.Choice(("bytes", "macs", "activations")),
    default="bytes",
    section="Search",
    help="Rank by loss increase per saved byte, per saved MAC, or per saved element of the largest activations.",
)
@option(
    "--agreement",
    type=Fraction(),
    metavar="FRACTION",
    default=0.98,
    section="Search",
    help="Take more samples until the ranking is this certain (Spearman correlation); 1 takes all samples.",
)
@option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    callback=parse_folder,
    section="Output",
    help="Write the table, the plot and the JSON to this folder.",
)
@tables
@common
def command(
    model: str,
    weights: str | None,
    source: DataSource,
    task: TaskChoice,
    ratios: tuple[float, ...],
    substitutes: tuple[str, ...],
    criterion: str,
    round_to: int,
    per: str,
    agreement: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Cut each layer of a network separately, and show the loss and the saving.

    Cuts are judged on a tenth of the training data, or on half of the evaluation data if the network was trained on
    that tenth. Each cut is judged on a sample of images, and on more images while the ranking is uncertain. Batch norm
    statistics are recomputed on other images after each cut, so that only the loss that needs training counts.

    \b
    Example:
      edgecnn sensitivity edgecnn:resnet20 --weights resnet20.safetensors --data cifar10 --ratio 0.5,1.0 -o sensitivity/
    """
    from edgecnn.pipeline import measure_sensitivity
    from edgecnn.report.sensitivity import COLUMNS, sensitivity_files, staying, table_of, title_of, write_sensitivity

    if source.data is None:
        raise EdgecnnError("sensitivity needs data: give --data, for example --data digits")
    if out is not None:
        require("matplotlib", "report")  # missed now, not after the passes
        for path in sensitivity_files(out):
            check_writable(path)
    with showing_progress() as progress:
        result = measure_sensitivity(
            model,
            data=source,
            task=task,
            ratios=ratios,
            substitutes=substitutes,
            criterion=criterion,
            round_to=round_to,
            per=per,
            agreement=agreement,
            weights=weights,
            progress=progress,
        )
    written = write_sensitivity(result, out) if out is not None else ()
    for text in result.notes:
        warn(text)
    if as_json:
        print_json(result.to_json())
        return
    spare = (7, 4, 8, 5) if per == "activations" else (11, 7, 4, 8, 5)
    print_table(f"{title_of(result)}:", COLUMNS, table_of(result), right=(0, *range(3, 12)), spare=spare)
    for line in staying(result):
        say(line)
    for path in written:
        say(f"wrote {path}")
