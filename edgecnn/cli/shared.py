"""What the commands share: options as stacked decorators, progress, JSON."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from functools import wraps
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecnn.cli.interruption import check_interruption
from edgecnn.cli.names import (
    complete_data,
    complete_decoder,
    complete_model,
    complete_normalization,
    complete_substitute,
    complete_task,
)
from edgecnn.cli.sections import option
from edgecnn.cli.table import shown, take_form, tell
from edgecnn.errors import EdgecnnError
from edgecnn.progress import Progress

if TYPE_CHECKING:
    from edgecnn.datasets import DataSource
    from edgecnn.evaluate.choice import TaskChoice
    from edgecnn.normalization import Normalization, Resize

F = TypeVar("F", bound=Callable[..., Any])

#: What `--input` is for where there are data.
RESIZED = "Resize images in files to this shape, for example 1x3x224x224."

_LINE_EVERY_S = 10.0  # within a step, where standard error is no terminal

_LARGEST_INPUT = 2**28  # values of one sample: 1 GiB of float32


def common(command: F) -> F:
    """Add `--json` and `--debug`, which every command has."""
    command = option(
        "--json",
        "as_json",
        is_flag=True,
        callback=take_form,
        section="Output",
        help="Print the result as JSON on standard output.",
    )(command)
    debug = option(
        "--debug", is_flag=True, expose_value=False, section="Output", help="Show the traceback of an error."
    )
    return debug(command)


def tables(command: F) -> F:
    """Add `--markdown`, for a command that prints tables."""
    return option(
        "--markdown",
        is_flag=True,
        expose_value=False,
        callback=take_form,
        section="Output",
        help="Print tables as Markdown, for example for a CI summary.",
    )(command)


def stacked(command: Any, options: Sequence[Callable[[Any], Any]]) -> Any:
    """Return *command* with *options*, in their order."""
    for add in reversed(options):
        command = add(command)
    return command


def gathered(command: F, name: str, gather: Callable[..., Any], options: Sequence[Callable[[F], F]]) -> F:
    """Add *options* to *command*, which gets what *gather* makes of them as one parameter *name*."""
    given: list[str] = []

    @wraps(command)
    def with_noun(*args: Any, **parameters: Any) -> Any:
        noun = gather(**{one: parameters.pop(one) for one in given})
        return command(*args, **parameters, **{name: noun})

    before = len(getattr(command, "__click_params__", ()))
    found: Any = stacked(with_noun, options)
    given += [one.name for one in found.__click_params__[before:]]
    return found  # type: ignore[no-any-return]


def data_options(command: F) -> F:
    """Add which samples to use and how to prepare them: one parameter *source*, a `DataSource`."""
    options = (
        option(
            "--data",
            metavar="DATA",
            shell_complete=complete_data,
            section="Network and data",
            help="Data set: digits, scenes, mnist, fashion-mnist, cifar10, cifar100, creditcard, folder:DIR, "
            "coco:DIR, masks:DIR, csv:FILE or npz:FILE.",
        ),
        option(
            "--data-dir",
            type=click.Path(path_type=Path),
            metavar="DIR",
            default_text="$EDGECNN_DATA",
            section="Network and data",
            help="Folder of the data sets.",
        ),
        option("--download", is_flag=True, section="Network and data", help="Download the data set if it is missing."),
        option(
            "--normalize",
            "normalization",
            metavar="HOW",
            callback=parse_normalization,
            shell_complete=complete_normalization,
            section="Network and data",
            help="Input preprocessing, if the model does not record it: pixels, unit, imagenet or mean=…,std=….",
        ),
        option(
            "--resize",
            metavar="SIDE[:CROP]",
            callback=parse_resize,
            default_text="the smallest size that covers the input; with boxes and masks stretch",
            section="Network and data",
            help="Resize images in files to this shorter side, then crop the centre, for example 256:224. Without "
            "CROP the crop has the input's size. stretch and letterbox keep the whole image.",
        ),
    )
    return gathered(command, "source", _source, options)


def _source(
    data: str | None, data_dir: Path | None, download: bool, normalization: Normalization | None, resize: Resize | None
) -> DataSource:
    from edgecnn.datasets import DataSource

    return DataSource(data, folder=data_dir, download=download, normalization=normalization, resize=resize)


def input_option(text: str = RESIZED, default_text: str | None = None, *, several: bool = False) -> Callable[[F], F]:
    """Return what adds `--input` below `data_options`: the *input_shape* of their *source*, or its *input_shapes*."""

    def add(command: F) -> F:
        @wraps(command)
        def with_shape(*args: Any, source: DataSource, input_text: Any, **options: Any) -> Any:
            texts = input_text if several else (input_text,)
            shapes = tuple(shape for text in texts if (shape := parse_input_shape(text)) is not None)
            one = shapes[0] if len(shapes) == 1 else None
            source = replace(source, input_shape=one, input_shapes=shapes if len(shapes) > 1 else None)
            return command(*args, source=source, **options)

        add_option = option(
            "--input",
            "input_text",
            metavar="SHAPE",
            multiple=several,
            default_text=default_text,
            section="Network and data",
            help=text,
        )
        return add_option(with_shape)  # type: ignore[return-value]

    return add


def task_options(command: F) -> F:
    """Add what a network is judged as: one parameter *task*, a `TaskChoice`."""
    options = (
        option(
            "--task",
            metavar="NAME",
            shell_complete=complete_task,
            default_text="as the model or the data say",
            section="Network and data",
            help="What the network does: classification, multilabel, regression, reconstruction, segmentation, "
            "detection, embedding, none, or a task of your own.",
        ),
        option(
            "--metric",
            metavar="NAME",
            default_text="the task's first",
            section="Network and data",
            help="What it is judged by: a metric of the task, or your own package.module:function or FILE.py:function, "
            "(outputs, targets) -> number.",
        ),
        option(
            "--decode",
            metavar="NAME",
            shell_complete=complete_decoder,
            section="Network and data",
            help="How raw outputs become boxes: yolov8, yolov5, a FILE.json that describes a head, or your own "
            "package.module:function or FILE.py:function. The files keep the raw outputs.",
        ),
    )
    return gathered(command, "task", _choice, options)


def _choice(task: str | None, metric: str | None, decode: str | None) -> TaskChoice:
    from edgecnn.evaluate.choice import TaskChoice

    return TaskChoice(task=task, metric=metric, decode=decode)


def print_json(document: Any) -> None:
    """Print *document* as JSON on standard output; NaN is refused, a figure not taken is null."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def is_standard_output(path: Path) -> bool:
    """Whether *path* is a name of standard output; what is written there must not be renamed over it."""
    return str(path) in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def parse_folder(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Return the folder *path* of several files.

    Raises:
        EdgecnnError: it is standard output, which takes one document.
    """
    if path is not None and is_standard_output(path):
        raise EdgecnnError(f"-o {path}: several files are written, but standard output takes only one; give a folder")
    return path


@contextmanager
def showing_progress() -> Iterator[Progress]:
    """Yield a progress that draws on a terminal's standard error, else writes lines there; interrupted work ends there.

    Meanwhile what the user's own network prints goes to standard error: standard output is for the result.
    """
    with redirect_stdout(sys.stderr), _bars() if sys.stderr.isatty() else _lines() as show:
        yield show


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    # A descriptor of its own: what converters print is kept away by turning descriptor 2 elsewhere. So rich must not
    # take over `sys.stderr`, which would lead around that.
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w", errors="backslashreplace") as terminal,
        Bars(
            *columns, console=Console(file=terminal), transient=True, redirect_stdout=False, redirect_stderr=False
        ) as bars,
    ):
        task = bars.add_task("", total=None)
        current = ""

        def show(step: str, done: int = 0, total: int | None = None) -> None:
            nonlocal current
            check_interruption()
            if step != current:
                current = step
                bars.reset(task, description=shown(step), total=total)
            bars.update(task, completed=done, total=total)

        yield show


@contextmanager
def _lines() -> Iterator[Progress]:
    # A descriptor of its own, as for the bars.
    try:
        number = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # it is no file: a test's, or a notebook's
        yield progress_lines(tell)
        return

    def write(line: str) -> None:
        with suppress(OSError):  # a full disk: the work goes on
            os.write(number, f"{shown(line)}\n".encode(errors="backslashreplace"))

    try:
        yield progress_lines(write)
    finally:
        os.close(number)


def progress_lines(write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Progress:
    """Return a progress for logs: a line at each new step, and within a step at most one every 10 s.

    Args:
        write: takes each line, without its line break.
        clock: gives the time, in seconds.
    """
    written_s: dict[str, float] = {}  # step → when its last line was written

    def show(step: str, done: int = 0, total: int | None = None) -> None:
        check_interruption()
        now_s = clock()
        if now_s - written_s.get(step, -math.inf) >= _LINE_EVERY_S:
            written_s[step] = now_s
            write(f"{step}: {done}{f' of {total}' if total else ''}" if done else step)

    return show


def model_options(command: F) -> F:
    """Add the argument MODEL and `--weights`: parameters model, weights."""
    command = option(
        "--weights",
        metavar="FILE",
        section="Network and data",
        help="Trained weights: a .safetensors file, or .pt, .pth or .ckpt of torch; DEFAULT for those of torchvision.",
    )(command)
    return click.argument("model", shell_complete=complete_model)(command)


def parse_normalization(ctx: click.Context, param: click.Parameter, text: str | None) -> Normalization | None:
    """Read what `--normalize` says.

    Raises:
        EdgecnnError: as `Normalization.parse` does.
    """
    from edgecnn.normalization import Normalization

    return None if text is None else Normalization.parse(text)


def parse_resize(ctx: click.Context, param: click.Parameter, text: str | None) -> Resize | None:
    """Read what `--resize` says.

    Raises:
        EdgecnnError: as `Resize.parse` does.
    """
    from edgecnn.normalization import Resize

    return None if text is None else Resize.parse(text)


def parse_numbers(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Return the whole numbers from 1 to 9999 that *text* lists: `1,2,4`; none where it is not given."""
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,3}", part) for part in parts):
        raise click.BadParameter(f"'{text}' is not a list of whole numbers from 1 to 9999, like 1,2,4")
    return tuple(int(part) for part in parts)


def parse_cores(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Return the numbers of cores that *text* lists, `0-3,6`; none where it is not given."""
    if text is None:
        return ()
    cores: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise click.BadParameter(f"'{text}' is not a list of cores, like 0-3 or 4,5")
        cores += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(dict.fromkeys(cores))


def substitute_option(text: str) -> Callable[[F], F]:
    """Return what adds `--substitute`, parameter substitutes, with *text* and the blocks as its help."""
    return option(
        "--substitute",
        "substitutes",
        metavar="BLOCK,BLOCK",
        default="",
        default_text="none",
        callback=parse_blocks,
        shell_complete=complete_substitute,
        section="Search",
        help=f"{text}: depthwise, fire, ghost, grouped, nx1-1xn.",
    )


def parse_blocks(ctx: click.Context, param: click.Parameter, text: str) -> tuple[str, ...]:
    """Read `depthwise,ghost` as its names."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def parse_input_shape(text: str | None) -> tuple[int, ...] | None:
    """Read `1x3x224x224` as (3, 224, 224).

    Raises:
        EdgecnnError: another form, or a batch other than 1.
    """
    if text is None:
        return None
    if re.fullmatch(r"1(x[1-9][0-9]{0,6})+", text.lower()) is None:
        meant = f"1x{text.lower()}" if re.fullmatch(r"[0-9]{1,7}(x[0-9]{1,7}){2}", text.lower()) else "1x3x224x224"
        raise EdgecnnError(f"--input '{text}' is not valid; write batch 1, channels, height, width: {meant}")
    shape = tuple(int(size) for size in text.lower().split("x")[1:])
    if prod(shape) > _LARGEST_INPUT:
        raise EdgecnnError(f"--input '{text}' has {prod(shape)} values; edgecnn takes up to {_LARGEST_INPUT}")
    return shape
