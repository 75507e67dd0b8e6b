"""The shift between two samples: exact where it can be counted."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.benchmarks.shift import least_values, shift_between

SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)


@pytest.mark.parametrize(("m", "n"), [(4, 4), (5, 5), (3, 6), (6, 3), (2, 9), (5, 7)])
def test_it_errs_in_at_most_five_of_a_hundred_orders(m: int, n: int) -> None:
    """Over every order two samples of one distribution can fall in, at most 5 % of the intervals miss 0, some do."""
    orders = list(combinations(range(m + n), m))
    missed = 0
    for earlier in orders:
        later = [rank for rank in range(m + n) if rank not in earlier]
        shift = shift_between(earlier, later)
        missed += not shift.low <= 0 <= shift.high
    assert 0 < missed <= 0.05 * len(orders)


@pytest.mark.parametrize(
    ("size", "critical"), [(4, 0), (5, 2), (6, 5), (8, 13), (9, 17), (10, 23), (15, 64), (20, 127)]
)
def test_the_critical_values_are_those_of_the_tables(size: int, critical: int) -> None:
    """The interval reaches from the (U + 1)-th lowest difference on, U the tabulated 5 % value of Mann and Whitney."""
    earlier = np.arange(size) * 1.0
    later = earlier * math.pi + 1
    differences = np.sort(np.subtract.outer(later, earlier), axis=None)
    shift = shift_between(earlier, later)
    assert (shift.low, shift.high) == (differences[critical], differences[-1 - critical])


@given(SAMPLES, SAMPLES)
def test_swapping_turns_the_sign(earlier: list[float], later: list[float]) -> None:
    """What is so much above the other has the other so much below it."""
    there, back = shift_between(earlier, later), shift_between(later, earlier)
    assert (back.estimate, back.low, back.high) == (-there.estimate, -there.high, -there.low)


@given(st.lists(st.integers(-1000, 1000), min_size=4, max_size=9), st.integers(-1000, 1000))
def test_it_moves_with_the_sample(values: list[int], offset: int) -> None:
    """A sample that was moved lies above itself by as much, and the interval says so."""
    shift = shift_between(values, [value + offset for value in values])
    assert shift.estimate == offset
    assert shift.low <= offset <= shift.high


@pytest.mark.parametrize(("others", "least"), [(1, 39), (2, 8), (3, 5), (4, 4), (9, 2)])
def test_too_few_values_have_no_interval(others: int, least: int) -> None:
    """Below the least number the interval is endless, from there on it has ends."""
    assert least_values(others) == least
    few, enough = (shift_between(np.arange(others), np.arange(size)) for size in (least - 1, least))
    assert (few.low, few.high) == (-math.inf, math.inf)
    assert math.isfinite(enough.low)
    assert math.isfinite(enough.high)
