"""Lay out buffers in one arena, greedily by size, as TFLite Micro and LiteRT do."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """Memory that is needed from step *first* to step *last*, both included."""

    name: str
    size_bytes: int
    first: int
    last: int


def align(size: int, alignment: int) -> int:
    """Return *size* rounded up to a multiple of *alignment*."""
    return -(-size // alignment) * alignment


def plan_greedy(buffers: Sequence[Buffer], alignment: int) -> tuple[int, ...]:
    """Return the offset of each buffer: the largest first, each at the lowest gap that is free while it lives.

    Source: GreedyMemoryPlanner::CalculateOffsetsIfNeeded in tflite-micro's
    `tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc`, where of two equal sizes the later buffer comes
    first, and a buffer placed at an offset already taken stands behind those there.
    """
    offsets = [0] * len(buffers)
    placed: list[tuple[int, int]] = []  # (offset, index), by offset
    for index in sorted(range(len(buffers)), key=lambda i: (-align(buffers[i].size_bytes, alignment), -i)):
        wanted, size, end = buffers[index], align(buffers[index].size_bytes, alignment), 0
        for offset, other in placed:
            if buffers[other].first > wanted.last or wanted.first > buffers[other].last:
                continue
            if offset - end >= size:
                break
            end = max(end, offset + align(buffers[other].size_bytes, alignment))
        offsets[index] = end
        placed.insert(bisect_right(placed, end, key=lambda entry: entry[0]), (end, index))
    return tuple(offsets)


def planned_bytes(buffers: Sequence[Buffer], offsets: Sequence[int], alignment: int) -> int:
    """Return the size of the arena that holds a plan."""
    return max(
        (at + align(buffer.size_bytes, alignment) for buffer, at in zip(buffers, offsets, strict=True)), default=0
    )


def live_bytes(buffers: Sequence[Buffer], steps: int, alignment: int) -> tuple[int, ...]:
    """Return for each step the sum of the buffers that live in it."""
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
