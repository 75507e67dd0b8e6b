"""`edgecnn study run`, `prune` and `quantize`: what is trained and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgecnn.cli.sections import option
from edgecnn.cli.shared import print_json, showing_progress
from edgecnn.cli.study_options import (
    accuracy_text,
    asked_for_json,
    exact,
    printed,
    settings_of,
    training_command,
)
from edgecnn.cli.table import print_table, warn
from edgecnn.errors import EdgecnnError
from edgecnn.study import Study, load_study
from edgecnn.study.pruning import Iteration, count_iterations
from edgecnn.study.results import Result, file_of
from edgecnn.study.runner import Run, Workers, do_runs
from edgecnn.study.sweeps import PruningRun, QuantizationRun
from edgecnn.study.training import checkpoint_of, checkpoints_of, training_runs
from edgecnn.units import format_bytes, format_ns, format_share


def do_all(runs: Sequence[Run], given: Mapping[str, Any]) -> list[Result]:
    """Do *runs* as the options of `folder_options` say."""
    workers = Workers(given["workers"], given["dask"])
    with showing_progress() as progress:
        return do_runs(runs, given["folder"], workers=workers, retry=given["retry"], progress=progress)


def finish(runs: Sequence[Run], results: Sequence[Result], folder: Path) -> None:
    """Say which runs another process is at, and fail where some failed."""
    missing = {run.name for run in runs} - {result.name for result in results}
    if missing:
        warn(f"another process is at {', '.join(sorted(missing))}")
    failed = [result for result in results if result.failed]
    if failed:
        first = failed[0]
        where = file_of(folder, first.name)
        raise EdgecnnError(f"{len(failed)} of {len(runs)} runs failed; {where}: {first.error}; --retry tries again")


def _print_runs(results: Sequence[Result], title: str) -> None:
    rows = [
        (
            result.name,
            str(result.identity.get("protocol", "-")),
            printed(result.figures.get("epochs", result.identity.get("epochs")), ""),
            str(result.identity.get("seed", "-")),
            accuracy_text(result.figures.get("accuracy")),
            format_ns(result.seconds * 1e9),
            result.error or "done",
        )
        for result in results
    ]
    columns = ("run", "protocol", "epochs", "seed", "accuracy, measured", "time", "state")
    print_table(title, columns, rows, right=(2, 3, 4, 5), spare=(3, 5, 2, 1))


@training_command("run")
def run(ctx: click.Context, /, study: str, variants: tuple[int, ...], as_json: bool, **given: Any) -> None:
    """Train networks of a study; each run ends as one JSON file with its accuracy on all evaluation samples.

    Runs that are done are not done again, and one that was stopped goes on from its last epoch. A run that fails is a
    row with its error, and the others go on. Several commands may work in one folder at once.

    \b
    Example:
      edgecnn study run resnet101-cifar10 --variants 8,11 --protocol c --epochs 20 --data-dir data
      edgecnn study run vgg19-cifar10 --workers 2 -o runs
    """
    loaded = load_study(study)
    runs = training_runs(loaded, loaded.chosen(variants), settings_of(loaded, given))
    results = do_all(runs, given)
    if asked_for_json(ctx, as_json):
        print_json({"study": loaded.name, "runs": [result.to_json() for result in results]})
    elif results:
        _print_runs(results, f"Runs of {loaded.name} in {given['folder']}")
    finish(runs, results, given["folder"])


@training_command("quantize")
def quantize(ctx: click.Context, /, study: str, variants: tuple[int, ...], as_json: bool, **given: Any) -> None:
    """Write static int8 TFLite files of trained and pruned networks of a study, and measure their accuracy.

    Each file is calibrated on training images. Beside it stands the accuracy of one that is calibrated on the images
    that it is judged by, as in the papers.

    \b
    Example:
      edgecnn study quantize resnet101-cifar10 --variants 11,13 --epochs 20
    """
    loaded, folder = load_study(study), given["folder"]
    settings = settings_of(loaded, given)
    bases = training_runs(loaded, loaded.chosen(variants), settings)
    found = [path.stem for base in bases for path in checkpoints_of(folder, base)]
    if not found:
        raise EdgecnnError(f"no trained network of study {loaded.name} with these settings in '{folder}': run it first")
    runs = [QuantizationRun(name, settings) for name in found]
    results = do_all(runs, given)
    if asked_for_json(ctx, as_json):
        print_json({"study": loaded.name, "runs": [result.to_json() for result in results]})
    elif results:
        _print_quantized(loaded, results)
    finish(runs, results, folder)


def _print_quantized(study: Study, results: Sequence[Result]) -> None:
    keys = ("float", "calibrated_on_training", "calibrated_on_evaluation")
    rows = []
    for result in results:
        parts = [result.figures.get(key) or {} for key in keys]
        accuracies = [accuracy_text(part.get("accuracy")) for part in parts]
        sizes = [format_bytes(part.get("size_bytes")) for part in parts[:2]]
        rows.append((result.name, *sizes, *accuracies, result.error or "done"))
    columns = ("file", "float", "int8", "accuracy, float", "accuracy, int8", "calibrated on the judged images", "state")
    print_table(f"Int8 files of {study.name}, measured", columns, rows, right=(1, 2, 3, 4, 5), spare=(1, 5))


@training_command(
    "prune",
    option(
        "--train",
        is_flag=True,
        section="Training",
        help="Prune the trained networks of the folder and train them after each iteration.",
    ),
)
def prune(
    ctx: click.Context, /, study: str, variants: tuple[int, ...], train: bool, as_json: bool, **given: Any
) -> None:
    """Show how many weights each iteration of a study's pruning leaves, published beside counted; --train does it.

    Each iteration sets a share of the convolutions' weights that are left to zero. "Non-zero" is what the papers
    print: all parameters before the first iteration, then the weights of convolutions that are left and those of linear
    layers. --train starts from what edgecnn study run left with the same settings in the same folder.

    \b
    Example:
      edgecnn study prune resnet101-cifar10 --variants 11,13
      edgecnn study prune resnet101-cifar10 --variants 11 --epochs 20 --train --data-dir data
    """
    loaded = load_study(study)
    pruned = sorted(number for one in loaded.pruning for number in one.variants)
    if not pruned and not variants:
        raise EdgecnnError(f"study {loaded.name} prunes none of its networks; add [[pruning]] to its file")
    chosen = loaded.chosen(variants or pruned)
    iterations = [one for variant in chosen for one in count_iterations(loaded, variant)]
    results: list[Result] = []
    runs: list[PruningRun] = []
    if train:
        bases = training_runs(loaded, chosen, settings_of(loaded, given))
        runs = [PruningRun(base, loaded.pruning_of(base.variant)) for base in bases]
        for base in bases:
            checkpoint_of(given["folder"], base.name)
        results = do_all(runs, given)
    measured = {
        (run.base.variant.number, one["iteration"]): one.get("accuracy")
        for run in runs
        for result in results
        if result.name == run.name
        for one in result.figures.get("iterations", ())
    }
    if asked_for_json(ctx, as_json):
        print_json(
            {
                "study": loaded.name,
                "iterations": [one.to_json() for one in iterations],
                "runs": [result.to_json() for result in results],
            }
        )
    else:
        _print_iterations(loaded, iterations, measured)
    finish(runs, results, given["folder"])


def _print_iterations(study: Study, iterations: Sequence[Iteration], measured: Mapping[tuple[int, int], Any]) -> None:
    rows = [
        (
            str(one.variant.number),
            str(one.iteration),
            format_share(one.sparsity),
            "-" if one.published is None else exact(one.published.nonzero),
            exact(one.nonzero),
            "-" if one.published is None else printed(one.published.accuracy_percent, " %"),
            accuracy_text(measured.get((one.variant.number, one.iteration))),
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
        "accuracy, measured",
        "counts",
    )
    print_table(f"Pruning of {study.name}", columns, rows, right=(0, 1, 2, 3, 4, 5, 6), spare=(6, 2, 5))
