"""The greedy plan: laws that hold for any buffers."""

from __future__ import annotations

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
