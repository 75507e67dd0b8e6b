"""A machine with a shell that another program leads to: what `ssh` and `adb` have in common.

One shell, the keeper, lives there for as long as we hold its standard input. It makes a private folder, holds a lock
against a second bench, and at its end (ours, Ctrl-C, a cut cable) kills what still runs and removes the folder.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import platform
import re
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NoReturn

from edgecnn.errors import EdgecnnError
from edgecnn.files import sha256_of
from edgecnn.locks import PrivateFolder
from edgecnn.measurement import MEASURED
from edgecnn.targets.process import Process
from edgecnn.units import format_bytes

#: How long the machine may take for an answer that needs no work.
PATIENCE_S = 60.0

#: $1: who we are. Facts go out as lines `key=value`, the last is `ready`; each line read then is a program to kill, or
#: `limit` and the bytes of memory that all programs may take together, where control groups (v2) let us say so.
_KEEPER = r"""
umask 077
for base in "$TMPDIR" /tmp /data/local/tmp; do test -w "$base" && break; done
lock=$base/edgecnn.lock held=
while command -v flock >/dev/null; do
  # Others may write to this folder. So the file is made only where nothing bears its name (set -C: O_EXCL), it is never
  # reached through a link, and it is written to through the descriptor that was checked.
  test -e "$lock" || test -L "$lock" || (umask 0; set -C; : >"$lock") 2>/dev/null
  if test -L "$lock" || { test -e "$lock" && test ! -f "$lock"; }; then echo "badlock=$lock"; exit; fi
  test -r "$lock" || break
  exec 9<"$lock"
  flock -n 9 || { read -r holder <&9; echo "busy=$holder"; exit; }
  # Whoever held it may have removed the file in between, and a third one made it anew.
  if test -e /proc/self/fd/9; then
    test ! -L "$lock" && test "$lock" -ef /proc/self/fd/9 || continue
    { echo "$1" >/proc/self/fd/9; } 2>/dev/null
  fi
  held=$lock
  break
done
# With the lock nobody is at work here: what lies there was left by a keeper that was killed.
test -z "$held" || for old in "$base"/.edgecnn-work-??????; do
  test ! -L "$old" && test -d "$old" && test -O "$old" && rm -rf "$old"
done 2>/dev/null
folder=$(mktemp -d "$base/.edgecnn-work-XXXXXX") || { echo "nofolder=$base"; exit; }
stop() { kill -KILL "-$(cat "$1")" || kill -KILL "$(cat "$1")"; rm -f "$1"; } 2>/dev/null
group=/sys/fs/cgroup/edgecnn-$$
limit() {
  mkdir "$group" && echo "$1" >"$group/memory.max" && echo "limited=$group" || { rmdir "$group"; echo limited=; }
  echo 0 >"$group/memory.swap.max"
} 2>/dev/null
finish() {
  for pid in "$folder"/*.pid; do test -e "$pid" && stop "$pid"; done
  rm -rf "$folder"
  test -z "$held" || rm -f "$held"
  for attempt in 1 2 3 4 5; do test ! -d "$group" || rmdir "$group" || sleep 0.1; done
} 2>/dev/null
trap finish EXIT
trap 'exit 1' HUP INT TERM PIPE
version=$(python3 -ISc 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
echo "folder=$folder"
echo "system=$(uname -s)"
echo "machine=$(uname -m)"
echo "python=$version"
echo "site=${XDG_CACHE_HOME:-${HOME:-$base}/.cache}/edgecnn/python$version"
echo "free=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo 2>/dev/null)"
echo ready
while read -r word size; do
  if [ "$word" = limit ]; then limit "$size"; else stop "$folder/$word.pid"; fi
done
"""


class Remote:
    """A machine reached through a program of ours; who derives from it says how (`connect` to `explain`)."""

    method = MEASURED

    def __init__(self, name: str) -> None:
        self.name = name
        self.machine: str | None = None  # as `uname -m` says
        self.system: str | None = None  # as `uname -s` says
        self.free_bytes: int | None = None  # memory that was free when we came
        self._own: PrivateFolder | None = None
        self._keeper: Process | None = None
        self._facts: dict[str, str] = {}
        self._pushed: dict[str, str] = {}
        self._started = 0
        self._group = ""  # the control group that programs run in; none: the system's own

    def connect(self) -> None:
        """Reach the machine, once; `command` is only used after it."""

    def disconnect(self) -> None:
        """Leave the machine; nothing happens where it was not reached."""

    def command(self, line: str) -> list[str]:
        """Return the program and arguments, here, that run the shell line *line* there."""
        raise NotImplementedError

    def explain(self, words: str) -> str:
        """Return what the *words* of the program that leads there mean, and what to do about it."""
        return words

    def by_hand(self, line: str) -> str:
        """Return what a user types to run *line* there."""
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """A private folder on this machine that ends with the `with`."""
        assert self._own is not None, "a target is used inside `with`"
        return self._own.path

    def __enter__(self) -> Remote:
        # A socket's path may have 104 bytes, which a long TMPDIR uses up.
        root = tempfile.gettempdir()
        short = root if len(root) < 50 else "/tmp"  # noqa: S108 - the folder made in it is private
        self._own = PrivateFolder(Path(short))
        try:
            self.connect()
            self._keeper = Process(self.command(shell_line(_KEEPER, _ourselves())), self.folder)
            self._read_facts(self._keeper)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._keeper is not None:
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()
            self._keeper.ending(PATIENCE_S)
            with contextlib.suppress(OSError), self._keeper:
                self._keeper = None
        self._pushed.clear()
        self.disconnect()
        if self._own is not None:
            self._own.cleanup()
            self._own = None

    def push(self, path: Path, *data_files: Path) -> str:
        """Copy the file there, unless its content already is, and return its path there.

        With *data_files* all go into a folder of their own, under the names they have beside *path*.

        Raises:
            EdgecnnError: no room for it, the connection was lost, or it arrived damaged.
        """
        digests = [sha256_of(file) for file in (path, *data_files)]
        known = "".join(digests)
        if known not in self._pushed:
            folder = self._facts["folder"]
            there = f"{folder}/{digests[0][:16]}{path.suffix}"
            if data_files:
                folder = f"{folder}/{hashlib.sha256(known.encode()).hexdigest()[:16]}"
                there = f"{folder}/{path.name}"
            places = [there, *(f"{folder}/{file.relative_to(path.parent).as_posix()}" for file in data_files)]
            for file, digest, place in zip((path, *data_files), digests, places, strict=True):
                self._copy(file, digest, place)
            self._pushed[known] = there
        return self._pushed[known]

    def _copy(self, path: Path, digest: str, there: str) -> None:
        line = 'mkdir -p "${1%/*}" && cat >"$1.part" && sha256sum <"$1.part" && mv "$1.part" "$1"'
        try:
            with path.open("rb") as content:
                answer = self.ask(line, there, stdin=content, patience_s=None)
        except EdgecnnError as error:
            raise EdgecnnError(f"{path} ({format_bytes(path.stat().st_size)}): {error}") from None
        if answer.split()[:1] != [digest]:
            raise EdgecnnError(f"{path} did not arrive complete on {self.name}; run it again, and check the connection")

    def run(self, program: str) -> Process:
        """Start the Python *program* there; what was installed into our private folder there is found."""
        self._started += 1
        pid = f"{self._started}.pid"
        # The shell stays above Python, so that its exit code shows a signal (128 + n).
        line = (
            'cd "$1" && echo $$ >"$2" || exit\n'
            'test -z "$5" || echo $$ >"$5/cgroup.procs"\n'
            'PYTHONPATH=$4${PYTHONPATH:+:$PYTHONPATH} PYTHONDONTWRITEBYTECODE=1 python3 "$3"\n'
            'code=$?; rm -f "$2"; exit $code'
        )
        words = (self._facts["folder"], pid, program, self._facts["site"], self._group)
        return _RemoteProcess(self, self._started, self.command(shell_line(line, *words)))

    def limit_memory(self, limit_bytes: int) -> None:
        """Let programs take no more than *limit_bytes* together, where the machine lets this user say so.

        That takes control groups (v2) and root; swap is not counted on. Where it cannot be, nothing changes.
        """
        assert self._keeper is not None, "a target is used inside `with`"
        if self._group or (self.free_bytes is not None and self.free_bytes <= limit_bytes):
            return
        self._keeper.stdin.write(f"limit {limit_bytes}\n".encode())
        self._keeper.stdin.flush()
        self._group = self._keeper.stdout.readline().decode(errors="replace").strip().partition("=")[2]
        if self._group:
            self.free_bytes = limit_bytes

    def ask(self, line: str, *words: str, stdin: BinaryIO | None = None, patience_s: float | None = PATIENCE_S) -> str:
        """Run the shell *line* there, *words* being its `$1`, `$2`..., and return what it prints.

        Args:
            line: a line of shell.
            words: its arguments, quoted by the shell itself.
            stdin: what it reads; None: nothing.
            patience_s: how long it may take.

        Raises:
            EdgecnnError: it failed, or the connection did.
        """
        # A session of its own: Ctrl-C is for us, who then leave in good order.
        try:
            done = subprocess.run(
                self.command(shell_line("export LC_ALL=C\n" + line, *words)),
                stdin=stdin or subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                timeout=patience_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EdgecnnError(f"{self.name} did not answer within {patience_s:.0f} s") from None
        if done.returncode:
            self.fail(done.returncode, last_line(done.stderr))
        return done.stdout.decode(errors="replace")

    def kill(self, number: int) -> None:
        """Kill the program that was started as *number*, and all it started."""
        if self._keeper is not None:
            with contextlib.suppress(OSError):  # without the connection the keeper has done so itself
                self._keeper.stdin.write(f"{number}\n".encode())
                self._keeper.stdin.flush()

    def lost(self) -> bool:
        """Whether the connection is no more: the keeper's end of it has then ended too, or does at once."""
        return self._keeper is None or self._keeper.ended(0.5)

    def fail(self, code: int, words: str) -> NoReturn:
        """Raise the EdgecnnError for a command that ended with *code* and *words*."""
        if self.lost():
            raise EdgecnnError(
                f"the connection to {self.name} was lost; earlier results are kept: check that it is running, then run "
                f"this again"
            )
        if "No space left" in words or "quota exceeded" in words:
            raise EdgecnnError(f"no space left in {Path(self._facts['folder']).parent} on {self.name}; free some there")
        raise EdgecnnError(f"{self.name}: {words or f'a command ended with code {code}'}")

    def install_line(self, packages: Sequence[str]) -> str:
        """Return what a user types to install *packages* there for us alone."""
        return self.by_hand(f"python3 -m pip install --target {shlex.quote(self._facts['site'])} {' '.join(packages)}")

    def install(self, packages: Sequence[str]) -> None:
        """Install *packages* into our private folder there.

        Raises:
            EdgecnnError: there is no pip, or it cannot.
        """
        line = 'python3 -m pip install --quiet --disable-pip-version-check --upgrade --target "$@"'
        try:
            self.ask(line, self._facts["site"], *packages, patience_s=None)
        except EdgecnnError as error:
            if "No module named pip" not in str(error):
                raise
            how = self.by_hand("sudo apt-get install -y python3-pip")
            raise EdgecnnError(f"{self.name} has no pip to install {packages[0]} with: {how}") from None

    def _read_facts(self, keeper: Process) -> None:
        watchdog = threading.Timer(PATIENCE_S, keeper.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            while (line := keeper.stdout.readline().decode(errors="replace").strip()) != "ready":
                key, equals, value = line.partition("=")
                if not line:
                    raise EdgecnnError(f"{self.name}: {self.explain(keeper.ending())}")
                if key == "busy":
                    raise EdgecnnError(f"{self.name} is taken by {value or 'another bench'}; wait until it is done")
                if key == "badlock":
                    raise EdgecnnError(
                        f"{self.name}: {value} there is no plain file, and may be somebody's trap; look at it and "
                        "remove it"
                    )
                if key == "nofolder":
                    raise EdgecnnError(f"{self.name}: no folder can be made in {value} there; is its disk full?")
                if not equals or key not in ("folder", "system", "machine", "python", "site", "free"):
                    raise EdgecnnError(
                        f"{self.name} says {line[:60]!r}, which is not ours; does a start-up file there (.bashrc) "
                        "print something? keep it silent where there is no terminal"
                    )
                self._facts[key] = value
        finally:
            watchdog.cancel()
        self.machine, self.system = self._facts["machine"], self._facts["system"]
        free = self._facts["free"]
        self.free_bytes = int(free) * 1024 if re.fullmatch(r"[0-9]{1,18}", free) else None
        version = self._facts["python"]
        numbers = [int(part) for part in re.findall(r"[0-9]{1,9}", version)]
        if numbers < [3, 9]:
            found = f"Python {version}" if version else "no Python"
            how = self.by_hand("sudo apt-get install -y python3 python3-pip")
            raise EdgecnnError(f"{self.name} has {found}; measuring there needs 3.9 or later: {how}")


class _RemoteProcess(Process):
    """A program on another machine, seen through the one here that carries its pipes."""

    def __init__(self, remote: Remote, number: int, arguments: Sequence[str]) -> None:
        super().__init__(arguments, remote.folder)
        self._remote = remote
        self._number = number

    def kill(self) -> None:
        """End the program there, and what carries it here."""
        if self._process.poll() is None:
            self._remote.kill(self._number)
        super().kill()

    def ending(self, patience_s: float = 5.0) -> str:
        """Say how the program ended, as `Process` does.

        Raises:
            EdgecnnError: it is not known, since the connection was lost.
        """
        how = super().ending(patience_s)
        if self._remote.lost():
            self._remote.fail(self._process.returncode, self.last_words())
        return how


def shell_line(script: str, *words: str) -> str:
    """Return *script* as one line for whatever shell there is, *words* being its `$1`, `$2`..., all quoted."""
    return "exec " + shlex.join(["sh", "-c", script, "edgecnn", *words])


def last_line(output: bytes) -> str:
    """Return the last line of *output* that says something, at most 300 characters of it."""
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else ""


def _ourselves() -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{getpass.getuser()}@{platform.node()} since {now}"
