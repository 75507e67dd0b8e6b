"""A small reader of flatbuffers that trusts no offset: it returns a value or raises FlatbufferError.

Layout: https://flatbuffers.dev/internals. A table starts with a signed offset back to its vtable; the vtable holds,
after its own size and the table's, one 16-bit offset a field, 0 where the field has its default.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from mmap import mmap

import numpy as np
import numpy.typing as npt

#: A file may share vectors between tables, but no honest one makes a reader copy it this many times over.
_MOST_COPIES = 16


class FlatbufferError(ValueError):
    """The bytes are not the flatbuffer they claim to be."""


@dataclass
class Flatbuffer:
    """The bytes, and how many of them may still be copied out."""

    content: bytes | mmap
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = _MOST_COPIES * len(self.content) + 4096

    def number(self, position: int, form: str) -> int:
        """Return the integer of `struct` format *form* at *position*."""
        try:
            return int(struct.unpack_from(f"<{form}", self.content, position)[0])
        except struct.error:
            raise FlatbufferError("it is truncated") from None

    def span(self, start: int, count: int, width: int) -> tuple[int, int]:
        """Return start and end of *count* items of *width* bytes, after checking that they lie in the file.

        Args:
            start: position of the first item, in bytes.
            count: number of items.
            width: of an item, in bytes.
        """
        end = start + count * width
        if start < 0 or count < 0 or end > len(self.content):
            raise FlatbufferError("it is truncated")
        return start, end

    def take(self, start: int, count: int, width: int) -> bytes:
        """Return a copy of *count* items of *width* bytes."""
        start, end = self.span(start, count, width)
        self.left -= max(end - start, 1)
        if self.left < 0:
            raise FlatbufferError("its parts overlap")
        return self.content[start:end]

    def root(self) -> FlatbufferTable:
        """Return the root table."""
        return FlatbufferTable(self, self.number(0, "I"))


@dataclass(frozen=True)
class FlatbufferTable:
    """One table of a flatbuffer; fields are named by their slot, counted from 0 in the order of the schema."""

    buffer: Flatbuffer
    position: int

    def _field(self, slot: int) -> int | None:
        """Return the position of a field, or None where it has its default."""
        vtable = self.position - self.buffer.number(self.position, "i")
        if vtable < 0:
            raise FlatbufferError("an offset is out of range")
        entry = 4 + 2 * slot
        if entry + 2 > self.buffer.number(vtable, "H"):
            return None
        offset = self.buffer.number(vtable + entry, "H")
        return self.position + offset if offset else None

    def _target(self, slot: int) -> int | None:
        position = self._field(slot)
        return None if position is None else position + self.buffer.number(position, "I")

    def number(self, slot: int, form: str, default: int = 0) -> int:
        """Return an integer field of `struct` format *form*."""
        position = self._field(slot)
        return default if position is None else self.buffer.number(position, form)

    def table(self, slot: int) -> FlatbufferTable | None:
        """Return a table field (or the table of a union), or None."""
        target = self._target(slot)
        return None if target is None else FlatbufferTable(self.buffer, target)

    def vector(self, slot: int, dtype: str) -> npt.NDArray[np.generic]:
        """Return a vector of numbers [n] as a copy; empty where it is absent.

        Args:
            slot: of the field.
            dtype: numpy's name of an item's type.
        """
        target = self._target(slot)
        if target is None:
            return np.empty(0, dtype)
        width = np.dtype(dtype).itemsize
        raw = self.buffer.take(target + 4, self.buffer.number(target, "I"), width)
        return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<"))

    def integers(self, slot: int, dtype: str = "int32") -> tuple[int, ...]:
        """Return a vector of integers as a tuple; empty where it is absent."""
        return tuple(self.vector(slot, dtype).tolist())

    def length(self, slot: int, width: int = 1) -> int:
        """Return the number of items of *width* bytes in a vector, without reading them; 0 where it is absent.

        Args:
            slot: of the field.
            width: of an item, in bytes.
        """
        target = self._target(slot)
        if target is None:
            return 0
        count = self.buffer.number(target, "I")
        self.buffer.span(target + 4, count, width)
        return count

    def raw(self, slot: int) -> bytes:
        """Return a copy of a byte vector; empty where it is absent."""
        target = self._target(slot)
        return b"" if target is None else self.buffer.take(target + 4, self.buffer.number(target, "I"), 1)

    def text(self, slot: int) -> str:
        """Return a string; bytes that are not UTF-8 are replaced."""
        return self.raw(slot).decode("utf-8", "replace")

    def tables(self, slot: int) -> tuple[FlatbufferTable, ...]:
        """Return a vector of tables."""
        target = self._target(slot)
        if target is None:
            return ()
        start, count = target + 4, self.buffer.number(target, "I")
        offsets = np.frombuffer(self.buffer.take(start, count, 4), "<u4").tolist()
        return tuple(FlatbufferTable(self.buffer, start + 4 * index + offset) for index, offset in enumerate(offsets))
