"""The emulated board running: a QEMU virtual machine that ends with us, whatever becomes of us."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.locks import PrivateFolder
from edgecnn.targets.board.image import PROGRAMS, Image, check_programs, find_program
from edgecnn.units import format_bytes

#: Core as a device profile names it → the processor that QEMU emulates instruction by instruction.
CPUS = {
    "Cortex-A53": "cortex-a53",
    "Cortex-A57": "cortex-a57",
    "Cortex-A72": "cortex-a72",
    "Cortex-A76": "cortex-a76",
}

#: QEMU translates code anew wherever it lies at another address, and a board has no secrets to keep from itself: with
#: every program at the same place, each worker after the first takes half of the time.
_SAME_PLACES = "norandmaps nokaslr kpti=off mitigations=off"

#: A board of less does not come up.
LEAST_RAM_BYTES = 96 * 2**20

_UP = "edgecnn board is up"
_PATIENCE_S = 120.0  # it takes 5 s; a crowded machine may be much slower
_TRIES = 3  # a free port may be taken by another between finding and using it


@dataclass(frozen=True)
class Hardware:
    """What the board is to be."""

    cpu: str  # one of CPUS' values
    ram_bytes: int
    limit_bytes: int | None = None  # what all that is started over ssh may use of it; None: all


class Board:
    """A board, booted; killed at the end of `with`, on Ctrl-C, and when the process that booted it is killed."""

    def __init__(self, image: Image, hardware: Hardware) -> None:
        """Boot.

        Raises:
            EdgecnnError: QEMU is missing or fails, or the board does not come up.
        """
        check_programs(_NEEDED)
        self.image = image
        self.hardware = hardware
        self._folder = PrivateFolder()
        self._qemu: subprocess.Popen[bytes] | None = None
        try:
            self._boot()
            self._write_ssh_config()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Switch the board off."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """QEMU's process."""
        assert self._qemu is not None
        return self._qemu.pid

    @property
    def ssh_config(self) -> Path:
        """A configuration for `ssh -F`, in which the board is the host `board`, and pi's account `board-pi`."""
        return Path(self._folder.name) / "ssh_config"

    def ending(self, patience_s: float = 0.0) -> str | None:
        """Return how QEMU ended, having waited for that up to *patience_s*; None while the board runs."""
        assert self._qemu is not None
        try:
            code = self._qemu.wait(patience_s)
        except subprocess.TimeoutExpired:
            return None
        if code < 0:
            return f"QEMU was ended by signal {-code}, {signal.Signals(-code).name}"
        return f"QEMU ended with exit code {code}: {self._last_words()}"

    def run(self, *command: str) -> str:
        """Run a command on the board (its words are joined by spaces, and read by a shell there); return its output.

        Raises:
            EdgecnnError: it failed.
        """
        done = subprocess.run(
            [find_program("ssh") or "ssh", "-F", str(self.ssh_config), "board", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            reason = self.ending() or f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
            raise EdgecnnError(f"the emulated board does not answer ({reason})")
        return done.stdout

    def _boot(self) -> None:
        for left in reversed(range(_TRIES)):
            self._port = _free_port()
            self._start()
            if self._came_up():
                return
            if left == 0 or "host forwarding" not in self._last_words():
                break
        reason = self.ending() or f"it is silent after {_PATIENCE_S:.0f} s; its last words: {self._last_words()}"
        raise EdgecnnError(
            f"the emulated board ({self.hardware.cpu}, {format_bytes(self.hardware.ram_bytes)} of RAM) "
            f"does not start: {reason}"
        )

    def _start(self) -> None:
        hardware, image = self.hardware, self.image
        ram_mb = max(LEAST_RAM_BYTES, hardware.ram_bytes) // 2**20
        limit = "" if hardware.limit_bytes is None else f" edgecnn.limit={hardware.limit_bytes}"
        arguments = [
            *("-M", "virt", "-cpu", hardware.cpu, "-smp", "1", "-m", f"{ram_mb}M"),
            # One nanosecond of the board's time is one instruction: what its clock shows does not depend on the host.
            *("-icount", "shift=0"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initramfs)),
            *("-append", f"console=ttyAMA0 quiet panic=-1 {_SAME_PLACES}{limit}"),
            # Whatever is written is lost at the end: each start finds the same board.
            *("-drive", f"if=none,id=disk,file={image.disk},format=raw,snapshot=on"),
            *("-device", "virtio-blk-pci,drive=disk"),
            # The board reaches nothing, and is reached from this machine alone.
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"),
            *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
            *("-display", "none", "-monitor", "none", "-serial", f"file:{self._console}", "-no-reboot"),
        ]
        # The kernel kills QEMU when we end, however that comes; a session of its own keeps Ctrl-C from it.
        guard = [find_program("setpriv") or "setpriv", "--pdeathsig", "KILL", "--"]
        with self._errors.open("wb") as errors:
            self._qemu = subprocess.Popen(
                [*guard, find_program("qemu-system-aarch64") or "qemu-system-aarch64", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )

    def _came_up(self) -> bool:
        """Wait until sshd answers; False where QEMU ends or nothing comes in time."""
        assert self._qemu is not None
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline and self._qemu.poll() is None:
            if _UP in _text(self._console) and _greets(self._port):
                return True
            time.sleep(0.05)
        return False

    def _write_ssh_config(self) -> None:
        """Write what `ssh -F` needs; host keys are checked against the one that was built into the image."""
        folder = Path(self._folder.name)
        known = folder / "known_hosts"
        known.write_text(f"edgecnn-board {self.image.host_key.read_text()}", encoding="utf-8")
        lines = [
            "Host board board-pi",
            "  HostName 127.0.0.1",
            f"  Port {self._port}",
            "  HostKeyAlias edgecnn-board",
            f'  UserKnownHostsFile "{known}"',
            "  GlobalKnownHostsFile none",
            "  StrictHostKeyChecking yes",
            "  UpdateHostKeys no",
            f'  IdentityFile "{self.image.key}"',
            "  IdentitiesOnly yes",
            "  IdentityAgent none",
            "  BatchMode yes",
            "  LogLevel ERROR",
            "Host board",
            "  User root",
            "Host board-pi",
            "  User pi",
        ]
        self.ssh_config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def _console(self) -> Path:
        return Path(self._folder.name) / "console.log"

    @property
    def _errors(self) -> Path:
        return Path(self._folder.name) / "qemu.log"

    def _last_words(self) -> str:
        """Return the last line of QEMU, else of the board's console."""
        for file in (self._errors, self._console):
            lines = _text(file).strip().splitlines()
            if lines:
                return lines[-1].strip()[:300]
        return "it printed nothing"


_NEEDED = {name: PROGRAMS[name] for name in ("qemu-system-aarch64", "ssh", "setpriv")}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _greets(port: int) -> bool:
    """Whether an ssh server speaks on *port*; QEMU itself accepts connections long before the board does."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(4) == b"SSH-"
    return False
