"""This machine as a target."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.targets.process import Process


class Local:
    """This machine; files stay where they are, programs run in a temporary folder that is removed at the end."""

    def __init__(self, name: str = "local") -> None:
        if name != "local":
            raise EdgecnnError(f"unknown target '{name}'; this machine is called local")
        self.name = name
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Local:
        self._folder = tempfile.TemporaryDirectory(prefix="edgecnn-")
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def push(self, path: Path) -> str:
        """Return the absolute path: nothing needs to be copied.

        Raises:
            EdgecnnError: its name is not text, which is all that the runtimes take.
        """
        place = str(path.resolve())
        try:
            place.encode()
        except UnicodeEncodeError:
            raise EdgecnnError(f"{path}: the runtimes open names in UTF-8 alone; rename it") from None
        return place

    def run(self, program: str) -> Process:
        """Start *program* with the Python that runs us."""
        assert self._folder is not None, "a target is used inside `with`"
        return Process([sys.executable, program], Path(self._folder.name))
