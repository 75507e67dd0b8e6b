"""What is printed for people: tables and sentences that keep names and numbers whole, however narrow the terminal.

All text passes here, and what could steer a terminal is shown escaped: names come from files and boards of others.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

import click

from edgecnn.errors import STEERING

if TYPE_CHECKING:
    from edgecnn.evaluate.parity import Parity

#: A cell is one line, or several.
Cell = str | Sequence[str]
Rows = Sequence[Sequence[Cell]]

Lines = Sequence[Sequence[list[str]]]  # rows, ready to be printed

_FORM = "edgecnn.form"  # in a context's `meta`, which subcommands share: `as_json` or `markdown`, where one was given

#: The space between a figure and its unit.
_UNIT = re.compile(r"(?<=[\d…]) (?=(?:B|[KMG]iB|ns|µs|ms|s|dB|MHz|GHz|%|°C|threads?)(?!\w))")

_FRAME = 3  # characters beside the text of each column: its padding and one border; the table has one border more


def print_table(
    title: str, columns: Sequence[str], rows: Rows, *, right: Sequence[int] = (), spare: Sequence[int] = ()
) -> None:
    """Print a table; the columns numbered in *right* are aligned to the right.

    Where the terminal is too narrow, those of the columns numbered in *spare* are left out that do not fit beside the
    others, the last of them being the most important; where not even the others fit, each row is a block of lines. No
    cell is ever broken. With `--markdown` it is a table of GitHub's Markdown with all columns.
    """
    cells = [[_lines(cell) for cell in row] for row in rows]
    if _in_markdown():
        _print_markdown(title, columns, cells, right)
        return
    limit = line_width(sys.stdout)
    kept = [index for index in range(len(columns)) if index not in spare]
    for index in reversed(spare):
        if limit is None or _width(columns, cells, [*kept, index]) <= limit:
            kept = sorted([*kept, index])
    if title:
        say(title)
    if limit is None or _width(columns, cells, kept) <= limit:
        _print_grid([columns[index] for index in kept], _only(cells, kept), [kept.index(i) for i in right if i in kept])
        if len(kept) < len(columns):
            names = ", ".join(column for index, column in enumerate(columns) if index not in kept)
            say(f"(a wider terminal or --json also shows: {names})")
    else:
        _print_blocks(columns, cells)


def shown(text: str) -> str:
    """Return *text* with what could steer a terminal written as Python escapes it: `\\x1b`, `\\u202e`, `\\n`."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def format_worst(parity: Parity) -> str:
    """Return the lowest SQNR, and where there are several parts, whose it is: `9.1 dB, channel 3 of output 0`."""
    worst = parity.worst
    if worst is None:
        return "-"
    alone = worst.channel is None and sum(part.channel is None for part in parity.parts) == 1
    return f"{worst.sqnr_db:.1f} dB{'' if alone else f', {worst}'}"


def say(text: str) -> None:
    """Print a sentence on standard output: one line, on a terminal broken between words alone.

    With `--markdown` it is a paragraph, or an item of a list where it is indented.
    """
    text = shown(text)
    if _in_markdown():
        # An empty line behind an item too: what follows would be part of it otherwise.
        click.echo(f"{'- ' * text.startswith('  ')}{_escaped(text.strip())}\n")
    else:
        click.echo(wrapped(text, sys.stdout))


def warn(message: str) -> None:
    """Print a warning on standard error: one line, on a terminal broken between words alone."""
    tell(f"edgecnn: warning: {' '.join(message.split())}")


def tell(line: str) -> None:
    """Print *line* on standard error, on a terminal broken between words alone."""
    click.echo(wrapped(shown(line), sys.stderr), err=True)


def wrapped(text: str, stream: TextIO) -> str:
    """Return *text* broken between words where *stream* is a terminal; what is behind the first line is indented."""
    width = line_width(stream)
    if width is None:
        return text
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    # A space that textwrap does not know holds figures and their units together.
    held = _UNIT.sub("\u00a0", text)
    lines = textwrap.fill(held, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\u00a0", " ")


def line_width(stream: TextIO) -> int | None:
    """Return how many characters a line of *stream* holds; None where it is no terminal, and any number does."""
    if not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def _lines(cell: Cell) -> list[str]:
    return [shown(line) for line in ([cell] if isinstance(cell, str) else cell)]


def _only(rows: Lines, kept: Sequence[int]) -> Lines:
    return [[row[index] for index in kept] for row in rows]


def _width(columns: Sequence[str], rows: Lines, kept: Sequence[int]) -> int:
    """Return how many characters a line of the table has that shows the *kept* columns."""
    from rich.cells import cell_len

    widest = (
        max(cell_len(line) for lines in ([columns[i]], *(row[i] for row in rows)) for line in lines) for i in kept
    )
    return sum(width + _FRAME for width in widest) + 1


def _print_grid(columns: Sequence[str], rows: Lines, right: Sequence[int]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*("\n".join(lines) for lines in row))
    # Names are shown as they are: no markup in brackets, no :emoji:.
    width = _width(columns, rows, range(len(columns)))
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as printed:  # rich itself would end the program where the reader of a pipe went away
        console.print(table)
    click.echo(printed.get(), nl=False)


def take_form(ctx: click.Context, param: click.Parameter, given: bool) -> bool:
    """Remember for all that is printed in *ctx* that `--json` or `--markdown` was *given*, and return whether it was.

    Raises:
        click.UsageError: the other was given as well.
    """
    if given and ctx.meta.setdefault(_FORM, param.name) != param.name:
        raise click.UsageError("give --json or --markdown, not both")
    return given


def take_format(ctx: click.Context, param: click.Parameter, form: str) -> str:
    """Remember for all that is printed in *ctx* that `--format markdown` was given, and return *form*.

    Raises:
        click.UsageError: `--json` was given as well.
    """
    if form == "markdown" and ctx.meta.setdefault(_FORM, "markdown") != "markdown":
        raise click.UsageError("give --json or --format markdown, not both")
    return form


def _in_markdown() -> bool:
    ctx = click.get_current_context(silent=True)
    return ctx is not None and ctx.meta.get(_FORM) == "markdown"


def _escaped(text: str) -> str:
    """Return *text* with what Markdown would read as markup shown as it is; names come from files."""
    return re.sub(r"([\\`*|<>\[\]])", r"\\\1", text)


def _print_markdown(title: str, columns: Sequence[str], rows: Lines, right: Sequence[int]) -> None:
    if title:
        click.echo(f"**{_escaped(shown(title))}**\n")
    rule = ["---:" if index in right else "---" for index in range(len(columns))]
    cells = (["<br>".join(map(_escaped, lines)) for lines in row] for row in ([[name] for name in columns], *rows))
    head, *body = (f"| {' | '.join(row)} |" for row in cells)
    click.echo("\n".join((head, f"| {' | '.join(rule)} |", *body)) + "\n")


def _print_blocks(columns: Sequence[str], rows: Lines) -> None:
    widest = max(map(len, columns[1:]), default=0)
    for row in rows:
        say(",".join(row[0]))
        for column, cell in zip(columns[1:], row[1:], strict=True):
            say(f"  {column:<{widest}}  {', '.join(cell)}")


__all__ = ["line_width", "print_table", "say", "shown", "take_form", "take_format", "tell", "warn", "wrapped"]
