"""A phone or board reached through the adb program."""

from __future__ import annotations

import re
import shutil
import subprocess

from edgecnn.errors import EdgecnnError
from edgecnn.targets.remote import Remote


class Adb(Remote):
    """`adb:SERIAL`, as `adb devices` lists it (`adb:192.168.1.7:5555` too); the adb server keeps the connection."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._serial = name.removeprefix("adb:")
        if not re.fullmatch(r"[^-\s]\S*", self._serial) or self._serial.startswith("//"):
            raise EdgecnnError(f"'{name}' is not an adb target; write adb:SERIAL with a serial from `adb devices`")

    def connect(self) -> None:
        """See that the device is there and lets us in.

        Raises:
            EdgecnnError: there is no adb here, or no such device.
        """
        if shutil.which("adb") is None:
            raise EdgecnnError("adb is not installed: sudo apt-get install -y adb")
        asked = subprocess.run(
            ["adb", "-s", self._serial, "get-state"],  # noqa: S607 - the user's own adb
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            check=False,
        )
        output = (asked.stdout + asked.stderr).decode(errors="replace").strip()
        if asked.returncode or output != "device":
            raise EdgecnnError(f"{self.name}: {self.explain(output)}")

    def command(self, line: str) -> list[str]:
        """Return the call of adb that runs *line*, without a terminal in between."""
        return ["adb", "-s", self._serial, "shell", "-T", line]

    def by_hand(self, line: str) -> str:
        """Return the line for a terminal here."""
        return f'adb -s {self._serial} shell "{line}"'

    def explain(self, words: str) -> str:
        """Return what adb's *words* mean and what to do."""
        known = (
            ("unauthorized", "it does not accept this machine; unlock it and confirm the question on its screen"),
            ("offline", "it is offline; plug it in again"),
            ("not found", "no such device; adb devices lists those there are"),
            ("no permissions", "this user may not use the USB device; see adb devices"),
        )
        return next(
            (explanation for sign, explanation in known if sign in words),
            words.splitlines()[-1] if words else "adb failed",
        )
