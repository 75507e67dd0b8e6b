"""`edgecnn study`: families of networks: what is published, counted, trained and deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from edgecnn.cli.names import complete_study
from edgecnn.cli.sections import Group, option
from edgecnn.cli.shared import common, parse_numbers, print_json, showing_progress, tables
from edgecnn.cli.table import Cell, print_table, say, take_format
from edgecnn.errors import EdgecnnError
from edgecnn.study import Study, VariantFigures, count_variants, load_study, study_names
from edgecnn.units import format_bytes, format_count, format_share


@click.group("study", cls=Group)
@common
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Studies of many networks: published, counted, trained and deployed figures.

    A study is a TOML file: the networks, their data, and what was published about them. Every figure is labelled
    published, counted, measured or estimated.

    \b
    Example:
      edgecnn study list
      edgecnn study show resnet101-cifar10
      edgecnn study table resnet101-cifar10 --format markdown
    """


def _study_argument(function: Any) -> Any:
    return click.argument("study", shell_complete=complete_study)(function)


def _variants_option(function: Any) -> Any:
    return option(
        "--variants",
        metavar="NUMBERS",
        callback=parse_numbers,
        default_text="all",
        section="Selection",
        help="Numbers of the variants, for example 8,11.",
    )(function)


def _asked_for_json(ctx: click.Context, as_json: bool) -> bool:
    """Whether `--json` stands after the subcommand or before it."""
    return as_json or bool(ctx.parent and ctx.parent.params.get("as_json"))


@command.command("list")
@tables
@common
@click.pass_context
def list_all(ctx: click.Context, as_json: bool) -> None:
    """List the studies.

    \b
    Example:
      edgecnn study list
    """
    studies = [load_study(name) for name in study_names()]
    if _asked_for_json(ctx, as_json):
        print_json([_described(study) for study in studies])
    else:
        rows = [(study.name, study.data, str(len(study.variants)), study.title) for study in studies]
        print_table("Studies", ("study", "data", "networks", "title"), rows, right=(2,), spare=(3,))


def _described(study: Study) -> dict[str, Any]:
    return {
        "name": study.name,
        "title": study.title,
        "source": study.source,
        "data": study.data,
        "variants": [{"number": one.number, "model": one.model, "blocks": one.blocks} for one in study.variants],
    }


@command.command("show")
@_study_argument
@_variants_option
@tables
@common
@click.pass_context
def show(ctx: click.Context, study: str, variants: tuple[int, ...], as_json: bool) -> None:
    """Show the networks of a study: blocks, counted figures, and what each change saves.

    FLOPS are what the papers call so: multiply-adds, two for each element of batch norm, one for each element that
    global pooling takes in, as fvcore counts. MACs are multiply-adds alone. Bytes are those of all weights in float32.

    \b
    Example:
      edgecnn study show resnet101-cifar10
      edgecnn study show vgg19-cifar100 --variants 4,8 --json
    """
    loaded = load_study(study)
    with showing_progress() as progress:
        figures = count_variants(loaded, loaded.chosen(variants), progress)
    if _asked_for_json(ctx, as_json):
        print_json({"study": loaded.name, "variants": [one.to_json() for one in figures]})
        return
    known = {one.variant.number: one for one in figures}
    rows = [
        (
            str(one.variant.number),
            one.variant.blocks,
            format_count(one.params),
            format_count(one.fvcore_flops),
            format_count(one.macs),
            format_bytes(one.weights_bytes),
            _change(one, known),
        )
        for one in figures
    ]
    columns = ("no.", "blocks", "params", "FLOPS", "MACs", "bytes", "change (params, MACs)")
    print_table(f"{loaded.title}; counted", columns, rows, right=(0, 2, 3, 4, 5), spare=(5, 3, 6))
    say("FLOPS as the papers count them (fvcore); edgecnn study table shows the published figures beside.")


def _change(one: VariantFigures, known: Mapping[int, VariantFigures]) -> str:
    """Return what the variant saves of the one that it changes: "no. 4: -89 %, -94 %"."""
    other = known.get(one.variant.compared_with or 0)
    if other is None:
        return "-"
    return f"no. {other.variant.number}: {one.params / other.params - 1:+.0%}, {one.macs / other.macs - 1:+.0%}"


@command.command("table")
@_study_argument
@_variants_option
@option(
    "--format",
    type=click.Choice(["text", "markdown"]),
    default="text",
    callback=take_format,
    expose_value=False,
    section="Output",
    help="Form of the table.",
)
@common
@click.pass_context
def table(ctx: click.Context, study: str, variants: tuple[int, ...], as_json: bool) -> None:
    """Print published figures beside counted and measured ones, with what differs.

    A published count that is neither ours rounded nor ours cut off is shown with ours. Accuracies are never copied
    from one column to the other: each measured one stands with its protocol, epochs and seed.

    \b
    Example:
      edgecnn study table resnet101-cifar10 --format markdown
    """
    loaded = load_study(study)
    with showing_progress() as progress:
        figures = count_variants(loaded, loaded.chosen(variants), progress)
    if _asked_for_json(ctx, as_json):
        print_json({"study": loaded.name, "source": loaded.source, "variants": [one.to_json() for one in figures]})
        return
    _print_table(loaded, figures)


def _print_table(study: Study, figures: Sequence[VariantFigures]) -> None:
    rows: list[tuple[Cell, ...]] = [
        (
            str(one.variant.number),
            one.variant.blocks,
            _printed(one.published.params_millions, " M"),
            f"{one.params:,}".replace(",", " "),
            _printed(one.published.flops_millions, " M"),
            f"{one.fvcore_flops:,}".replace(",", " "),
            _printed(one.published.size_mib, " MiB"),
            format_bytes(one.weights_bytes),
            _printed(one.published.accuracy_percent, " %"),
            ", ".join(one.differs) or "-",
        )
        for one in figures
    ]
    columns = (
        "no.",
        "blocks",
        "params, published",
        "params, counted",
        "FLOPS, published",
        "FLOPS, counted",
        "size, published",
        "weights, counted",
        "accuracy, published",
        "differs",
    )
    print_table(study.title, columns, rows, right=(0, 2, 3, 4, 5, 6, 7, 8), spare=(1, 7, 6, 4, 2, 8))
    if study.source and study.published is not None:
        protocol = study.published_protocol
        say(f"Published: {study.source}{f', protocol {protocol}' if protocol else ''}.")
    else:
        say("Nothing is published about these networks on this data.")


def _printed(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:g}{unit}"


@command.command("prune")
@_study_argument
@_variants_option
@tables
@common
@click.pass_context
def prune(ctx: click.Context, study: str, variants: tuple[int, ...], as_json: bool) -> None:
    """Show how many weights each iteration of a study's pruning leaves, published beside counted.

    Each iteration sets a share of the convolutions' weights that are left to zero. "Non-zero" is what the papers
    print: all parameters before the first iteration, then the weights of convolutions that are left and those of linear
    layers.

    \b
    Example:
      edgecnn study prune resnet101-cifar10 --variants 11,13
    """
    from edgecnn.study.pruning import count_iterations

    loaded = load_study(study)
    pruned = sorted(number for one in loaded.pruning for number in one.variants)
    if not pruned and not variants:
        raise EdgecnnError(f"study {loaded.name} prunes none of its networks; add [[pruning]] to its file")
    iterations = [one for variant in loaded.chosen(variants or pruned) for one in count_iterations(loaded, variant)]
    if _asked_for_json(ctx, as_json):
        print_json({"study": loaded.name, "iterations": [one.to_json() for one in iterations]})
        return
    rows = [
        (
            str(one.variant.number),
            str(one.iteration),
            format_share(one.sparsity),
            "-" if one.published is None else f"{one.published.nonzero:,}".replace(",", " "),
            f"{one.nonzero:,}".replace(",", " "),
            "-" if one.published is None else _printed(one.published.accuracy_percent, " %"),
            "-" if one.published is None else "same" if one.published.nonzero == one.nonzero else "differs",
        )
        for one in iterations
    ]
    columns = (
        "no.",
        "iteration",
        "sparsity",
        "non-zero, published",
        "non-zero, counted",
        "accuracy, published",
        "counts",
    )
    print_table(f"Pruning of {loaded.name}", columns, rows, right=(0, 1, 2, 3, 4, 5), spare=(2, 5))
