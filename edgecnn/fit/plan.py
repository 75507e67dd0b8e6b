"""Lay out buffers in one arena, greedily by size, as TFLite Micro and LiteRT do."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Buffer:
    """Memory that is needed from step *first* to step *last*, both included."""

    name: str
    size_bytes: int
    first: int
    last: int


def align(size: int, alignment: int) -> int:
    """Return *size* rounded up to a multiple of *alignment*.

    Args:
        size: in bytes.
        alignment: in bytes, at least 1.
    """
    return -(-size // alignment) * alignment


def plan_greedy(buffers: Sequence[Buffer], alignment: int) -> tuple[int, ...]:
    """Return the offset of each buffer: the largest first, each at the lowest gap that is free while it lives.

    Args:
        buffers: with the steps that they live through.
        alignment: every offset is a multiple of it, in bytes.

    Source: GreedyMemoryPlanner::CalculateOffsetsIfNeeded in tflite-micro's
    `tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc`, where of two equal sizes the later buffer comes
    first, and a buffer placed at an offset already taken stands behind those there. The time is near n log n for n
    buffers; a plan that was asked for lately is not made again.
    """
    return _plan_greedy(tuple(buffers), alignment)


@lru_cache(maxsize=4)
def _plan_greedy(buffers: tuple[Buffer, ...], alignment: int) -> tuple[int, ...]:
    offsets = [0] * len(buffers)
    timeline = _Timeline(buffers)
    for index in sorted(range(len(buffers)), key=lambda i: (-align(buffers[i].size_bytes, alignment), -i)):
        offsets[index] = timeline.place(buffers[index], align(buffers[index].size_bytes, alignment))
    return tuple(offsets)


class _Spans:
    """Disjoint spans of memory in order; those that touch are one."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Add [start, end) and join it with what it touches."""
        low, high = bisect_left(self.ends, start), bisect_right(self.starts, end)
        if low < high:
            start, end = min(start, self.starts[low]), max(end, self.ends[high - 1])
        self.starts[low:high] = [start]
        self.ends[low:high] = [end]

    def gap_from(self, start: int, size: int) -> int:
        """Return the lowest offset from *start* on with *size* bytes that are in no span."""
        at = bisect_right(self.ends, start)
        while at < len(self.starts) and self.starts[at] - start < size:
            start = self.ends[at]
            at += 1
        return start


_FAN_OUT_BITS = 3  # a node has 8 parts


class _Timeline:
    """Which memory is taken at which step: a segment tree over the steps, so that a buffer meets few lists of spans.

    A node is `(level, place)` and stands for the steps from `place` on, 8 ** level of them, counted in that width.
    `whole` has the spans taken through all of a node, `part` those taken at any of its steps. Both join what touches;
    greedy plans leave few gaps, so the lists stay short, however many buffers there are.
    """

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        # Between two steps at which a buffer begins or ends nothing changes.
        self.places = {
            step: place for place, step in enumerate(sorted({s for b in buffers for s in (b.first, b.last)}))
        }
        self.levels = -(-len(self.places).bit_length() // _FAN_OUT_BITS)
        self.whole: dict[tuple[int, int], _Spans] = {}
        self.part: dict[tuple[int, int], _Spans] = {}

    def place(self, buffer: Buffer, size: int) -> int:
        """Take *size* bytes for the life of *buffer* at the lowest gap, and return its offset."""
        nodes = self._nodes(buffer)
        above = self._above(nodes)
        lists = [self.part[node] for node in nodes if node in self.part]
        lists += [self.whole[node] for node in above if node in self.whole]
        start, before = 0, -1
        while start != before:
            before = start
            for spans in lists:
                start = spans.gap_from(start, size)
        for node in nodes:
            self.whole.setdefault(node, _Spans()).add(start, start + size)
        for node in (*nodes, *above):
            self.part.setdefault(node, _Spans()).add(start, start + size)
        return start

    def _nodes(self, buffer: Buffer) -> list[tuple[int, int]]:
        """Return the fewest nodes that make up the life of *buffer*."""
        low, high, level = self.places[buffer.first], self.places[buffer.last] + 1, 0
        nodes = []
        mask = (1 << _FAN_OUT_BITS) - 1
        while low < high:
            while low & mask and low < high:
                nodes.append((level, low))
                low += 1
            while high & mask and low < high:
                high -= 1
                nodes.append((level, high))
            low, high, level = low >> _FAN_OUT_BITS, high >> _FAN_OUT_BITS, level + 1
        return nodes

    def _above(self, nodes: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
        """Return all nodes that *nodes* are parts of."""
        found = set()
        for level, place in nodes:
            for up in range(1, self.levels - level + 1):
                node = (level + up, place >> (_FAN_OUT_BITS * up))
                if node in found:
                    break
                found.add(node)
        return found


def planned_bytes(buffers: Sequence[Buffer], offsets: Sequence[int], alignment: int) -> int:
    """Return the size of the arena that holds a plan.

    Args:
        buffers: those of the plan.
        offsets: of each buffer, as `plan_greedy` returns them.
        alignment: that of the plan.
    """
    return max(
        (at + align(buffer.size_bytes, alignment) for buffer, at in zip(buffers, offsets, strict=True)), default=0
    )


def live_bytes(buffers: Sequence[Buffer], steps: int, alignment: int) -> tuple[int, ...]:
    """Return for each step the sum of the buffers that live in it.

    Args:
        buffers: with the steps that they live through.
        steps: number of operators; what a buffer lives through outside of 0 … steps - 1 is cut off.
        alignment: sizes are rounded up to a multiple of it.
    """
    change = [0] * (steps + 1)
    for buffer in buffers:
        size, first, last = align(buffer.size_bytes, alignment), max(buffer.first, 0), min(buffer.last, steps - 1)
        if first <= last:
            change[first] += size
            change[last + 1] -= size
    live, total = [], 0
    for step in range(steps):
        total += change[step]
        live.append(total)
    return tuple(live)
