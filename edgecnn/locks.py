"""Locks that the kernel frees, however their process ends: they tell what is in use from what was left behind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

from edgecnn.errors import EdgecnnError

fcntl: ModuleType | None = None
with contextlib.suppress(ImportError):  # Windows: nothing is locked there, and nothing is taken for abandoned
    import fcntl

#: Every temporary folder of edgecnn bears such a name, and nothing else does.
_NAME = re.compile(r"\.edgecnn-[a-z0-9_]{8}\.partial")


class PrivateFolder(tempfile.TemporaryDirectory[str]):
    """A temporary folder that goes at the end of `with`; if its process is killed, with the next one made beside it.

    The folder itself is locked while its process lives, so a killed process leaves one that anybody can lock.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """Make a folder in *parent* (None: the system's place for them), and remove those that were abandoned there."""
        place = Path(tempfile.gettempdir()) if parent is None else parent
        remove_abandoned(place)
        while True:
            super().__init__(prefix=".edgecnn-", suffix=".partial", dir=place)
            lock = _lock_folder(Path(self.name), wait=True)
            if lock is not None or fcntl is None:
                break
            super().cleanup()  # between making and locking it, somebody took it for abandoned
        self._lock = lock

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.name)

    def cleanup(self) -> None:
        """Remove the folder with all that is in it."""
        super().cleanup()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_abandoned(parent: Path) -> None:
    """Remove the temporary folders of edgecnn in *parent* whose processes are dead; those of a live one stay."""
    try:
        names = [name for name in os.listdir(parent) if _NAME.fullmatch(name)]
    except OSError:
        return
    for name in names:
        lock = _lock_folder(parent / name, wait=False)
        if lock is not None:
            shutil.rmtree(parent / name, ignore_errors=True)
            os.close(lock)


def _lock_folder(folder: Path, *, wait: bool) -> int | None:
    """Return the descriptor that locks *folder*; None: it is gone, somebody else's, or (without *wait*) locked."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        ours = os.fstat(descriptor).st_uid == os.geteuid()
        if ours and _lock(descriptor, wait=wait) and _is_at(descriptor, folder):
            return descriptor
    except OSError:  # this file system has no locks: who made it keeps it, nobody else takes it away
        if wait:
            return descriptor
    os.close(descriptor)
    return None


class InUseError(EdgecnnError):
    """Another process is at the same work; *pid* is its number, where it is known."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"{'another process' if pid is None else f'process {pid}'} is already doing this")
        self.pid = pid


class Lock:
    """A locked file that holds the number of the process that locked it; the kernel frees it when that one dies."""

    def __init__(self, path: Path) -> None:
        """Lock the file at *path*, which is made where it is missing and never reached through a link.

        Raises:
            InUseError: a process that lives has locked it.
        """
        self.path = path
        self._descriptor: int | None = None
        while self._descriptor is None:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
            locked = True
            with contextlib.suppress(OSError):  # a file system without locks
                locked = _lock(descriptor, wait=False)
            if not locked:
                pid = os.read(descriptor, 20).strip()
                os.close(descriptor)
                raise InUseError(int(pid) if pid.isdigit() else None)
            if _is_at(descriptor, path):
                self._descriptor = descriptor
            else:
                os.close(descriptor)  # whoever held it removed it in between
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Remove the file and free the lock; nothing happens the second time."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file or folder for this process; False: another one has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at *path*."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


__all__ = ["InUseError", "Lock", "PrivateFolder", "remove_abandoned"]
