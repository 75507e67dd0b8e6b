"""This machine as a target."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.host import read_host
from edgecnn.locks import PrivateFolder
from edgecnn.measurement import MEASURED
from edgecnn.targets.process import Process


class Local:
    """This machine; files stay where they are, programs run in a temporary folder that is removed at the end."""

    method = MEASURED

    def __init__(self, name: str = "local") -> None:
        if name != "local":
            raise EdgecnnError(f"unknown target '{name}'; this machine is called local")
        self.name = name
        self.machine: str | None = platform.machine()
        self.free_bytes: int | None = None
        self._folder: PrivateFolder | None = None

    def __enter__(self) -> Local:
        facts = read_host()
        if facts.ram_bytes is not None and facts.ram_used_bytes is not None:
            self.free_bytes = facts.ram_bytes - facts.ram_used_bytes
        self._folder = PrivateFolder()
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def push(self, path: Path, *data_files: Path) -> str:
        """Return the absolute path: nothing needs to be copied.

        Raises:
            EdgecnnError: its name is not text, which is all that the runtimes take.
        """
        place = str(path.absolute())  # where it is a link, its data files are beside the link
        try:
            place.encode()
        except UnicodeEncodeError:
            raise EdgecnnError(f"{path}: the runtimes only open names in UTF-8; rename it") from None
        return place

    def run(self, program: str) -> Process:
        """Start *program* with the Python that runs us."""
        assert self._folder is not None, "a target is used inside `with`"
        return Process([sys.executable, program], self._folder.path)

    def limit_memory(self, limit_bytes: int) -> None:
        """Do nothing: this machine's figures are those of this machine."""

    def install_line(self, packages: Sequence[str]) -> str:
        """Return the line for pip."""
        return f"pip install {' '.join(packages)}"

    def install(self, packages: Sequence[str]) -> None:
        """Refuse: this Python is the user's own.

        Raises:
            EdgecnnError: always.
        """
        raise EdgecnnError(f"--install is for other targets; here: {self.install_line(packages)}")
