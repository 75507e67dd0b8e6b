"""`edgecnn compress`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli.names import complete_criterion
from edgecnn.cli.shared import common, data_options, model_options, print_json, showing_progress
from edgecnn.cli.table import print_table, warn
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization
from edgecnn.units import format_count, format_share


@click.command("compress")
@model_options
@data_options
@click.option("--ratio", type=float, default=0.5, show_default=True, help="Share of the channels to prune, in [0, 1).")
@click.option(
    "--criterion",
    default="l2",
    show_default=True,
    shell_complete=complete_criterion,
    help="What filters are judged by: l1 or l2.",
)
@click.option(
    "--round-to", type=click.IntRange(min=1), default=1, show_default=True, help="Multiple of channel counts."
)
@click.option("--epochs", type=click.IntRange(min=0), default=10, show_default=True, help="Of fine-tuning.")
@click.option("--learning-rate", type=float, default=3e-3, show_default=True, help="The peak of its one cycle.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@common
def command(
    model: str,
    weights: str | None,
    data: str | None,
    data_dir: Path | None,
    download: bool,
    normalization: Normalization | None,
    ratio: float,
    criterion: str,
    round_to: int,
    epochs: int,
    learning_rate: float,
    out: Path,
    as_json: bool,
) -> None:
    """Prune filters of a network and fine-tune it.

    The result is a checkpoint that `edgecnn export` takes as MODEL.

    \b
    Example:
      edgecnn compress edgecnn:digits-cnn --weights digits.safetensors --data digits --ratio 0.5 -o small.safetensors
    """
    from edgecnn.pipeline import compress_model

    if data is None:
        raise EdgecnnError("compress fine-tunes, so it needs labelled data: give --data digits, say")
    with showing_progress() as progress:
        result = compress_model(
            model,
            out,
            data=data,
            pruning_ratio=ratio,
            criterion=criterion,
            round_to=round_to,
            epochs=epochs,
            learning_rate=learning_rate,
            weights=weights,
            normalization=normalization,
            data_dir=data_dir,
            download=download,
            progress=progress,
        )
    for text in result.warnings:
        warn(text)
    if as_json:
        print_json(result.to_json())
        return
    rows = [
        ["original", format_count(result.before.params), format_count(result.before.macs)],
        [str(result.path), format_count(result.after.params), format_count(result.after.macs)],
    ]
    for row, accuracy in zip(rows, (result.accuracy_before, result.accuracy_after), strict=True):
        low, high = accuracy.interval
        row += [format_share(accuracy.top1), f"{100 * low:.1f}…{100 * high:.1f}"]
    title = f"Measured in torch, on {result.accuracy_after.n} samples"
    print_table(title, ["network", "parameters", "MACs", "accuracy", "95 %"], rows, right=(1, 2, 3, 4), spare=(4,))
