"""Messages between edgecnn and its worker: one line of JSON, then the raw bytes of the arrays that line announces.

Goes to boards inside the worker: Python 3.9 or later, standard library and numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Message = tuple[dict[str, Any], list[npt.NDArray[Any]]]
_LONGEST_LINE = 1 << 26


def write_message(stream: BinaryIO, message: Mapping[str, Any], arrays: Sequence[npt.NDArray[Any]] = ()) -> None:
    """Write *message* and then *arrays* to *stream*, and flush it."""
    announced = [[array.dtype.str, list(array.shape)] for array in arrays]
    stream.write(json.dumps({"edgecnn": announced, **message}).encode() + b"\n")
    for array in arrays:
        stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    stream.flush()


def read_message(stream: BinaryIO) -> Message | None:
    """Return the next message and its arrays; None at the end of *stream*.

    Raises:
        ValueError: what came is no message of ours, or it ends in the middle.
    """
    line = stream.readline(_LONGEST_LINE)
    if not line:
        return None
    try:
        message = json.loads(line)
        announced = message.pop("edgecnn")
    except (ValueError, AttributeError, TypeError, KeyError):
        raise ValueError("not a message of the worker: " + repr(line[:80])) from None
    return message, [_read_array(stream, dtype, shape) for dtype, shape in announced]


def _read_array(stream: BinaryIO, dtype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
    if np.dtype(dtype).hasobject:
        raise ValueError("an array of objects was announced")
    array = np.empty(shape, np.dtype(dtype))
    left = array.reshape(-1).view(np.uint8).data
    while left.nbytes:
        chunk = stream.read(min(left.nbytes, 1 << 20))
        if not chunk:
            raise ValueError("the message ends in the middle")
        left[: len(chunk)] = chunk
        left = left[len(chunk) :]
    return array
