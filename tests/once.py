"""What several test processes share: made once a run, by whichever needs it first."""

from __future__ import annotations

import fcntl
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold the lock *file*: no other process is within such a `with` meanwhile."""
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def once(factory: pytest.TempPathFactory, worker: str, name: str, make: Callable[[Path], T]) -> T:
    """Return what *make* makes in a folder *name*; the other processes of the run read what the first one made.

    Args:
        factory: pytest's; the folder lies where every process of the run looks.
        worker: the fixture `worker_id`: `master` where there is one process.
        name: of the folder.
        make: called with the folder; what it returns is pickled.
    """
    base = factory.getbasetemp()
    shared = base if worker == "master" else base.parent  # each worker has a folder of its own in that of the run
    folder, made = shared / name, shared / f"{name}.pickle"
    with alone(shared / f"{name}.lock"):
        if not made.exists():
            folder.mkdir()
            made.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(made.read_bytes())  # type: ignore[no-any-return]
