"""What the commands of `edgecnn study` share: their options, and figures as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from edgecnn.cli.names import complete_study
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import common, parse_folder, parse_numbers, stacked, tables
from edgecnn.study import Study
from edgecnn.study.training import Settings
from edgecnn.tasks.score import accuracy_from_json
from edgecnn.units import format_share


def study_argument(function: Any) -> Any:
    """Add the argument STUDY."""
    return click.argument("study", shell_complete=complete_study)(function)


def variants_option(function: Any) -> Any:
    """Add `--variants`."""
    return option(
        "--variants",
        metavar="NUMBERS",
        callback=parse_numbers,
        default_text="all",
        section="Selection",
        help="Numbers of the variants, for example 8,11.",
    )(function)


def folder_options(folder: Path) -> Callable[[Any], Any]:
    """Return what adds where the data are, the folder of runs (*folder* if none is given), and how runs are spread."""
    options = (
        option(
            "--data-dir",
            metavar="DIR",
            default_text="$EDGECNN_DATA",
            section="Network and data",
            help="Folder of the data sets.",
        ),
        option("--download", is_flag=True, section="Network and data", help="Download the data set if it is missing."),
        option(
            "--workers",
            type=click.IntRange(1, 1024),
            metavar="N",
            default=1,
            section="Training",
            help="Number of runs at once, each in a process of its own.",
        ),
        option(
            "--dask",
            metavar="ADDRESS",
            section="Training",
            help="Address of a dask scheduler whose workers do the runs. They must share the folder.",
        ),
        option("--retry", is_flag=True, section="Training", help="Try runs that failed before again."),
        option(
            "-o",
            "--out",
            "folder",
            type=click.Path(path_type=Path),
            metavar="DIR",
            callback=parse_folder,
            default=folder,
            section="Output",
            help="Folder of the runs. The same folder goes on with what is missing in it.",
        ),
    )
    return partial(stacked, options=options)


def training_options(function: Any) -> Any:
    """Add what names a training: protocol, epochs, seed, teacher, samples."""
    options = (
        option(
            "--protocol",
            metavar="NAME",
            default="c",
            section="Training",
            help="Training protocol: a or b of the papers, or c, for few epochs.",
        ),
        option(
            "--epochs",
            type=click.FloatRange(0, 10_000),
            metavar="N",
            default_text="the protocol's own",
            section="Training",
            help="Number of epochs.",
        ),
        option(
            "--seed",
            type=click.IntRange(0, 2**31),
            metavar="N",
            default=0,
            section="Training",
            help="Seed of the order of samples and of augmentation.",
        ),
        option(
            "--teacher",
            metavar="FILE",
            section="Training",
            help="Checkpoint of a network to learn from, or NAME=WEIGHTS.",
        ),
        option(
            "--samples",
            type=click.IntRange(1, 2**31),
            metavar="N",
            default_text="all",
            section="Training",
            help="Number of training samples to use.",
        ),
    )
    return stacked(function, options)


def training_command(name: str, *more: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what makes the command *name* that trains networks of a study, with *more* options of its own."""
    options = (study_argument, variants_option, *more, training_options, folder_options(Path("runs")), tables, common)

    def make(function: Any) -> Any:
        return click.command(name, cls=Command)(stacked(click.pass_context(function), options))

    return make


def settings_of(loaded: Study, given: Mapping[str, Any]) -> Settings:
    """Return what the options of `training_options` and `folder_options` say of the trainings of a study."""
    names = ("protocol", "epochs", "seed", "teacher", "samples", "data_dir", "download")
    return Settings(
        data=loaded.data,
        classes=loaded.classes,
        input_shape=loaded.input_shape,
        **{name: given[name] for name in names},
    )


def asked_for_json(ctx: click.Context, as_json: bool) -> bool:
    """Whether `--json` stands after the subcommand or before it."""
    return as_json or bool(ctx.parent and ctx.parent.params.get("as_json"))


def exact(count: int) -> str:
    """Return a count to the unit, in groups of three digits: `150 715`."""
    return f"{count:,}".replace(",", " ")


def printed(value: float | None, unit: str) -> str:
    """Return a published figure as it is printed, with its unit; None: `-`."""
    return "-" if value is None else f"{value:g}{unit}"


def accuracy_text(stored: Any) -> str:
    """Return an accuracy, as `accuracy_to_json` gave it, in percent; none: `-`."""
    return format_share(accuracy_from_json(stored).value) if stored else "-"
