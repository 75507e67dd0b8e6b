"""`edgecnn study deploy`: every network of a study as files, with what they take on devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgecnn.cli.names import complete_device
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, print_json, showing_progress, tables
from edgecnn.cli.study_options import accuracy_text, asked_for_json, folder_options, study_argument, variants_option
from edgecnn.cli.study_runs import do_all, finish
from edgecnn.cli.table import print_table, say
from edgecnn.errors import EdgecnnError
from edgecnn.study import load_study
from edgecnn.study.deploy import DEVICES, deploy_runs
from edgecnn.study.results import Result
from edgecnn.study.surprises import correlations, summary_of, surprises
from edgecnn.units import format_bytes, format_count, format_ns


@click.command("deploy", cls=Command)
@study_argument
@variants_option
@option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_device,
    default_text=", ".join(DEVICES),
    section="Device",
    help="Device to estimate for and to fit; give it again for more.",
)
@option(
    "--runs",
    type=click.Path(path_type=Path),
    metavar="DIR",
    section="Network and data",
    help="Folder of edgecnn study run, for trained weights where it has some.",
)
@option("--no-timing", is_flag=True, section="Measurement", help="Do not time the files on this machine.")
@folder_options(Path("deployed"))
@tables
@common
@click.pass_context
def deploy(
    ctx: click.Context,
    /,
    study: str,
    variants: tuple[int, ...],
    devices: tuple[str, ...],
    runs: Path | None,
    no_timing: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Export every network of a study to ONNX and TFLite, float and int8, and show what each takes.

    Each file is verified against its network. Size and latency (one thread) are measured on this machine, the latency
    on other devices is estimated, and whether a file fits them. Networks without trained weights have random ones,
    which each row says. At the end: how well FLOPS predict latency and bytes.

    \b
    Example:
      edgecnn study deploy resnet101-cifar10 --device rpi4 --device stm32h7a3
      edgecnn study deploy vgg19-cifar10 --variants 4,8 --runs runs --data-dir data
    """
    from edgecnn.pipeline import export_model

    loaded = load_study(study)
    with showing_progress() as progress:
        wanted = deploy_runs(
            loaded,
            loaded.chosen(variants),
            export_model,
            devices=devices or DEVICES,
            runs=runs,
            data_dir=given["data_dir"],
            download=given["download"],
            timed=not no_timing,
            progress=progress,
        )
    results = do_all(wanted, given)
    good = [result for result in results if not result.failed]
    if asked_for_json(ctx, as_json):
        print_json({"study": loaded.name, "runs": [one.to_json() for one in results], **summary_of(good)})
    else:
        _print(loaded.name, results, devices or DEVICES)
        _print_summary(good)
    finish(wanted, results, given["folder"])
    failed = [text for result in good for text in result.failed_files]
    if failed:
        raise EdgecnnError(f"{len(failed)} files failed; {failed[0]}; --retry tries again")


def _print(study: str, results: Sequence[Result], devices: Sequence[str]) -> None:
    rows = [row for result in results for row in _rows(result, devices)]
    columns = ["file", "weights", "FLOPS", "size", "accuracy", "worst SQNR", "p50, measured"]
    columns += [f"{device}, estimated" for device in devices]
    right = (2, 3, 4, 5, 6)
    print_table(f"Files of {study}", [*columns, "state"], rows, right=right, spare=(5, 4, 1, 2))


def _rows(result: Result, devices: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a row for each file of a network, or one that says why there is none."""
    if result.failed:
        return [(result.name, *["-"] * (6 + len(devices)), result.error or "")]
    weights = result.figures["weights"] or "untrained"
    flops = format_count(result.figures["counted"]["fvcore_flops"])
    rows = []
    for file in result.figures["files"]:
        if "measured" not in file:
            rows.append((file["file"], weights, flops, *["-"] * (4 + len(devices)), file["failed"]))
            continue
        measured, worst = file["measured"], (file["parity"]["worst"] or {}).get("sqnr_db")
        rows.append(
            (
                file["file"],
                weights,
                flops,
                format_bytes(measured["size_bytes"]),
                accuracy_text(measured["accuracy"]) if result.figures["weights"] else "-",
                "-" if worst is None else f"{worst:.1f} dB",
                format_ns(measured.get("p50_ns")),
                *(_verdict(file["estimated"][device]) for device in devices),
                file["failed"] or "ok",
            )
        )
    return rows


def _verdict(estimate: Mapping[str, Any]) -> str:
    """Return what is known of a file on one device: "12.3 ms, fits", "1.2 MiB arena, does not fit"."""
    parts = []
    if estimate["p50_ns"] is not None:
        parts.append(format_ns(estimate["p50_ns"]))
    if estimate["fits"] is not None:
        parts.append("fits" if estimate["fits"] else "does not fit")
    return ", ".join(parts) or "-"


def _print_summary(results: Sequence[Result]) -> None:
    found = correlations(results)
    if not found:
        say("FLOPS beside latency and bytes: too few networks to compare.")
        return
    rows = [(one.what, f"{one.spearman:.3f}", str(one.n)) for one in found]
    print_table("Rank correlation (Spearman) of FLOPS with", ("figure", "correlation", "networks"), rows, right=(1, 2))
    worst = [
        (
            one.name,
            format_count(one.fvcore_flops),
            format_ns(one.p50_ns),
            f"{one.distance:+g}",
            f"{one.operators_per_million_macs:.2f}",
            f"{100 * one.depthwise_share:.0f} %",
            str(one.moving_operators),
        )
        for one in surprises(results)
    ]
    columns = ("network", "FLOPS", "p50 of w8a8 tflite", "places slower", "operators a M MACs", "depthwise", "moving")
    print_table("Where FLOPS mislead most", columns, worst, right=(1, 2, 3, 4, 5, 6), spare=(6, 5))
    say("Places slower: the place by latency minus the place by FLOPS. Moving: operators that only move values.")
