"""Ctrl-C and `kill` end a command on its way out through every `with` and `finally`, whoever swallows them first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received: list[int] = []


def check_interruption() -> None:
    """Raise once more what was raised when a signal came.

    A library may have swallowed it: what is raised in a callback or a destructor never reaches us.

    Raises:
        KeyboardInterrupt: Ctrl-C or `kill` came.
    """
    if _received:
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt, which replaces whatever a library made of it."""
    _received.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _receive)
    try:
        yield
    finally:
        check_interruption()


def interruption_code() -> int:
    """Return the shell's exit code for a program ended by this one's signal: 130 for Ctrl-C, 143 for `kill`."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _receive(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt
