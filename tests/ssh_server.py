"""A real OpenSSH server on 127.0.0.1, started by the tests, with keys, configuration and folders of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgecnn.targets.ssh import CONFIG_VARIABLE, Ssh


def sshd_program() -> str:
    """Return the path of sshd, or skip: in CI its absence is a failure."""
    found = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is not None and shutil.which("ssh") and Path("/proc/self/task").is_dir():
        return found
    reason = "no sshd here: apt-get install -y openssh-server openssh-client"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class SshServer:
    """A server that lets one key in; what runs there has `folder` as its HOME and `folder/tmp` as its TMPDIR."""

    def __init__(self, folder: Path, *lines: str, **environment: str) -> None:
        self.folder = folder
        self._program = sshd_program()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on it
        for name in ("host", "client"):
            key(folder / name)
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        (folder / "authorized_keys").write_text((folder / "client.pub").read_text())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # A HOME of its own also keeps the start-up files of whoever runs the tests out of it.
        paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        given = {"TMPDIR": str(self.tmp), "HOME": str(folder), "PATH": paths, **environment}
        settings = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {folder}/host",
            f"AuthorizedKeysFile {folder}/authorized_keys",
            f"PidFile {folder}/pid",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "LogLevel ERROR",
            *lines,
            "SetEnv " + " ".join(f'"{name}={value}"' for name, value in given.items()),
        ]
        (folder / "sshd_config").write_text("\n".join(settings) + "\n")
        self.config = folder / "ssh_config"
        self.configure()
        self.know(folder / "host.pub")
        self.name = f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"
        arguments = [self._program, "-D", "-e", "-f", str(folder / "sshd_config")]
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=self.log)
        self._wait()

    def configure(self, client: str = "client") -> None:
        """Write the client's configuration: which key it has, and which hosts it knows."""
        self.config.write_text(
            f"Host *\n  IdentityFile {self.folder}/{client}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        )

    def know(self, public_key: Path | None) -> None:
        """Have the client know the server by *public_key*, or not at all."""
        text = "" if public_key is None else f"[127.0.0.1]:{self.port} {public_key.read_text()}"
        (self.folder / "known_hosts").write_text(text)

    def target(self) -> Ssh:
        """Return the target that leads here, not open yet."""
        return Ssh(self.name, self.config)

    @property
    def environment(self) -> dict[str, str]:
        """What a command line needs to come here."""
        return {**os.environ, CONFIG_VARIABLE: str(self.config)}

    def cut(self) -> None:
        """Kill every connection."""
        for pid in descendants(self.process.pid):
            if command_of(pid).startswith("sshd: "):
                os.kill(pid, signal.SIGKILL)

    def running(self, what: str) -> list[int]:
        """Return the processes that came through here and have *what* in their command line."""
        mark = f"TMPDIR={self.tmp}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    ours = mark in (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if ours and what in command_of(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def left(self) -> list[str]:
        """Return what is left in the TMPDIR there, and what still runs there, once it has had 5 s to end."""
        for _ in range(100):
            names = sorted(path.name for path in self.tmp.iterdir())
            if not names and not self.running(str(self.tmp)):
                return []
            time.sleep(0.05)
        return names + [command_of(pid) for pid in self.running(str(self.tmp))]

    def close(self) -> None:
        """Stop the server and its connections."""
        self.cut()
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def _wait(self) -> None:
        for _ in range(200):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)
        pytest.fail("sshd did not start")


def key(path: Path) -> None:
    """Make a key pair."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def descendants(pid: int) -> list[int]:
    """Return all processes below *pid*."""
    found = []
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    for child in children:
        found += [child, *descendants(child)]
    return found


def command_of(pid: int) -> str:
    """Return the command line of *pid*; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
