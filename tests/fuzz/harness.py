"""Change, read, judge: one try is one seed, and a seed gives the same try each time."""

from __future__ import annotations

import resource
import signal
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

from edgecnn.errors import EdgecnnError
from tests.fuzz.subjects import SUBJECTS

#: What one try may take beyond what the process has, for inputs of at most some kilobytes.
_MOST_BYTES = 2**29
_MOST_CPU_S = 10.0


class TooSlowError(BaseException):
    """A try took too much time; no `except Exception` catches it."""


def attempt(kind: str, content: bytes) -> str:
    """Read *content* as an input of *kind*; return the outcome: "" for a result, else the error's one line.

    Raises:
        Exception: what the reader must not raise; MemoryError and TooSlowError among them.
    """
    subject = SUBJECTS[kind]
    with tempfile.TemporaryDirectory(prefix="edgecnn-fuzz-") as folder, _limits():
        path = Path(folder) / f"input{subject.suffix}"
        path.write_bytes(content)
        try:
            subject.read(path)
        except EdgecnnError as error:
            return str(error).replace(folder, "")
    return ""


def changed(kind: str, seed: int, bases: Sequence[bytes] = ()) -> bytes:
    """Return the input of *kind* that *seed* makes of a valid one, or of one of *bases*."""
    random = Random(seed)
    content = random.choice([*SUBJECTS[kind].valid(), *bases])
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = SUBJECTS[kind].mutate(content, random)
    return content


def failure_of(kind: str, content: bytes) -> str | None:
    """Return the traceback of what went wrong with *content*, None where nothing did."""
    try:
        attempt(kind, content)
    except (Exception, TooSlowError):
        return traceback.format_exc()
    return None


@contextmanager
def _limits() -> Iterator[None]:
    """Within it, memory beyond `_MOST_BYTES` is a MemoryError, and CPU time beyond `_MOST_CPU_S` a TooSlowError."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError

    taken = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MOST_BYTES, before[1]))
    signal.setitimer(signal.ITIMER_PROF, _MOST_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)
