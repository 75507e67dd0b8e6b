"""What `edgecnn bench` asks about the emulated board."""

from __future__ import annotations

import sys

import click

from edgecnn.cli.shared import showing_progress
from edgecnn.errors import EdgecnnError


def prepare_board(*, agreed: bool) -> None:
    """Build the emulated board where it is not built yet: say what is fetched, and ask where there is a terminal.

    Raises:
        EdgecnnError: the answer is no, a program is missing, or it cannot be built.
    """
    from edgecnn.targets.board.image import build_board, check_programs, describe_build, find_image

    if find_image() is not None:
        return
    check_programs()
    click.echo(describe_build(), err=True)
    if sys.stdin.isatty() and not agreed and not click.confirm("Build it now?", err=True):
        raise EdgecnnError("the emulated board is not built, and nothing was fetched; --yes builds it without asking")
    with showing_progress() as progress:
        build_board(progress)
