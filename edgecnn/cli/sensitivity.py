"""`edgecnn sensitivity`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli.names import complete_criterion
from edgecnn.cli.shared import (
    common,
    data_options,
    model_options,
    parse_folder,
    parse_input_shape,
    print_json,
    showing_progress,
    tables,
)
from edgecnn.cli.table import print_table, say, warn
from edgecnn.errors import EdgecnnError, require
from edgecnn.files import check_writable
from edgecnn.normalization import Normalization, Resize


def parse_ratios(ctx: click.Context, param: click.Parameter, text: str) -> tuple[float, ...]:
    """Read `0.5,1.0` as (0.5, 1.0).

    Raises:
        EdgecnnError: another form.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise EdgecnnError(f"--ratio '{text}' is not understood; write one ratio or several: 0.25,0.5,1.0") from None


@click.command("sensitivity")
@model_options
@data_options
@click.option(
    "--ratio",
    "ratios",
    metavar="RATIOS",
    default="0.5,1.0",
    show_default=True,
    callback=parse_ratios,
    help="Shares of a layer's filters to cut; 1.0 takes a layer or block out whole, where it can go.",
)
@click.option("--input", "input_text", metavar="SHAPE", help="Shape that images of folder:DIR come to, 1x3x224x224.")
@click.option(
    "--criterion",
    default="l2",
    show_default=True,
    shell_complete=complete_criterion,
    help="What filters are judged by: a name, or package.module:function or FILE.py:function of your own.",
)
@click.option(
    "--round-to", type=click.IntRange(min=1), default=1, show_default=True, help="Multiple of channel counts."
)
@click.option(
    "--per",
    type=click.Choice(("bytes", "macs")),
    default="bytes",
    show_default=True,
    help="Rank by what is lost for the bytes or for the MACs saved.",
)
@click.option(
    "--agreement",
    type=float,
    default=0.98,
    show_default=True,
    help="How well the ranking must be known (Spearman) before no more samples are taken; 1 takes all.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    callback=parse_folder,
    help="A folder for the table, the plot and the JSON.",
)
@tables
@common
def command(
    model: str,
    weights: str | None,
    data: str | None,
    data_dir: Path | None,
    download: bool,
    normalization: Normalization | None,
    resize: Resize | None,
    input_text: str | None,
    ratios: tuple[float, ...],
    criterion: str,
    round_to: int,
    per: str,
    agreement: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Cut each layer of a network alone: what is lost, what is saved.

    Judged on a tenth of the training data that is kept for it, or on half of the evaluation data where the network was
    trained on that tenth. Every cut is judged on a sample, and on more where the ranking is not clear yet. Batch norm's
    statistics follow each cut, by other images, so that only what training has to mend counts.

    \b
    Example:
      edgecnn sensitivity edgecnn:resnet20 --weights resnet20.safetensors --data cifar10 --ratio 0.5,1.0 -o sensitivity/
    """
    from edgecnn.pipeline import measure_sensitivity
    from edgecnn.report.sensitivity import COLUMNS, sensitivity_files, staying, table_of, title_of, write_sensitivity

    if data is None:
        raise EdgecnnError("sensitivity judges by labelled data: give --data digits, say")
    if out is not None:
        require("matplotlib", "report")  # missed now, not after the passes
        for path in sensitivity_files(out):
            check_writable(path)
    with showing_progress() as progress:
        result = measure_sensitivity(
            model,
            data=data,
            input_shape=parse_input_shape(input_text),
            ratios=ratios,
            criterion=criterion,
            round_to=round_to,
            per=per,
            agreement=agreement,
            weights=weights,
            normalization=normalization,
            resize=resize,
            data_dir=data_dir,
            download=download,
            progress=progress,
        )
    written = write_sensitivity(result, out) if out is not None else ()
    for text in result.notes:
        warn(text)
    if as_json:
        print_json(result.to_json())
        return
    print_table(f"{title_of(result)}:", COLUMNS, table_of(result), right=(0, *range(3, 11)), spare=(7, 4, 8, 5))
    for line in staying(result):
        say(line)
    for path in written:
        say(f"wrote {path}")
