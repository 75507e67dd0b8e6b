"""`edgecnn study list`, `show` and `table`: what is published and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, print_json, showing_progress, tables
from edgecnn.cli.study_options import accuracy_text, asked_for_json, exact, printed, study_argument, variants_option
from edgecnn.cli.table import Cell, print_table, say, take_format
from edgecnn.study import Study, VariantFigures, count_variants, load_study, study_names
from edgecnn.study.results import Result, read_results
from edgecnn.units import format_bytes, format_count


@click.command("list", cls=Command)
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
    if asked_for_json(ctx, as_json):
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


@click.command("show", cls=Command)
@study_argument
@variants_option
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
    if asked_for_json(ctx, as_json):
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


@click.command("table", cls=Command)
@study_argument
@variants_option
@option(
    "--format",
    type=click.Choice(["text", "markdown"]),
    default="text",
    callback=take_format,
    expose_value=False,
    section="Output",
    help="Form of the table.",
)
@option(
    "--runs",
    type=click.Path(path_type=Path),
    metavar="DIR",
    section="Selection",
    help="Folder of edgecnn study run, whose measured accuracies stand beside the published ones.",
)
@common
@click.pass_context
def table(ctx: click.Context, study: str, variants: tuple[int, ...], runs: Path | None, as_json: bool) -> None:
    """Print published figures beside counted and measured ones, with what differs.

    A published count that is neither ours rounded nor ours cut off is shown with ours. Accuracies are never copied
    from one column to the other: each measured one stands with its protocol, epochs and seed.

    \b
    Example:
      edgecnn study table resnet101-cifar10 --format markdown
      edgecnn study table resnet101-cifar10 --runs runs
    """
    loaded = load_study(study)
    results = [] if runs is None else read_results(runs)
    with showing_progress() as progress:
        figures = count_variants(loaded, loaded.chosen(variants), progress)
    if asked_for_json(ctx, as_json):
        print_json(
            {
                "study": loaded.name,
                "source": loaded.source,
                "variants": [
                    one.to_json() | {"measured": [result.to_json() for result in _trained(loaded, one, results)]}
                    for one in figures
                ],
            }
        )
        return
    _print_table(loaded, figures, results)


def _trained(study: Study, one: VariantFigures, results: Sequence[Result]) -> list[Result]:
    """Return the trainings among *results* of a network on the study's data."""
    wanted = {"kind": "training", "model": one.variant.model, "data": study.data}
    return [result for result in results if not result.failed and wanted.items() <= dict(result.identity).items()]


def _measured(study: Study, one: VariantFigures, results: Sequence[Result]) -> list[str]:
    """Return each measured accuracy with its protocol, epochs and seed: "91.20 % (c, 20 epochs, seed 0)"."""
    return [
        f"{accuracy_text(result.figures['accuracy'])} ({result.identity['protocol']}, "
        f"{result.figures['epochs']:g} epochs, seed {result.identity['seed']})"
        for result in _trained(study, one, results)
    ] or ["-"]


def _print_table(study: Study, figures: Sequence[VariantFigures], results: Sequence[Result]) -> None:
    rows: list[tuple[Cell, ...]] = [
        (
            str(one.variant.number),
            one.variant.blocks,
            printed(one.published.params_millions, " M"),
            exact(one.params),
            printed(one.published.flops_millions, " M"),
            exact(one.fvcore_flops),
            printed(one.published.size_mib, " MiB"),
            format_bytes(one.weights_bytes),
            printed(one.published.accuracy_percent, " %"),
            _measured(study, one, results),
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
        "accuracy, measured",
        "differs",
    )
    print_table(study.title, columns, rows, right=(0, 2, 3, 4, 5, 6, 7, 8), spare=(1, 7, 6, 4, 2, 9, 8))
    if study.source and study.published is not None:
        protocol = study.published_protocol
        say(f"Published: {study.source}{f', protocol {protocol}' if protocol else ''}.")
    else:
        say("Nothing is published about these networks on this data.")
