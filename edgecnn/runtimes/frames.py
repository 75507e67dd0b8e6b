"""Messages between edgecnn and its worker: one line of JSON, then the raw bytes of the arrays that line announces.

Goes to boards inside the worker: Python 3.9 or later, standard library and numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Message = tuple[dict[str, Any], list[npt.NDArray[Any]]]
_LONGEST_LINE = 1 << 26
_MOST_DIMENSIONS = 16


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
        announced = [(np.dtype(dtype), [int(size) for size in shape]) for dtype, shape in message.pop("edgecnn")]
    except (ValueError, AttributeError, TypeError, KeyError, SyntaxError, RecursionError, OverflowError):
        raise ValueError("not a message from the worker: " + repr(line[:80])) from None
    return message, [_read_array(stream, dtype, shape) for dtype, shape in announced]


def _read_array(stream: BinaryIO, dtype: np.dtype[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    if dtype.hasobject or dtype.itemsize == 0 or min(shape, default=0) < 0 or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"an array of type {dtype} and shape {shape} was announced")
    # What is announced may be more than what comes, so memory is taken as it comes.
    left, content = prod(shape) * dtype.itemsize, bytearray()
    while left:
        chunk = stream.read(min(left, 1 << 20))
        if not chunk:
            raise ValueError("the message is truncated")
        content += chunk
        left -= len(chunk)
    return np.frombuffer(content, dtype).reshape(shape) if content else np.empty(shape, dtype)
