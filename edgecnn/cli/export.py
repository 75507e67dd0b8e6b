"""`edgecnn export`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.names import complete_device, complete_recipe
from edgecnn.cli.quantities import Points
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import (
    common,
    data_options,
    input_option,
    model_options,
    parse_folder,
    print_json,
    showing_progress,
    tables,
    task_options,
)
from edgecnn.cli.table import format_worst, print_table, say, warn
from edgecnn.errors import LimitError
from edgecnn.units import format_bytes, format_share

if TYPE_CHECKING:
    from edgecnn.datasets import DataSource
    from edgecnn.evaluate.choice import TaskChoice
    from edgecnn.evaluate.verify import ExportedFile
    from edgecnn.pipeline import ExportResult
    from edgecnn.pipeline.comparison import Comparison
    from edgecnn.recipe import Recipe


@click.command("export", cls=Command)
@model_options
@data_options
@task_options
@input_option(
    "Input shape, for example 1x3x224x224; once for each input. Without --data the files are verified on noise of this "
    "shape.",
    default_text="the shape of the data",
    several=True,
)
@option(
    "--recipe",
    metavar="NAME",
    default="board",
    shell_complete=complete_recipe,
    section="Export",
    help="Export recipe, the set of files for a kind of target: board, phone, mcu, x86, or a TOML file.",
)
@option(
    "--eval-samples",
    type=click.IntRange(min=1),
    metavar="N",
    default_text="as in the recipe",
    section="Export",
    help="Number of samples to verify on.",
)
@option(
    "--quantize",
    metavar="STEPS",
    default_text="as in the recipe",
    section="Export",
    help="How int8 files are made: minmax (ranges alone), auto (tries the steps; the default with --max-drop), or "
    "steps joined by commas: mse, percentile or entropy (narrower ranges), ranges (the best for each tensor), cle "
    "(cross-layer equalization), adaround (adaptive rounding of weights), bias (bias correction).",
)
@option(
    "--max-drop",
    type=Points(),
    metavar="POINTS",
    default_text="as in the recipe",
    section="Export",
    help="Accuracy that each file may lose, in percentage points. Where int8 loses more, up to three layers stay in "
    "float.",
)
@option(
    "--integer-only",
    is_flag=True,
    section="Export",
    help="Compute int8 files in integers alone: no layer stays in float, and a file with an operator without an "
    "integer kernel is rejected.",
)
@option(
    "--device",
    metavar="NAME",
    shell_complete=complete_device,
    section="Export",
    help="Compare the files' latencies: estimated for this device, or measured here (host).",
)
@option(
    "--name",
    metavar="NAME",
    default_text="that of the weights file, else of the model",
    section="Output",
    help="Base name of the files.",
)
@option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    callback=parse_folder,
    default=Path("out"),
    section="Output",
    help="Folder to write to.",
)
@tables
@common
def command(
    model: str,
    weights: str | None,
    source: DataSource,
    task: TaskChoice,
    recipe: str,
    eval_samples: int | None,
    quantize: str | None,
    max_drop: float | None,
    integer_only: bool,
    device: str | None,
    name: str | None,
    out: Path,
    as_json: bool,
) -> int:
    """Export a network to ONNX and TFLite, float and int8, verified.

    MODEL is edgecnn:NAME, torchvision:NAME, timm:NAME, package.module:factory, FILE.py:factory, or a .safetensors, .pt2
    or .onnx file. Each exported file runs in its own runtime and is compared with the network. A file that breaks the
    recipe's limits is renamed to NAME.rejected. If one file cannot be made, the others still are. In both cases the
    exit code is 3.

    \b
    Example:
      edgecnn export edgecnn:resnet20 --weights resnet20.safetensors --data cifar10 --recipe board -o out/
      edgecnn export torchvision:mobilenet_v2 --input 1x3x224x224 --recipe phone
      edgecnn export FILE.py:factory --weights w.pth --data npz:sensors.npz --task regression -o out/
    """
    from edgecnn.pipeline import export_model
    from edgecnn.pipeline.export import reference_to_json
    from edgecnn.recipe import load_recipe

    with showing_progress() as progress:
        result = export_model(
            model,
            out,
            recipe=recipe,
            data=source,
            task=task,
            weights=weights,
            evaluation_samples=eval_samples,
            quantize=quantize,
            max_drop=max_drop,
            integer_only=integer_only,
            device=device,
            name=name,
            progress=progress,
        )
    for text in result.warnings:
        warn(text)
    for file in result.files:
        if file.parity.moved:
            moved = ", ".join(map(str, file.parity.moved[:5])) + ", ..." * (len(file.parity.moved) > 5)
            warn(f"{file.path.name} changes constant outputs of the network: {moved}")
        if file.float_operators:
            named = ", ".join(f"{kind} ({output})" for kind, output in file.float_operators[:5])
            more = f" and {len(file.float_operators) - 5} more" if len(file.float_operators) > 5 else ""
            warn(f"{file.path.name} still computes in float: {named}{more}")
    if as_json:
        files = [*(file.to_json() for file in result.files), *(file.to_json() for file in result.failed)]
        compared = {"comparison": result.comparison and result.comparison.to_json()}
        print_json({"files": files, **reference_to_json(result.reference), **compared})
    else:
        _print(result)
        if result.comparison is not None:
            _print_comparison(result.comparison)
        words = _command(model, weights, source, task, out)
        for file in result.files:
            _print_next_steps(file, recipe, load_recipe(recipe), result, words)
    bad: list[tuple[Path, str, Exception | None]] = [(f.path, f.rejected, None) for f in result.files if f.rejected]
    bad += [(file.path, file.reason, file.error) for file in result.failed]
    for path, reason, _ in bad[1:]:
        warn(f"{path}: {reason}")
    if bad:
        path, reason, error = bad[0]
        raise LimitError(f"{path}: {reason}") from error
    return 0


def _print_comparison(comparison: Comparison) -> None:
    """Print the files on a device, the fastest first, and the one to ship."""
    from edgecnn.cli.estimates import print_estimates
    from edgecnn.cli.results import print_results

    if comparison.measured:
        print_results(comparison.measured)
    if comparison.predicted:
        print_estimates(comparison.device, comparison.predicted, comparison.choices)
    else:
        for choice in comparison.choices:
            say(str(choice))
    for sentence in comparison.slower_int8:
        say(sentence)


def _print_next_steps(
    file: ExportedFile, name: str, recipe: Recipe, result: ExportResult, words: Sequence[str]
) -> None:
    """Print what to try after a rejected file; *words* are the command without a recipe, *name* is that of *recipe*."""
    from edgecnn.evaluate.layers import worst_layer

    worst = worst_layer(file.layers)
    if worst is not None:
        say(f"{file.path.name} gets most of its quantization noise (SQNR) in {worst}; edgecnn debug shows all layers")
    own = file.artifact
    floats = [one for one in result.files if one.artifact.format == own.format and one.artifact.precision == "fp32"]
    lost_by_int8 = file.breaks_limit and own.precision == "w8a8" and not any(one.rejected for one in floats)
    if lost_by_int8 and not own.metadata.get("quantize"):
        again = shlex.join([*words, "--recipe", name, "--quantize", "auto"])
        say(f"next: --quantize auto corrects the int8 file layer by layer: {again}")
    if lost_by_int8 and recipe.runtime is None:
        kept = [one for one in result.files if one.artifact.precision == "w8" and not one.rejected]
        for one in kept:
            say(f"next: use {one.path.name}, which keeps the activations in float and is within the limits")
        if not any("w8" in precisions for precisions in recipe.files.values()):
            say(f"next: w8 keeps the activations in float: {shlex.join([*words, '--recipe', 'phone'])}")
    if file.rejected and not file.breaks_limit and recipe.runtime is None:
        say(f"next: write the network without that operator, or leave out --integer-only: {shlex.join(words)}")
    elif file.rejected and not file.breaks_limit:
        board = shlex.join([*words, "--recipe", "board"])
        say(f"next: write the network without that operator, or take a board with Linux: {board}")


def _command(
    model: str,
    weights: str | None,
    source: DataSource,
    task: TaskChoice,
    out: Path,
) -> list[str]:
    """Return the words of the command that exports the same network, without its recipe."""
    given = {
        "--weights": weights,
        "--data": source.data,
        "--task": task.task,
        "--metric": task.metric,
        "--decode": task.decode,
        "--normalize": source.normalization,
        "--resize": source.resize,
        "-o": out,
    }
    shapes = [shape for shape in (source.input_shape, *(source.input_shapes or ())) if shape is not None]
    pairs = [*given.items(), *(("--input", "x".join(map(str, (1, *shape)))) for shape in shapes)]
    options = [word for name, value in pairs if value is not None for word in (name, str(value))]
    return ["edgecnn", "export", model, *options]


def _print(result: ExportResult) -> None:
    rows = []
    for file in result.files:
        score, parity = file.score, file.parity
        rows.append(
            [
                file.path.name,
                file.artifact.precision,
                format_bytes(file.artifact.size_bytes),
                score.text if score else "-",
                score.interval_text if score else "-",
                "identical" if parity.max_abs_diff == 0 else f"{parity.max_abs_diff:.2g}",
                format_worst(parity),
                format_share(parity.top1_agreement),
                "rejected" if file.rejected else "ok",
            ]
        )
    rows += [[file.path.name, file.precision, *["-"] * 6, "failed"] for file in result.failed]
    name = "score" if result.reference is None else result.reference.name
    folder, n = result.files[0].path.parent, result.files[0].parity.n
    columns = ["file", "precision", "size", name, "95 %", "max diff", "worst SQNR", "top-1 agrees", "verdict"]
    title = f"Exported to {folder}, measured in each file's runtime on {n} samples"
    print_table(title, columns, rows, right=(2, 3, 4, 5, 6, 7), spare=(4, 1, 5, 7, 6))
    for file in result.files:
        if file.attempts:
            tried = "; ".join(map(str, file.attempts))
            say(f"{file.path.name}, on samples held back from calibration: {tried}")
    if result.reference is not None:
        say(f"The network before export: {name} {result.reference.text} on the same samples.")
    else:
        say(f"No score: {result.no_score}.")
