"""The greedy plan: laws that hold for any buffers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.fit.plan import Buffer, align, live_bytes, plan_greedy, planned_bytes

STEPS = 12
spans = st.tuples(st.integers(0, STEPS - 1), st.integers(0, STEPS - 1)).map(sorted)
buffers = st.lists(st.builds(lambda size, span: Buffer("b", size, *span), st.integers(1, 500), spans), max_size=25)


@given(buffers, st.sampled_from([1, 16, 64]))
def test_live_buffers_never_overlap(some: list[Buffer], alignment: int) -> None:
    """Two buffers that live at the same step share no byte, and each starts aligned."""
    offsets = plan_greedy(some, alignment)
    for i, (a, at) in enumerate(zip(some, offsets, strict=True)):
        assert at % alignment == 0
        for b, other in list(zip(some, offsets, strict=True))[:i]:
            if a.first <= b.last and b.first <= a.last:
                assert at + a.size_bytes <= other or other + b.size_bytes <= at


@given(buffers, st.sampled_from([1, 16, 64]))
def test_a_plan_holds_the_largest_live_sum(some: list[Buffer], alignment: int) -> None:
    """A plan is never below the largest sum of live buffers, nor above the sum of all."""
    size = planned_bytes(some, plan_greedy(some, alignment), alignment)
    assert max(live_bytes(some, STEPS, alignment)) <= size <= sum(align(b.size_bytes, alignment) for b in some)


@given(buffers)
def test_live_bytes_counts_each_step(some: list[Buffer]) -> None:
    """The live bytes of a step are the buffers whose lifetime has it."""
    expected = [sum(b.size_bytes for b in some if b.first <= step <= b.last) for step in range(STEPS)]
    assert list(live_bytes(some, STEPS, 1)) == expected


def test_the_largest_lies_lowest() -> None:
    """The largest buffer is placed first, of two equal ones the later, and a gap is used where it is large enough."""
    some = [Buffer("a", 16, 0, 1), Buffer("b", 64, 1, 2), Buffer("c", 64, 2, 3), Buffer("d", 32, 0, 0)]
    assert plan_greedy(some, 16) == (32, 64, 0, 0)


def plan_by_definition(some: Sequence[Buffer], alignment: int) -> tuple[int, ...]:
    """Return the plan of TFLite Micro's greedy planner, each buffer looked at beside every one placed before."""
    offsets: dict[int, int] = {}
    for index in sorted(range(len(some)), key=lambda i: (-align(some[i].size_bytes, alignment), -i)):
        size, end = align(some[index].size_bytes, alignment), 0
        for other in sorted(offsets, key=offsets.__getitem__):
            if some[other].first > some[index].last or some[index].first > some[other].last:
                continue
            if offsets[other] - end >= size:
                break
            end = max(end, offsets[other] + align(some[other].size_bytes, alignment))
        offsets[index] = end
    return tuple(offsets[index] for index in range(len(some)))


long_spans = st.tuples(st.integers(-1, 300), st.integers(-1, 300)).map(sorted)
sizes = st.one_of(st.integers(0, 60), st.sampled_from([64, 128, 4096]))
lives = st.one_of(spans, long_spans)
many = st.lists(st.builds(lambda size, span: Buffer("b", size, *span), sizes, lives), max_size=60)


@given(many, st.sampled_from([1, 16, 64]))
def test_the_plan_is_that_of_the_greedy_planner(some: list[Buffer], alignment: int) -> None:
    """However the gaps are found, each buffer lies where the plain greedy planner puts it."""
    assert plan_greedy(some, alignment) == plan_by_definition(some, alignment)


def lines_of(function: Callable[[], Any]) -> int:
    """Return how many lines of Python *function* runs: a measure of time that no other program changes."""
    lines = 0

    def count(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    sys.settrace(count)
    try:
        function()
    finally:
        sys.settrace(None)
    return lines


@pytest.mark.parametrize("lifetime", [lambda i, n: (i, i + 1), lambda i, n: (0, n), lambda i, n: (i, n)])
def test_the_time_of_a_plan_is_near_linear(lifetime: Callable[[int, int], tuple[int, int]]) -> None:
    """Four times as many buffers, in a chain or all alive at once, take less than six times as long."""

    def plan(count: int) -> None:
        plan_greedy([Buffer("b", 16 * (1 + i * 7919 % 997), *lifetime(i, count)) for i in range(count)], 16)

    few, many = lines_of(lambda: plan(300)), lines_of(lambda: plan(1200))
    assert many < 6 * few
