"""A machine reached through the system's own OpenSSH: the user's configuration, keys, agent and known hosts hold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.targets.remote import Remote, last_line

#: A configuration file to use in place of the user's own, as `ssh -F` does.
CONFIG_VARIABLE = "EDGECNN_SSH_CONFIG"

#: No part may begin with a hyphen, which ssh would take for an option; a password has no place in it.
_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[^-@/:\s][^@/:\s]*)@)?(?P<host>\[[0-9a-fA-F:.%]+\]|[^-@/:\s\[][^@/:\s]*)(?::(?P<port>\d{1,5}))?/?"
)

#: A dead line is noticed after 15 s; the user's configuration says the rest.
_OPTIONS = ("-T", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")


class Ssh(Remote):
    """`ssh://user@host:port`; user, port and all else may come from the user's ssh configuration.

    One connection is shared by all commands. Host keys are checked as the user's configuration says, which nothing
    here turns off.
    """

    def __init__(self, name: str, config: Path | None = None) -> None:
        super().__init__(name)
        address = _ADDRESS.fullmatch(name)
        if address is None:
            raise EdgecnnError(f"'{name}' is no ssh target; write ssh://user@host or ssh://user@host:port")
        self._host = address["host"].strip("[]")
        self._destination = f"{address['user']}@{self._host}" if address["user"] else self._host
        self._port = ["-p", address["port"]] if address["port"] else []
        given = str(config) if config else os.environ.get(CONFIG_VARIABLE)
        self._config = ["-F", given] if given else []

    def connect(self) -> None:
        """Open the shared connection; where there is a terminal, ssh may ask for a password there.

        Raises:
            EdgecnnError: there is no ssh here, or no way in.
        """
        if shutil.which("ssh") is None:
            raise EdgecnnError("there is no ssh program here: sudo apt-get install -y openssh-client")
        silent = [] if sys.stdin is not None and sys.stdin.isatty() else ["-o", "BatchMode=yes"]
        master = ["-M", "-N", "-f", "-o", "ControlPersist=10", "-o", "ConnectTimeout=20", *silent]
        # A file, not a pipe: the connection lives on in the background and would keep a pipe open.
        with tempfile.TemporaryFile(dir=self.folder) as words:
            done = subprocess.run(
                self._ssh(*master), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words, check=False
            )
            words.seek(0)
            output = words.read().decode(errors="replace")
        if done.returncode:
            raise EdgecnnError(f"{self.name}: {self.explain(output)}")

    def disconnect(self) -> None:
        """Close the shared connection."""
        if self._own is not None and (self.folder / "s").exists():
            subprocess.run(
                self._ssh("-O", "exit"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                check=False,
            )

    def command(self, line: str) -> list[str]:
        """Return the call of ssh that runs *line* over the shared connection, and never over another one."""
        return [*self._ssh("-o", "ControlMaster=no", "-o", "ProxyCommand=false"), line]

    def by_hand(self, line: str) -> str:
        """Return the line for a terminal here."""
        return f'ssh {" ".join([*self._config, *self._port, self._destination])} "{line}"'

    def explain(self, words: str) -> str:
        """Return what ssh's *words* mean and what to do."""
        by_hand = " ".join(["ssh", *self._config, *self._port, self._destination])
        known = (
            ("Could not resolve hostname", f"the host '{self._host}' is not known; check its name, or use its address"),
            ("Connection refused", "the connection was refused; is it switched on, and does sshd run on that port?"),
            (
                "HOST IDENTIFICATION HAS CHANGED",
                "its host key has changed: it was set up anew, or another machine answers in its place; if you know "
                f"why, forget the old key: ssh-keygen -R {self._host}",
            ),
            ("Host key verification failed", f"its host key is not known here; see it and accept it once: {by_hand}"),
            ("Permission denied", f"it refused our key; give it one: {by_hand.replace('ssh', 'ssh-copy-id', 1)}"),
            ("timed out", "it does not answer; is it switched on and on this network?"),
            ("No route to host", "it cannot be reached; is it switched on and on this network?"),
            ("Network is unreachable", "this machine has no network that leads there"),
            ("Can't open user config file", f"the ssh configuration {''.join(self._config[1:])} cannot be read"),
        )
        return next(
            (explanation for sign, explanation in known if sign in words), last_line(words.encode()) or "ssh failed"
        )

    def _ssh(self, *options: str) -> list[str]:
        path = f"ControlPath={self.folder / 's'}"
        return ["ssh", *self._config, *_OPTIONS, "-o", path, *self._port, *options, "--", self._destination]


__all__ = ["CONFIG_VARIABLE", "Ssh"]
