"""Where a measurement happens: a machine that takes files and runs the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

from edgecnn.errors import EdgecnnError
from edgecnn.parsing import read_table
from edgecnn.shipped import user_folder
from edgecnn.tables import Table
from edgecnn.targets.process import Process

#: The part of a target's name before the colon → its class, made from the whole name (`ssh://pi@board`).
TARGETS = Table(
    "target",
    {
        "adb": "edgecnn.targets.adb:Adb",
        "emulated": "edgecnn.targets.emulated:Emulated",
        "local": "edgecnn.targets.local:Local",
        "ssh": "edgecnn.targets.ssh:Ssh",
    },
)


class Target(Protocol):
    """A machine, open while inside `with`; at its end nothing of ours is left there.

    Samples go in and outputs come back through the standard input and output of what runs, so there is nothing to pull.
    """

    name: str
    method: str  # how its figures come to be: `MEASURED`, or `EMULATED` where its clock counts instructions
    machine: str | None  # as `uname -m` says
    free_bytes: int | None  # memory that was free when we came

    def push(self, path: Path, *data_files: Path) -> str:
        """Bring the file at *path* there and return its absolute path on the target.

        Its *data_files*, which lie in its folder or below, lie so there too, under the same names.
        """

    def run(self, program: str) -> Process:
        """Start the pushed Python *program* there, in a private folder and with nothing else in its way."""

    def limit_memory(self, limit_bytes: int) -> None:
        """Let what runs there take no more than *limit_bytes* together, where that can be; else nothing changes."""

    def install_line(self, packages: Sequence[str]) -> str:
        """Return what a user types to install the Python *packages* for what runs there."""

    def install(self, packages: Sequence[str]) -> None:
        """Install the Python *packages* there, for us alone."""

    def __enter__(self) -> Target: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_target(name: str = "local") -> Target:
    """Return the target that *name* stands for, to be used in a `with`.

    Raises:
        EdgecnnError: there is no such kind of target.
    """
    kind = name.partition(":")[0]
    if kind not in TARGETS.names() and "@" in name:
        raise EdgecnnError(f"unknown target '{name}'; did you mean ssh://{name.partition('://')[2] or name}?")
    return cast("Target", TARGETS.load(kind)(name))


def device_of(target: str) -> str | None:
    """Return the device that *target* itself names: `emulated:rpi4` is `rpi4`; None: it names none."""
    kind, _, device = target.partition(":")
    return (device or None) if kind == "emulated" else None


def target_of(device: str) -> str:
    """Return the target that the user tied to *device* (`my-pi`, `rpi4:4gb`) in `targets.toml`, else `local`.

    The file lies in the user's configuration folder and holds one table: `[targets]`, with `my-pi = "ssh://pi@board"`.

    Raises:
        EdgecnnError: the file is broken.
    """
    tied = tied_targets()
    return tied.get(device) or tied.get(device.partition(":")[0]) or "local"


def tied_targets() -> Mapping[str, str]:
    """Return the target of each device that `targets.toml` names; none where there is no such file.

    Raises:
        EdgecnnError: the file is broken.
    """
    path = user_folder("targets.toml")
    try:
        table, _ = read_table(path)
    except FileNotFoundError:
        return {}
    tied = table.pop("targets", {})
    if table or not isinstance(tied, dict) or not all(isinstance(name, str) for name in tied.values()):
        raise EdgecnnError(
            f'{path}: it must have one table [targets] with lines like my-pi = "ssh://pi@raspberrypi.local"'
        )
    return tied


__all__ = ["TARGETS", "Process", "Target", "device_of", "open_target", "target_of", "tied_targets"]
