"""What a round cuts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.compress.channels import Slice
from edgecnn.compress.prune import count_to_go
from edgecnn.compress.unit import FILTERS, Unit
from edgecnn.pipeline.budget import Budget, MemoryUse, NetworkStatus
from edgecnn.pipeline.search import summary_of, trimmed
from edgecnn.tasks.score import share


@given(st.integers(2, 200), st.floats(0.05, 0.95), st.floats(0.001, 3), st.sampled_from((1, 4, 8)))
def test_the_last_cut_takes_no_more_than_needed(channels: int, ratio: float, needed: float, round_to: int) -> None:
    """Never more filters than the whole cut, no fewer than are needed of it, and what is left stays a multiple."""
    unit = Unit("a", FILTERS, channels, ("a",), (Slice("a", "out", tuple((i,) for i in range(channels))),))
    most = count_to_go(unit, ratio, round_to)
    count = count_to_go(unit, trimmed(unit, ratio, needed, round_to), round_to)
    assert min(most, needed * most) <= count <= most
    if most:
        assert 1 <= count < needed * most + round_to


def test_each_goal_is_told_and_counted() -> None:
    """A goal that is missed gives a sentence, what to save, and how much of it is still to go."""
    before = NetworkStatus(
        1000,
        4000,
        share("accuracy", 90, 100),
        2048,
        (MemoryUse("ram", 900, 600), MemoryUse("flash", 500, 600)),
    )
    budget = Budget(max_drop=0.05, max_macs_ratio=0.25, max_params_ratio=0.5, size_bytes=1024, device="stm32l4r5")
    shortfalls = budget.shortfalls(before, before)
    assert [(gap.per, gap.share) for gap in shortfalls] == [
        ("macs", 0.75),
        ("bytes", 0.5),
        ("bytes", 0.5),
        ("activations", pytest.approx(1 / 3)),
    ]
    assert budget.unmet(before, before, 0.96) == (
        "100.0 % of the MACs are left, the goal is 25 %",
        "100.0 % of the parameters are left, the goal is 50 %",
        "its w8a8 TFLite file takes 2.0 KiB (2048 bytes), the goal is 1.0 KiB (1024 bytes)",
        "it takes 900 B of the ram of stm32l4r5; the limit is 600 B",
        "the accuracy is 6.00 points lower; the goal allows 5",
    )
    after = NetworkStatus(500, 1000, share("accuracy", 86, 100), 1024, (MemoryUse("ram", 600, 600),))
    assert budget.unmet(before, after, 0.90) == ()
    # A system's RAM holds weights as well.
    assert [gap.per for gap in Budget(device="rpi4").shortfalls(before, before)] == ["macs"]


def test_a_round_is_summed_up_in_a_line() -> None:
    """The score and the goals of size that are missed; where none was set, what is left."""
    before = NetworkStatus(1000, 4000)
    now = NetworkStatus(800, 2000, share("accuracy", 90, 100))
    summary = summary_of(2, Budget(max_macs_ratio=0.25, max_params_ratio=0.9), before, now)
    assert summary == "after round 2: 90.00 % top-1; 50.0 % of the MACs are left, the goal is 25 %"
    met = summary_of(2, Budget(max_macs_ratio=0.6), before, now)
    assert met == "after round 2: 90.00 % top-1; the goals of size are met"
    alone = summary_of(2, Budget(max_drop=0.05), before, now)
    assert alone == "after round 2: 90.00 % top-1; 80.0 % of the parameters are left"


def test_a_drop_that_is_just_the_limit_is_allowed() -> None:
    """Shares are not exact: 0.93 - 0.92 is a bit more than 0.01."""
    after = NetworkStatus(500, 1000, share("accuracy", 92, 100))
    assert Budget(max_drop=0.01).unmet(after, after, 0.93) == ()
    assert Budget(max_drop=0.007).unmet(after, replace(after, score=share("accuracy", 9230, 10_000)), 0.93) == ()
    assert Budget(max_drop=0.01).unmet(after, replace(after, score=share("accuracy", 9199, 10_000)), 0.93) == (
        "the accuracy is 1.01 points lower; the goal allows 1",
    )
