"""Where a measurement happens: a machine that takes files and runs the worker."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

from edgecnn.tables import Table
from edgecnn.targets.process import Process

#: The part of a target's name before the colon → its class, made from the whole name (`ssh://pi@board`).
TARGETS = Table("target", {"local": "edgecnn.targets.local:Local"})


class Target(Protocol):
    """A machine, open while inside `with`; at its end nothing of ours is left there.

    Samples go in and outputs come back through the standard input and output of what runs, so there is nothing to pull.
    """

    name: str

    def push(self, path: Path) -> str:
        """Bring the file at *path* there and return its absolute path on the target."""

    def run(self, program: str) -> Process:
        """Start the pushed Python *program* there, in a private folder and with nothing else in its way."""

    def __enter__(self) -> Target: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_target(name: str = "local") -> Target:
    """Return the target that *name* stands for, to be used in a `with`.

    Raises:
        EdgecnnError: there is no such kind of target.
    """
    return cast("Target", TARGETS.load(name.partition(":")[0])(name))


__all__ = ["TARGETS", "Process", "Target", "open_target"]
