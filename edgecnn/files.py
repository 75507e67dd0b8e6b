"""Write beside, then rename: a file is the old one or the new one, whole, whatever interrupts."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn.errors import EdgecnnError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of *path*; on success it takes the name *path*, else it is removed.

    The temporary name keeps the suffix, since some writers choose their format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".partial{path.suffix}", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        os.replace(partial, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write does not say where
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write *content* to *path* so that the old file or the new one is there, never a part."""
    with written_whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(path: Path) -> None:
    """See before long work that a file can be written at *path*, whose folder is made where it is missing.

    Raises:
        EdgecnnError: it cannot.
    """
    if path.is_dir():
        raise EdgecnnError(f"cannot write '{path}': it is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise EdgecnnError(f"cannot write '{path}': its folder: {reason}") from None


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
