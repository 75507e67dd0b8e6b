"""`edgecnn compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from edgecnn.cli.names import complete_criterion, complete_device, complete_model, complete_order
from edgecnn.cli.shared import (
    F,
    common,
    data_options,
    model_options,
    parse_input_shape,
    print_json,
    showing_progress,
    tables,
)
from edgecnn.cli.table import print_table, say, warn
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization, Resize
from edgecnn.units import format_bytes, format_count, format_share, parse_bytes

if TYPE_CHECKING:
    from edgecnn.pipeline import CompressResult

_FEWEST_POINTS = 0.05  # of accuracy, less than one of 2 000 samples
MISSES_A_GOAL = 1  # as `edgecnn fit` where a file does not fit

#: What tells how to search, and what a plan tells.
_OF_SEARCH = ("order", "layers", "share", "reference", "epochs_between")
_OF_PLAN = (
    "criterion",
    "round_to",
    "epochs",
    "learning_rate",
    "optimizer",
    "batch_size",
    "augment",
    "cache_soft_targets",
)


def how_much(command: F) -> F:
    """Add what says how much to cut: ratio, plan, the goals of a budget, and how to look for cuts within it."""
    options = (
        click.option(
            "--ratio",
            type=float,
            help="Share of the channels of each layer to prune, in [0, 1); 0.5 where nothing else says how much.",
        ),
        click.option(
            "--sparsity",
            type=float,
            metavar="SHARE",
            help="Share of single weights to set to 0, the smallest; files shrink by it only when zipped.",
        ),
        click.option("--max-drop", type=float, metavar="POINTS", help="Goal: points of accuracy that may be lost."),
        click.option("--macs", type=float, metavar="SHARE", help="Goal: share of the MACs that may be left, like 0.4."),
        click.option("--params", type=float, metavar="SHARE", help="Goal: share of the parameters that may be left."),
        click.option("--size", metavar="SIZE", help="Goal: size of the w8a8 TFLite file, like 200KiB."),
        click.option(
            "--fit",
            metavar="DEVICE",
            shell_complete=complete_device,
            help="Goal: the w8a8 TFLite file fits this device's RAM and flash.",
        ),
        click.option(
            "--ram",
            metavar="SIZE",
            help="Goal: limit of RAM, like 64KiB. With --fit: in place of the device's own; else of a microcontroller.",
        ),
        click.option("--flash", metavar="SIZE", help="Goal: limit of flash, like 256KiB, likewise."),
        click.option(
            "--plan", type=click.Path(path_type=Path), metavar="FILE", help="Do what this plan says, without searching."
        ),
        click.option(
            "--order",
            default="greedy",
            show_default=True,
            shell_complete=complete_order,
            help="Order of cuts: greedy (best saving per lost accuracy first), forward, backward or random.",
        ),
        click.option(
            "--layers/--no-layers", default=True, help="Whether layers and blocks may go whole.  [default: layers]"
        ),
        click.option(
            "--share",
            type=float,
            default=0.25,
            show_default=True,
            help="What a round cuts of what the goal furthest off counts.",
        ),
        click.option(
            "--reference",
            type=float,
            metavar="PERCENT",
            help="Accuracy that the drop is counted from; else the network's own on the part it is judged by.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def training_options(command: F) -> F:
    """Add how filters are judged and networks trained."""
    options = (
        click.option(
            "--criterion",
            default="l2",
            show_default=True,
            shell_complete=complete_criterion,
            help="What filters are judged by: a name, or package.module:function or FILE.py:function of your own.",
        ),
        click.option(
            "--round-to",
            type=click.IntRange(min=1),
            help="Multiple of channel counts.  [default: with --fit what the device's kernels compute at once, else 1]",
        ),
        click.option(
            "--epochs",
            type=click.FloatRange(min=0),
            help="Of training at the end.  [default: 10; with a goal no more than show 200 000 samples]",
        ),
        click.option(
            "--epochs-between",
            type=click.FloatRange(min=0),
            help="After each round, or step to a sparsity.  [default: 1; with a goal no more than show 25 000 samples]",
        ),
        click.option("--learning-rate", type=float, default=3e-3, show_default=True, help="The peak of its one cycle."),
        click.option(
            "--optimizer",
            type=click.Choice(("adamw", "sgd")),
            default="adamw",
            show_default=True,
            help="What moves the weights; sgd with Nesterov's momentum.",
        ),
        click.option(
            "--batch-size", type=click.IntRange(min=2), default=64, show_default=True, help="Samples of a step."
        ),
        click.option(
            "--augment/--no-augment",
            default=None,
            help="Move images by up to 4 pixels, mirror half.  [default: where they have 3 channels, 32 px or more]",
        ),
        click.option(
            "--cache-soft-targets",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Epochs after which the teacher's scores return, with their batches: faster; 0: never.",
        ),
        click.option(
            "--teacher",
            "teachers",
            multiple=True,
            metavar="MODEL[=WEIGHTS]",
            shell_complete=complete_model,
            help="Who teaches in the original's place, a checkpoint, say; several by the mean of their scores.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("compress")
@model_options
@data_options
@how_much
@training_options
@click.option("--input", "input_text", metavar="SHAPE", help="Shape that images of folder:DIR come to, 1x3x224x224.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="The .safetensors file to write.  [default: MODEL's name and -small, here]",
)
@tables
@common
@click.pass_context
def command(
    context: click.Context,
    model: str,
    weights: str | None,
    data: str | None,
    data_dir: Path | None,
    download: bool,
    normalization: Normalization | None,
    resize: Resize | None,
    ratio: float | None,
    sparsity: float | None,
    max_drop: float | None,
    macs: float | None,
    params: float | None,
    size: str | None,
    fit: str | None,
    ram: str | None,
    flash: str | None,
    plan: Path | None,
    order: str,
    layers: bool,
    share: float,
    reference: float | None,
    criterion: str,
    round_to: int | None,
    epochs: float | None,
    epochs_between: float | None,
    learning_rate: float,
    optimizer: str,
    batch_size: int,
    augment: bool | None,
    cache_soft_targets: int,
    teachers: tuple[str, ...],
    input_text: str | None,
    resume: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Make a network smaller and keep its accuracy.

    With --ratio each layer loses the same share of its filters. With --sparsity single weights become 0, and the shapes
    stay. With a goal, cuts are searched round by round: each
    layer is cut alone, what costs least goes, the network is tuned with the original as its teacher and judged on a
    tenth of the training data that is kept for it, or on half of the evaluation data where the network was trained on
    that tenth. The final accuracy is of evaluation data that chose nothing.

    The result is a checkpoint that `edgecnn export` takes as MODEL; the plan beside it does the same again. The exit
    code is 0, 1 where a goal is missed (the best found is written all the same), 2 for an error. A run that was stopped
    goes on with --resume.

    \b
    Example:
      edgecnn compress edgecnn:digits-cnn --weights digits.safetensors --data digits --ratio 0.5 -o small.safetensors
      edgecnn compress digits.safetensors --data digits --max-drop 1 --macs 0.4 -o small.safetensors
      edgecnn compress digits.safetensors --data digits --fit stm32h7a3 --order greedy -o small.safetensors
      edgecnn compress digits.safetensors --data digits --ram 64KiB --flash 256KiB -o small.safetensors
      edgecnn compress digits.safetensors --plan small.plan.toml -o again.safetensors
      edgecnn compress digits.safetensors --data digits --sparsity 0.8 -o sparse.safetensors
    """
    from edgecnn.pipeline import Budget, Search, compress_model

    if data is None and plan is None:
        raise EdgecnnError("compress fine-tunes, so it needs labelled data: give --data digits, say")
    path = _default_path(model) if out is None else out
    size_bytes, ram_bytes, flash_bytes = (None if text is None else parse_bytes(text) for text in (size, ram, flash))
    budget = Budget(
        None if max_drop is None else _fraction(max_drop),
        macs,
        params,
        size_bytes,
        fit,
        ram_bytes=ram_bytes,
        flash_bytes=flash_bytes,
    )
    if plan is not None:
        # A criterion of the user's own has to be named beside the plan that asks for it.
        told = tuple(name for name in _OF_PLAN if name != "criterion" or ":" not in criterion)
        _check_given(context, (*_OF_SEARCH, *told), "does not go with --plan, which says it; edit the plan")
    elif budget == Budget():
        if sparsity is not None:
            _check_given(context, ("criterion", "round_to"), "is of filters, and --sparsity takes single weights")
        names = _OF_SEARCH if sparsity is None else tuple(name for name in _OF_SEARCH if name != "epochs_between")
        _check_given(context, names, "is of the search for a goal; give one as well: --max-drop, --macs, --size, …")
    with showing_progress() as progress:
        result = compress_model(
            model,
            path,
            data=data,
            input_shape=parse_input_shape(input_text),
            pruning_ratio=ratio,
            sparsity=sparsity,
            budget=None if budget == Budget() else budget,
            plan=plan,
            search=Search(order, share, epochs_between, layers),
            criterion=criterion,
            round_to=round_to,
            epochs=epochs,
            learning_rate=learning_rate,
            optimizer=optimizer,
            batch_size=batch_size,
            augment=augment,
            cache_soft_targets=cache_soft_targets,
            teachers=teachers,
            reference=None if reference is None else reference / 100,
            resume=resume,
            weights=weights,
            normalization=normalization,
            resize=resize,
            data_dir=data_dir,
            download=download,
            progress=progress,
        )
    for text in result.warnings:
        warn(text)
    if as_json:
        print_json(result.to_json())
    else:
        _print_result(result)
    return MISSES_A_GOAL if result.unmet else 0


def _fraction(points: float) -> float:
    """Return *points* of accuracy as a fraction.

    Raises:
        EdgecnnError: so few that a fraction was meant.
    """
    if 0 < points < _FEWEST_POINTS:
        raise EdgecnnError(f"--max-drop is in points: for {100 * points:g} points of accuracy give {100 * points:g}")
    return points / 100


def _default_path(model: str) -> Path:
    """Return where the result of *model* goes if nobody says.

    Raises:
        EdgecnnError: there is such a file.
    """
    path = Path(f"{Path(model.rpartition(':')[2]).stem}-small.safetensors")
    if path.exists():
        raise EdgecnnError(f"{path} is there already: say with -o where to write")
    return path


def _check_given(context: click.Context, names: tuple[str, ...], why: str) -> None:
    """See that none of the options *names* was written out.

    Raises:
        EdgecnnError: one was.
    """
    for option in context.command.params:
        if option.name in names and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            raise EdgecnnError(f"{option.opts[0]} {why}, or leave it out")


def _print_result(result: CompressResult) -> None:
    from edgecnn.compress.sensitivity import by_reason

    for one in result.attempts:
        if not one.cuts:
            continue  # weights became 0: that changes nothing a round is told by
        cuts = ", ".join(f"{unit} whole" if ratio == 1 else f"{unit} {ratio:.3g}" for unit, ratio in one.cuts.items())
        judged = "" if one.status.accuracy is None else f", {format_share(one.status.accuracy.top1)} right"
        lost = "" if one.kept else "; it lost too much and was taken back"
        say(
            f"round {one.number}: {cuts}: {format_count(one.status.params)} parameters, "
            f"{format_count(one.status.macs)} MACs{judged}{lost}"
        )
    if result.stopped:
        say(f"no further round: {result.stopped}")
    columns = ["network", "parameters", "MACs", "accuracy", "95 %"]
    rows = []
    for name, status, accuracy in (
        ("original", result.before, result.accuracy_before),
        (str(result.path), result.after, result.accuracy_after),
    ):
        low, high = accuracy.interval
        row = [name, format_count(status.params), format_count(status.macs)]
        rows.append([*row, format_share(accuracy.top1), f"{100 * low:.1f}…{100 * high:.1f}"])
        if status.accuracy is not None:
            rows[-1].append(format_share(status.accuracy.top1))
        if status.size_bytes is not None:
            rows[-1].append(format_bytes(status.size_bytes))
    title = f"Measured in torch, on {result.accuracy_after.n} samples of the evaluation part"
    if result.after.accuracy is not None and result.validation is not None:
        others = "others of it" if result.validation.part == "evaluation" else "of the training part"
        title += f"; validation on {result.after.accuracy.n} {others}"
        columns.append("validation")
    if result.after.size_bytes is not None:
        columns.append("w8a8 TFLite")
    print_table(title, columns, rows, right=range(1, len(columns)), spare=(4,))
    drop = result.verdict.lost
    say(f"accuracy lost: {100 * drop.mean:.2f} points (95 %: {100 * drop.low:.2f} to {100 * drop.high:.2f})")
    for reason, layers in by_reason(result.fixed).items():
        say(f"cannot be cut: {', '.join(layers)}: {reason}")
    for use in result.after.memory:
        say(f"{use.name}: {format_bytes(use.used_bytes)} of {format_bytes(use.limit_bytes)}, estimated")
    if result.sparse_size is not None:
        before, after = result.sparse_size
        say(
            f"zeros among the weights: {format_share(before.sparsity)} before, {format_share(after.sparsity)} now; "
            f"dense files do not shrink by zeros: the w8a8 TFLite file took {format_bytes(before.size_bytes)}, and "
            f"takes {format_bytes(after.size_bytes)}; by zip {format_bytes(before.zip_bytes)} became "
            f"{format_bytes(after.zip_bytes)}"
        )
    for sentence in result.unmet:
        say(f"goal missed: {sentence}")
    if result.plan is not None:
        say(f"the plan is in {result.plan}")
