"""Read the arrays of CIFAR's Python files without unpickling: their literals are read, nothing in them is run."""

from __future__ import annotations

import pickletools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError

_STRINGS = {"SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "SHORT_BINUNICODE", "BINUNICODE"}
_INTEGERS = {"BININT", "BININT1", "BININT2"}


def read_pickled_arrays(path: Path, label_key: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return pixels [n, 3072] and labels [n] of one of the files of `cifar-10-batches-py` or `cifar-100-python`.

    The file is a pickled dict with the pixels as one string literal and, under *label_key*, a list of small integers.
    Both are picked out of the opcode stream (CPython's `pickletools.genops`, which builds no objects).

    Raises:
        EdgecnnError: the file has no such literals.
    """
    pixels, labels = b"", list[int]()
    under_label_key = False
    try:
        for opcode, argument, _ in pickletools.genops(path.read_bytes()):
            if opcode.name in _STRINGS:
                literal = argument if isinstance(argument, bytes) else str(argument).encode("latin-1", "replace")
                under_label_key = literal == label_key
                pixels = max(pixels, literal, key=len)
            elif opcode.name in _INTEGERS and under_label_key:
                labels.append(int(argument or 0))
    except (ValueError, UnicodeError) as error:
        raise EdgecnnError(f"{path}: not a CIFAR file ({error}); fetch it again") from None
    if not labels or len(pixels) != 3072 * len(labels):
        raise EdgecnnError(f"{path}: {len(pixels)} bytes of pixels for {len(labels)} labels; fetch it again")
    return np.frombuffer(pixels, np.uint8).reshape(-1, 3072), np.asarray(labels, np.int64)
