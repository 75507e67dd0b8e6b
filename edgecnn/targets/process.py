"""A program we started, its pipes, and how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, BinaryIO, cast


class Process:
    """A running program in a process group of its own, killed at the end of `with` whatever happens there.

    A group of its own also means that Ctrl-C reaches us alone, so that we decide what is kept.
    """

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        # A file, not a pipe: a chatty library never blocks, and the last lines tell why it died.
        self._stderr: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as we
        try:
            self._process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                cwd=folder,
                start_new_session=True,
            )
        except BaseException:
            self._stderr.close()
            raise
        self.stdin = cast("BinaryIO", self._process.stdin)
        self.stdout = cast("BinaryIO", self._process.stdout)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()
        for pipe in (self.stdin, self.stdout, self._stderr):
            with contextlib.suppress(BrokenPipeError):  # what it never read does not matter any more
                pipe.close()

    def kill(self) -> None:
        """End the program and all it started, at once; nothing happens where it has ended."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def ended(self, patience_s: float) -> bool:
        """Whether the program has ended, or does so within *patience_s*."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ending(self, patience_s: float = 5.0) -> str:
        """Wait for the end and say how it came: `signal 11, SIGSEGV`, `exit code 1: ModuleNotFoundError: ...`.

        A program that lives on after *patience_s* is killed.
        """
        try:
            code = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
            return "it did not end by itself"
        number = -code if code < 0 else code - 128  # a shell reports signal n as exit code 128 + n
        if code < 0 or number in signal.valid_signals():
            return f"signal {number}, {signal.Signals(number).name}"
        last = self.last_words()
        return f"exit code {code}" + (f": {last}" if last else "")

    def last_words(self) -> str:
        """Return the last line that the program wrote on standard error, at most 300 characters of it."""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 4096))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else ""
