"""`emulated:rpi4`: a virtual ARM64 board with the device's processor and RAM, on this machine.

It runs the device's own machine code, so accuracy, memory, what kernels can run and how many instructions they take
are the device's. It has no caches, no pipeline and no bandwidth: its clock shows a number of instructions, and
never a duration.
"""

from __future__ import annotations

from typing import NoReturn

from edgecnn.device import DeviceProfile, device_names, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import EMULATED
from edgecnn.targets.board.image import check_programs, describe_build, find_image
from edgecnn.targets.board.machine import CPUS, Board, Hardware
from edgecnn.targets.ssh import Ssh


class Emulated(Ssh):
    """`emulated:DEVICE`, a device of the catalogue or a variant of it; booted for the time of the `with`."""

    method = EMULATED

    def __init__(self, name: str) -> None:
        """Choose the processor and the RAM.

        Raises:
            EdgecnnError: no device is named, or an unknown one, or one whose processor cannot be emulated.
        """
        device = name.partition(":")[2]
        if not device:
            raise EdgecnnError("Which device should be emulated? Give --target emulated:rpi4, or add --device rpi4.")
        self.hardware = hardware_of(load_device(device))
        self._board: Board | None = None
        super().__init__("ssh://board")
        self.name = name

    def __enter__(self) -> Emulated:
        super().__enter__()
        self.free_bytes = self.hardware.limit_bytes
        return self

    def limit_memory(self, limit_bytes: int) -> None:
        """Do nothing: the board was booted with the device's own limit."""

    @property
    def board(self) -> Board:
        """The virtual machine."""
        assert self._board is not None, "a target is used inside `with`"
        return self._board

    def connect(self) -> None:
        """Boot the board and open the connection to it.

        Raises:
            EdgecnnError: it is not built yet, a program is missing, or it does not come up.
        """
        image = find_image()
        if image is None:
            check_programs()
            raise EdgecnnError(f"{describe_build()}: edgecnn bench does so, and edgecnn.build_board() from Python")
        self._board = Board(image, self.hardware)
        self._config = ["-F", str(self._board.ssh_config)]
        super().connect()

    def disconnect(self) -> None:
        """Close the connection and switch the board off."""
        super().disconnect()
        if self._board is not None:
            self._board.close()
            self._board = None

    def fail(self, code: int, words: str) -> NoReturn:
        """Raise the EdgecnnError for a command that ended with *code* and *words*; the board itself may have ended."""
        how = self.board.ending(patience_s=2.0) if self.lost() else None
        if how is not None:
            raise EdgecnnError(f"{self.name} stopped ({how}); earlier results are kept: run this again")
        super().fail(code, words)


def hardware_of(profile: DeviceProfile) -> Hardware:
    """Return what a board must be to stand for *profile*: its fastest core that can be emulated, all its RAM.

    What the device's own system takes of the RAM is not for a runtime: that is the limit.

    Raises:
        EdgecnnError: no such core, or the RAM is not known.
    """
    cpu = _cpu_of(profile)
    ram = profile.region("ram")
    if cpu is None or ram is None:
        able = [name for name in device_names() if name != "host" and _cpu_of(load_device(name))]
        cores = ", ".join(core.name for core in profile.cores) or profile.arch
        raise EdgecnnError(
            f"{profile.name} ({profile.kind}, {cores}) cannot be emulated: a Linux board with {', '.join(CPUS)} and a "
            f"known RAM can; known: {', '.join(able)}"
        )
    return Hardware(cpu, ram.size_bytes, ram.limit_bytes)


def _cpu_of(profile: DeviceProfile) -> str | None:
    if profile.kind != "linux" or profile.arch != "aarch64":
        return None
    return next((CPUS[core.name] for core in profile.cores if core.name in CPUS), None)


__all__ = ["Emulated", "hardware_of"]
