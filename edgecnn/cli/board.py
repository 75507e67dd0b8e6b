"""What `edgecnn bench` asks about the emulated board."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from edgecnn.cli.shared import showing_progress
from edgecnn.cli.table import tell
from edgecnn.errors import EdgecnnError


def prepare_board(check: Callable[[], None], *, agreed: bool) -> None:
    """Build the emulated board where it is not built yet: say what is fetched, and ask where there is a terminal.

    Before anything is fetched, *check* sees that the board is then of use.

    Raises:
        EdgecnnError: nobody agreed, a program is missing, it cannot be built, or what *check* raises.
    """
    from edgecnn.targets.board.image import build_board, check_programs, describe_build, find_image

    if find_image() is not None:
        return
    check()
    check_programs()
    if not agreed and not sys.stdin.isatty():
        raise EdgecnnError(f"{describe_build()}; nothing was fetched: add --yes to build it")
    tell(describe_build())
    if not agreed and not click.confirm("Build it now?", err=True):
        raise EdgecnnError("the emulated board is not built, and nothing was fetched; --yes builds it without asking")
    with showing_progress() as progress:
        build_board(progress)
