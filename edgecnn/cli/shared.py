"""What the commands share: options as stacked decorators, tables, progress, JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import click

from edgecnn.cli.interruption import check_interruption
from edgecnn.errors import EdgecnnError
from edgecnn.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])

_LARGEST_INPUT = 2**28  # values of one sample: 1 GiB of float32


def common(command: F) -> F:
    """Add `--json` and `--debug`, which every command has."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")(
        command
    )
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of a failure.")(command)


def data_options(command: F) -> F:
    """Add `--data`, `--data-dir`, `--download` and `--normalize`: which samples, from where, and how they go in."""
    for option in reversed(
        (
            click.option(
                "--data",
                metavar="DATA",
                shell_complete=complete_data,
                help="digits, mnist, fashion-mnist, cifar10, cifar100, folder:DIR or npz:FILE.",
            ),
            click.option(
                "--data-dir",
                type=click.Path(path_type=Path),
                metavar="DIR",
                help="Where the data lie; else $EDGECNN_DATA.",
            ),
            click.option("--download", is_flag=True, help="Download the data where they are not there."),
            click.option(
                "--normalize",
                metavar="HOW",
                help="What the input expects of pixels, where nothing says it: pixels, unit, imagenet or mean=…,std=….",
            ),
        )
    ):
        command = option(command)
    return command


def complete_device(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the device names that begin with *incomplete*, and the variants once a device is written out."""
    from edgecnn.device import device_names, load_device

    stem, colon, _ = incomplete.partition(":")
    names = device_names()
    if colon and stem in names:
        try:
            names = [f"{stem}:{variant}" for variant in load_device(stem).variants]
        except EdgecnnError:
            return []  # a broken file is told of when it is used, not in the middle of a line being typed
    return [name for name in names if name.startswith(incomplete)]


def print_json(document: Any) -> None:
    """Print *document* as JSON on standard output; NaN is refused, a figure not taken is null."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> None:
    """Print a table; the columns numbered in *right* are aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # A pipe has no width: give the table what it needs instead of rich's 80 columns.
    # Names are shown as they are: no markup in brackets, no :emoji:.
    width = None if sys.stdout.isatty() else 200
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as printed:  # rich itself would end the program where the reader of a pipe went away
        console.print(table)
    click.echo(printed.get(), nl=False)


def warn(message: str) -> None:
    """Print a warning as one line on standard error."""
    click.echo(f"edgecnn: warning: {' '.join(message.split())}", err=True)


@contextmanager
def showing_progress() -> Iterator[Progress]:
    """Yield a progress that draws on standard error, quiet when that is not a terminal; interrupted work ends there.

    Meanwhile what the user's own network prints goes to standard error: standard output is for the result.
    """
    if not sys.stderr.isatty():
        with redirect_stdout(sys.stderr):
            yield _show_nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    # A descriptor of its own: what converters print is kept away by turning descriptor 2 elsewhere.
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w", errors="backslashreplace") as terminal,
        Bars(*columns, console=Console(file=terminal), transient=True) as bars,
    ):
        task = bars.add_task("", total=None)
        current = ""

        def show(step: str, done: int = 0, total: int | None = None) -> None:
            nonlocal current
            check_interruption()
            if step != current:
                current = step
                bars.reset(task, description=step, total=total)
            bars.update(task, completed=done, total=total)

        yield show


def _show_nothing(step: str, done: int = 0, total: int | None = None) -> None:
    check_interruption()


def model_options(command: F) -> F:
    """Add the argument MODEL and `--weights`: parameters model, weights."""
    command = click.option(
        "--weights", metavar="FILE", help="A .safetensors, .pt or .pth file; DEFAULT for torchvision's own."
    )(command)
    return click.argument("model", shell_complete=complete_model)(command)


def complete_data(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a data set."""
    from edgecnn.datasets import DATASETS

    names = [name + ":" if name in ("folder", "npz") else name for name in DATASETS.names()]
    return [name for name in names if name.startswith(incomplete)]


def complete_model(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Complete the name of one of our networks, or a file."""
    from click.shell_completion import CompletionItem

    from edgecnn.nets import NETS

    names = [f"edgecnn:{name}" for name in NETS.names()]
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def parse_input_shape(text: str | None) -> tuple[int, ...] | None:
    """Read `1x3x224x224` as (3, 224, 224).

    Raises:
        EdgecnnError: another form, or a batch other than 1.
    """
    if text is None:
        return None
    if re.fullmatch(r"1(x[1-9][0-9]{0,6})+", text.lower()) is None:
        raise EdgecnnError(f"--input '{text}' is not understood; write batch 1, channels, height, width: 1x3x224x224")
    shape = tuple(int(size) for size in text.lower().split("x")[1:])
    if prod(shape) > _LARGEST_INPUT:
        raise EdgecnnError(f"--input '{text}' has {prod(shape)} values; edgecnn takes up to {_LARGEST_INPUT}")
    return shape
