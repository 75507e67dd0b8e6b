"""`edgecnn compress`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from edgecnn.cli.names import complete_criterion, complete_device, complete_model, complete_order
from edgecnn.cli.quantities import Duration, Fraction, Percent, Points, Size
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import (
    F,
    common,
    data_options,
    gathered,
    input_option,
    model_options,
    print_json,
    showing_progress,
    substitute_option,
    tables,
    task_options,
)
from edgecnn.cli.table import print_table, say, warn
from edgecnn.compress import block_of, layer_of
from edgecnn.compress.settings import CRITERION, Search, Sparsity, Training, Uniform
from edgecnn.errors import EdgecnnError
from edgecnn.units import format_bytes, format_count, format_ns, format_share

if TYPE_CHECKING:
    from edgecnn.datasets import DataSource
    from edgecnn.evaluate.choice import TaskChoice
    from edgecnn.pipeline import Budget, CompressResult, Plan

MISSES_A_GOAL = 1  # as `edgecnn fit` where a file does not fit

#: The options of the search, and those that a plan holds.
_OF_SEARCH = ("order", "filters", "layers", "substitutes", "share", "reference", "epochs_between")
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


def _goals() -> Sequence[Callable[[F], F]]:
    """Return how much to cut: the goals of a budget, the ratio, the sparsity, the plan."""
    return (
        option(
            "--max-drop",
            type=Points(),
            metavar="POINTS",
            section="Goals",
            help="Lose at most this much accuracy, in points.",
        ),
        option(
            "--macs",
            type=Fraction(),
            metavar="FRACTION",
            section="Goals",
            help="Keep at most this fraction of the MACs, for example 0.4.",
        ),
        option(
            "--params",
            type=Fraction(),
            metavar="FRACTION",
            section="Goals",
            help="Keep at most this fraction of the parameters.",
        ),
        option(
            "--size",
            type=Size(),
            metavar="SIZE",
            section="Goals",
            help="Largest w8a8 TFLite file, for example 200KiB.",
        ),
        option(
            "--fit",
            metavar="DEVICE",
            shell_complete=complete_device,
            section="Goals",
            help="Make the w8a8 TFLite file fit the RAM and flash of this device.",
        ),
        option(
            "--ram",
            type=Size(),
            metavar="SIZE",
            section="Goals",
            help="RAM the file may take, for example 64KiB. With --fit it replaces the device's limit; "
            "otherwise it is the limit of a microcontroller.",
        ),
        option(
            "--flash",
            type=Size(),
            metavar="SIZE",
            section="Goals",
            help="Flash the file may take, for example 256KiB.",
        ),
        option(
            "--latency",
            type=Duration(),
            metavar="TIME",
            section="Goals",
            help="Estimated latency of the w8a8 TFLite file on --device, one thread, for example 12ms.",
        ),
        option(
            "--device",
            metavar="DEVICE",
            shell_complete=complete_device,
            default_text="that of --fit",
            section="Goals",
            help="Device of --latency, for example rpi4.",
        ),
        option(
            "--target",
            metavar="TARGET",
            section="Goals",
            help="Measure that file at the end: local, ssh://USER@HOST or adb:SERIAL.",
        ),
        option(
            "--ratio",
            type=Fraction(),
            metavar="FRACTION",
            default_text=f"{Uniform.pruning_ratio:g} without any goal, --sparsity or --plan",
            section="Goals",
            help="Prune this fraction of the filters of each layer, without a search.",
        ),
        option(
            "--sparsity",
            type=Fraction(),
            metavar="FRACTION",
            section="Goals",
            help="Set this fraction of the weights to 0, the smallest first. Only compressed files get smaller.",
        ),
        option(
            "--plan",
            type=click.Path(path_type=Path),
            metavar="FILE",
            section="Goals",
            help="Apply this plan of an earlier run, without a search.",
        ),
    )


def _search() -> Sequence[Callable[[F], F]]:
    """Return how to search for cuts that meet the goals."""
    return (
        option(
            "--order",
            metavar="ORDER",
            default=Search.order,
            shell_complete=complete_order,
            section="Search",
            help="Order of cuts: greedy (best saving per lost accuracy first), forward, backward or random.",
        ),
        option(
            "--layers/--no-layers",
            default=Search.layers,
            default_text="layers",
            section="Search",
            help="Remove whole layers too.",
        ),
        option(
            "--filters/--no-filters",
            default=Search.filters,
            default_text="filters",
            section="Search",
            help="Remove filters.",
        ),
        substitute_option("Put a smaller block in place of plain convolutions too"),
        option(
            "--share",
            type=Fraction(),
            metavar="FRACTION",
            default=Search.share,
            section="Search",
            help="Largest fraction of the remaining MACs or bytes to remove in one round.",
        ),
        option(
            "--epochs-between",
            type=click.FloatRange(min=0),
            metavar="EPOCHS",
            default_text="1, at most 25 000 samples with a goal",
            section="Search",
            help="Epochs of fine-tuning after each round, or after each step to a sparsity.",
        ),
        option(
            "--reference",
            type=Percent(),
            metavar="PERCENT",
            default_text="the network's own on the validation data",
            section="Search",
            help="Accuracy that the drop is counted from.",
        ),
        option(
            "--criterion",
            metavar="NAME",
            default=CRITERION,
            shell_complete=complete_criterion,
            section="Search",
            help="How filters are ranked: a name, or your own package.module:function or FILE.py:function.",
        ),
        option(
            "--round-to",
            type=click.IntRange(min=1),
            metavar="CHANNELS",
            default_text="1; with --fit as many as the device computes at once",
            section="Search",
            help="Keep channel counts at multiples of this.",
        ),
    )


def _training() -> Sequence[Callable[[F], F]]:
    """Return how networks are trained."""
    return (
        option(
            "--epochs",
            type=click.FloatRange(min=0),
            metavar="EPOCHS",
            default_text="10; with a goal as many as show 150 000 samples, from 1 to 10",
            section="Training",
            help="Epochs of the final fine-tuning.",
        ),
        option(
            "--learning-rate",
            type=float,
            metavar="RATE",
            default=Training.learning_rate,
            section="Training",
            help="Peak learning rate (one-cycle).",
        ),
        option(
            "--optimizer",
            type=click.Choice(("adamw", "sgd")),
            default=Training.optimizer,
            section="Training",
            help="Optimizer; sgd uses Nesterov momentum.",
        ),
        option(
            "--batch-size",
            type=click.IntRange(min=2),
            metavar="SAMPLES",
            default=Training.batch_size,
            section="Training",
            help="Batch size.",
        ),
        option(
            "--augment/--no-augment",
            default=Training.augment,
            default_text="augment for 3 channels and at least 32 pixels",
            section="Training",
            help="Shift images by up to 4 pixels and mirror half of them.",
        ),
        option(
            "--cache-soft-targets",
            type=click.IntRange(min=0),
            metavar="EPOCHS",
            default=Training.cache_soft_targets,
            section="Training",
            help="Repeat the batches of the first EPOCHS epochs with the teacher's cached outputs; 0 caches none. "
            "Faster in long trainings.",
        ),
        option(
            "--teacher",
            "teachers",
            multiple=True,
            metavar="MODEL[=WEIGHTS]",
            shell_complete=complete_model,
            default_text="the original network",
            section="Training",
            help="Teacher for distillation. Repeat the option for an ensemble.",
        ),
    )


def how_options(command: F) -> F:
    """Add how much to cut and how to search for it: one parameter *how*, as `compress_model` takes it."""
    return gathered(command, "how", _how, (*_goals(), *_search()))


def training_options(command: F) -> F:
    """Add how networks are trained: one parameter *training*, a `Training`."""
    return gathered(command, "training", Training, _training())


def _how(
    max_drop: float | None,
    macs: float | None,
    params: float | None,
    size: int | None,
    fit: str | None,
    ram: int | None,
    flash: int | None,
    latency: float | None,
    device: str | None,
    target: str | None,
    ratio: float | None,
    sparsity: float | None,
    plan: Path | None,
    order: str,
    layers: bool,
    filters: bool,
    substitutes: tuple[str, ...],
    share: float,
    epochs_between: float | None,
    reference: float | None,
    criterion: str,
    round_to: int | None,
) -> Uniform | Sparsity | Budget | Plan:
    """Return how to compress, by the one of the four that the options ask for.

    Raises:
        EdgecnnError: they ask for several, or for what the one does not take.
    """
    from edgecnn.pipeline import Budget, Plan

    budget = Budget(
        max_drop=max_drop,
        max_macs_ratio=macs,
        max_params_ratio=params,
        size_bytes=size,
        device=fit,
        ram_bytes=ram,
        flash_bytes=flash,
        latency_ns=latency,
        latency_device=device,
        measured_on=target,
        reference=reference,
        search=Search(
            order=order,
            share=share,
            epochs_between=epochs_between,
            layers=layers,
            criterion=criterion,
            round_to=round_to,
            filters=filters,
            substitutes=substitutes,
        ),
    )
    if sparsity is not None and not (ratio is None and plan is None and not budget.has_goal):
        raise EdgecnnError("--sparsity does not go with a ratio, a goal or a plan: leave one of them out")
    if ratio is not None and budget.has_goal:
        raise EdgecnnError(
            "a ratio does not go with a goal: leave out --ratio to search for cuts, or --max-drop, --macs, --params, "
            "--size, --fit, --ram, --flash and --latency to cut each layer alike"
        )
    if plan is not None and (ratio is not None or budget.has_goal):
        raise EdgecnnError("a plan does not go with a ratio or a goal: leave one of them out")
    if plan is not None:
        # A criterion of the user's own has to be named beside the plan that asks for it.
        fixed_by_plan = tuple(name for name in _OF_PLAN if name != "criterion" or ":" not in criterion)
        _check_given((*_OF_SEARCH, *fixed_by_plan), "does not go with --plan, which contains it; edit the plan")
        return Plan.read(plan, criterion=criterion)
    if budget.has_goal:
        return budget
    if sparsity is None:
        _check_given(_OF_SEARCH, "is for the search; add a goal (--max-drop, --macs, --size, …)")
        share = Uniform.pruning_ratio if ratio is None else ratio
        return Uniform(share, criterion, Uniform.round_to if round_to is None else round_to)
    _check_given(("criterion", "round_to"), "is for filters, and --sparsity is for single weights")
    _check_given(
        tuple(name for name in _OF_SEARCH if name != "epochs_between"),
        "is for the search; add a goal (--max-drop, --macs, --size, …)",
    )
    return Sparsity(sparsity, Sparsity.epochs_between if epochs_between is None else epochs_between)


@click.command("compress", cls=Command)
@model_options
@data_options
@task_options
@input_option()
@how_options
@training_options
@option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default_text="MODEL-small.safetensors",
    section="Output",
    help="The .safetensors file to write.",
)
@option("--resume", is_flag=True, section="Output", help="Continue a run that was stopped.")
@tables
@common
def command(
    model: str,
    weights: str | None,
    source: DataSource,
    task: TaskChoice,
    how: Uniform | Sparsity | Budget | Plan,
    training: Training,
    resume: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Make a network smaller and keep its accuracy.

    Set one or more goals: the accuracy you can lose, the size you need. Cuts are then searched in rounds: each layer is
    tried separately, and the cuts with the best saving per lost accuracy are applied. After each round the network is
    fine-tuned with the original as its teacher, and judged on a tenth of the training data that is not trained on. If
    the network was trained on those images, half of the evaluation data is used instead. The final accuracy comes from
    evaluation data that was not used for choosing.

    --substitute lets the search put smaller blocks in place of plain convolutions as well, begun from their weights.
    --ratio prunes all layers alike, and --sparsity sets single weights to 0.

    The result is a checkpoint that `edgecnn export` takes as MODEL. The plan beside it repeats the cuts. The exit code
    is 0, or 1 if a goal is missed (the best network is still written), or 2 for an error.

    \b
    Example:
      edgecnn compress edgecnn:digits-cnn --weights digits.safetensors --data digits --ratio 0.5 -o small.safetensors
      edgecnn compress digits.safetensors --data digits --max-drop 1 --macs 0.4 -o small.safetensors
      edgecnn compress digits.safetensors --data digits --macs 0.4 --substitute depthwise,ghost -o small.safetensors
      edgecnn compress digits.safetensors --data digits --fit stm32h7a3 --order greedy -o small.safetensors
      edgecnn compress digits.safetensors --data digits --ram 64KiB --flash 256KiB -o small.safetensors
      edgecnn compress digits.safetensors --data digits --latency 110us --device rpi4 -o small.safetensors
      edgecnn compress digits.safetensors --plan small.plan.toml -o again.safetensors
      edgecnn compress digits.safetensors --data digits --sparsity 0.8 -o sparse.safetensors
    """
    from edgecnn.pipeline import Plan, compress_model

    if source.data is None and not isinstance(how, Plan):
        raise EdgecnnError("compress needs data for fine-tuning: give --data, for example --data digits")
    with showing_progress() as progress:
        result = compress_model(
            model,
            _default_path(model) if out is None else out,
            how,
            data=source,
            training=training,
            task=task,
            weights=weights,
            resume=resume,
            progress=progress,
        )
    for text in result.warnings:
        warn(text)
    if as_json:
        print_json(result.to_json())
    else:
        _print_result(result)
    return MISSES_A_GOAL if result.unmet else 0


def _default_path(model: str) -> Path:
    """Return where the result of *model* goes if nobody says.

    Raises:
        EdgecnnError: there is such a file.
    """
    path = Path(f"{Path(model.rpartition(':')[2]).stem}-small.safetensors")
    if path.exists():
        raise EdgecnnError(f"{path} exists already: choose another file with -o")
    return path


def _check_given(names: tuple[str, ...], why: str) -> None:
    """See that none of the options *names* was written out.

    Raises:
        EdgecnnError: one was.
    """
    context = click.get_current_context()
    for one in context.command.params:
        if one.name in names and context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE:
            raise EdgecnnError(f"{one.opts[0]} {why}, or leave it out")


def _described(unit: str, ratio: float) -> str:
    """Return a cut in words."""
    if block := block_of(unit):
        return f"{block} in place of {layer_of(unit)}"
    return f"{unit} removed" if ratio == 1 else f"{100 * ratio:.3g} % of {unit} cut"


def _print_result(result: CompressResult) -> None:
    from edgecnn.compress.sensitivity import by_reason, shortened

    for one in result.attempts:
        if not one.cuts:
            continue  # weights became 0: parameters, MACs and size stay the same
        cuts = ", ".join(_described(unit, ratio) for unit, ratio in one.cuts.items())
        score = one.status.score
        judged = "" if score is None else f", {score.name} {score.text}"
        lost = "" if one.kept else "; it lost too much and was reverted"
        say(
            f"round {one.number}: {cuts}: {format_count(one.status.params)} parameters, "
            f"{format_count(one.status.macs)} MACs{judged}{lost}"
        )
    if result.stopped:
        say(f"no further round: {result.stopped}")
    columns = ["network", "parameters", "MACs", result.score_after.name, "95 %"]
    rows = []
    for name, status, score in (
        ("before", result.before, result.score_before),
        (str(result.path), result.after, result.score_after),
    ):
        row = [name, format_count(status.params), format_count(status.macs)]
        rows.append([*row, score.text, score.interval_text])
        if status.score is not None:
            rows[-1].append(status.score.text)
        if status.size_bytes is not None:
            rows[-1].append(format_bytes(status.size_bytes))
    title = f"Measured in torch, on {result.verdict.n} samples of the evaluation part"
    if result.after.score is not None and result.validation is not None:
        others = "others of it" if result.validation.part == "evaluation" else "of the training part"
        title += f"; validation on {result.after.score.n} {others}"
        columns.append("validation")
    if result.after.size_bytes is not None:
        columns.append("w8a8 TFLite")
    print_table(title, columns, rows, right=range(1, len(columns)), spare=(4,))
    drop = result.verdict.lost
    if drop.mean < 0:
        changed, ends = "gained", (-drop.high, -drop.low)
    else:
        changed, ends = "lost", (drop.low, drop.high)
    interval = f"95 %: {100 * ends[0]:.2f} to {100 * ends[1]:.2f}"
    say(f"{result.score_after.name} {changed}: {100 * abs(drop.mean):.2f} points ({interval})")
    for reason, layers in by_reason(result.fixed).items():
        say(f"cannot be cut: {', '.join(layers)}: {reason}")
    for reason, blocks in by_reason(result.unsubstituted).items():
        say(f"no block in its place: {shortened(blocks)}: {reason}")
    for use in result.after.memory:
        say(f"{use.name}: {format_bytes(use.used_bytes)} of {format_bytes(use.limit_bytes)}, estimated")
    if result.before.latency is not None and (now := result.after.latency) is not None:
        say(
            f"latency of the w8a8 TFLite file on {now.device}, one thread, estimated: "
            f"{format_ns(result.before.latency.p50_ns)} before, {format_ns(now.p50_ns)} now "
            f"({format_ns(now.low_ns)} to {format_ns(now.high_ns)})"
        )
    if result.measured is not None:
        say(f"measured on {result.measured.target}: {format_ns(result.measured.p50_ns)}")
    if result.sparse_size is not None:
        before, after = result.sparse_size
        say(
            f"zero weights: {format_share(before.sparsity)} before, {format_share(after.sparsity)} now; "
            f"dense files do not get smaller: the w8a8 TFLite file took {format_bytes(before.size_bytes)}, and "
            f"takes {format_bytes(after.size_bytes)}; by zip {format_bytes(before.zip_bytes)} became "
            f"{format_bytes(after.zip_bytes)}"
        )
    for sentence in result.unmet:
        say(f"goal missed: {sentence}")
    if result.plan is not None:
        say(f"the plan is in {result.plan}")
