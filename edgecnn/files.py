"""Write beside, then rename: a file is the old one or the new one, whole, whatever interrupts."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.locks import PrivateFolder

#: More links than these in a row lead in a circle (Linux follows 40).
_MOST_LINKS = 40

#: What is at a path and cannot be replaced by a file.
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside *path* and of the same name; on success it takes its place, else it is removed.

    Where *path* is a symlink, the file that it leads to is written and the link stays. A file that is replaced hands
    on its rights.

    Raises:
        EdgecnnError: as `destination` does.
    """
    place = destination(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with PrivateFolder(place.parent) as folder:
            partial = Path(folder) / place.name
            yield partial
            partial.chmod(_rights_at(place))
            os.replace(partial, place)
    except OSError as error:
        if not error.filename or ".edgecnn-" in str(error.filename):
            error.filename = str(path)  # a failed write does not say where
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Write *content* to *path* so that the old file or the new one is there, never a part."""
    with written_whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(path: Path) -> None:
    """See before long work that a file can be written at *path*, whose folder is made where it is missing.

    Raises:
        EdgecnnError: it cannot.
    """
    place = destination(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        PrivateFolder(place.parent).cleanup()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise EdgecnnError(f"cannot write '{path}': its folder: {reason}") from None


def destination(path: Path) -> Path:
    """Return where a file written to *path* will lie: *path* itself, or where its symlinks lead.

    Raises:
        EdgecnnError: a folder, a device, a pipe or a socket is there, the name is too long, or links lead in a circle.
    """
    place = path
    for _ in range(_MOST_LINKS):
        check_name(place)
        folder = os.path.realpath(place.parent)
        if folder == "/dev" or folder.startswith(("/dev/fd", "/proc/", "/sys/")):
            raise EdgecnnError(f"cannot write '{path}': it is a device; name a file")
        if not place.is_symlink():
            break
        place = place.parent / os.readlink(place)
    else:
        raise EdgecnnError(f"cannot write '{path}': its symlinks form a loop; name a file")
    try:
        mode = place.lstat().st_mode
    except OSError:  # nothing is there
        return place
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise EdgecnnError(f"cannot write '{path}': it is {kind}; name a file")
    return place


def check_name(path: Path) -> None:
    """See that the file system takes a name as long as that of *path*.

    Raises:
        EdgecnnError: it does not.
    """
    there = next((parent for parent in path.parents if parent.exists()), Path("."))
    try:
        limit = os.pathconf(there, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):  # a system that does not say
        limit = 255
    size = len(os.fsencode(path.name))
    if size > limit:
        raise EdgecnnError(
            f"cannot write '{path.name[:40]}…{path.name[-20:]}': names may have {limit} bytes here, this one has "
            f"{size}; choose a shorter one"
        )


def check_downloaded(path: Path) -> None:
    """See that the file at *path* is not the text that Git LFS leaves in place of a large file.

    Raises:
        EdgecnnError: it is.
    """
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise EdgecnnError(f"{path} is a Git LFS pointer, not the file itself; run: git lfs pull")


_LFS_POINTER = b"version https://git-lfs."


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rights_at(path: Path) -> int:
    """Return the rights of the file at *path*, or of a new one there."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
