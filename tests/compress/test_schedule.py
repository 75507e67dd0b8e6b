"""Orders: which cut comes next."""

from __future__ import annotations

import pytest

from edgecnn.compress import ORDERS
from edgecnn.compress.schedule import ordered
from edgecnn.compress.sensitivity import Costs, MeanInterval, Row, Sensitivity
from edgecnn.errors import EdgecnnError


def row(unit: str, ratio: float, loss_increase: float, saved_bytes: int, saved_macs: int = 1) -> Row:
    """Return a row with these figures."""
    change, saved = (
        MeanInterval(loss_increase, loss_increase - 0.01, loss_increase + 0.01),
        Costs(saved_bytes // 4, saved_macs, saved_bytes),
    )
    return Row(unit, "filters", ratio, 1000, None, None, 0.1, change, saved)


ROWS = (
    row("first", 0.25, 0.10, 100, 400),
    row("first", 0.5, 0.30, 200, 800),
    row("second", 0.5, 0.10, 4000, 100),
    row("third", 0.5, -0.02, 1000, 10),
    row("third", 0.75, 0.0001, 3000, 30),
)


def found(per: str = "bytes") -> Sensitivity:
    """Return a sensitivity analysis with those rows."""
    return Sensitivity(
        rows=ROWS, costs=Costs(10000, 10000, 40000), n=1000, score=None, loss=0.1, per=per, agreement=1.0
    )


def cuts(rows: tuple[Row, ...]) -> list[tuple[str, float]]:
    """Return which cuts they are."""
    return [(row.unit, row.ratio) for row in rows]


def test_accuracy_cuts_first_what_loses_least_for_what_it_saves() -> None:
    """Harmless cuts come first, the larger saving before; then loss increase for each byte, or for each MAC."""
    by_bytes = [("third", 0.75), ("third", 0.5), ("second", 0.5), ("first", 0.25), ("first", 0.5)]
    assert cuts(ordered(found(), "greedy")) == by_bytes
    by_macs = [("third", 0.75), ("third", 0.5), ("first", 0.25), ("first", 0.5), ("second", 0.5)]
    assert cuts(ordered(found("macs"), "greedy")) == by_macs


def test_a_greater_cut_comes_where_its_step_is_worth_it() -> None:
    """Half of `a` costs 0.02 for 200 bytes, the second quarter alone 0.018 for 100: that of `b` goes before."""
    rows = (row("a", 0.25, 0.002, 100), row("a", 0.5, 0.02, 200), row("b", 0.25, 0.013, 100), row("b", 0.5, 0.1, 200))
    found = Sensitivity(
        rows=rows, costs=Costs(100, 100, 400), n=10_000, score=None, loss=0.1, per="bytes", agreement=1.0
    )
    assert cuts(ordered(found)) == [("a", 0.25), ("b", 0.25), ("a", 0.5), ("b", 0.5)]
    assert cuts(found.ranked) == [("a", 0.25), ("a", 0.5), ("b", 0.25), ("b", 0.5)]


def test_forward_and_backward_go_by_the_place_in_the_network() -> None:
    """Backward turns the units round; of one unit the smaller cut is first either way."""
    assert cuts(ordered(found(), "forward")) == cuts(ROWS)
    units = [("third", 0.5), ("third", 0.75), ("second", 0.5), ("first", 0.25), ("first", 0.5)]
    assert cuts(ordered(found(), "backward")) == units


def test_random_is_decided_by_its_seed() -> None:
    """The same seed gives the same order; others come about, and no cut is lost."""
    drawn = {tuple(cuts(ordered(found(), "random", seed=seed))) for seed in range(8)}
    assert cuts(ordered(found(), "random", seed=3)) == cuts(ordered(found(), "random", seed=3))
    assert len(drawn) > 4
    assert all(sorted(order) == sorted(cuts(ROWS)) for order in drawn)


def test_an_order_may_be_the_users_own_function() -> None:
    """Any function of the analysis and a seed will do; an unknown name is told with the known ones."""
    assert ordered(found(), lambda sensitivity, seed: sensitivity.rows[:1]) == ROWS[:1]
    assert ORDERS.names() == ["backward", "forward", "greedy", "random"]
    with pytest.raises(EdgecnnError, match="unknown order 'gredy'; did you mean 'greedy'"):
        ordered(found(), "gredy")
