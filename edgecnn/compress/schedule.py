"""In which order to cut: by what each cut was found to lose and save, or, to compare with, by where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecnn.compress import ORDERS

if TYPE_CHECKING:
    from edgecnn.compress.sensitivity import Row, Sensitivity

Order = Callable[["Sensitivity", int], "Sequence[Row]"]


def ordered(sensitivity: Sensitivity, order: str | Order = "greedy", *, seed: int = 0) -> tuple[Row, ...]:
    """Return the cuts of *sensitivity*, the next one first.

    Args:
        sensitivity: measured on the network as it is now; measured anew as pruning goes, the order follows.
        order: a name in `ORDERS`, or a function of the user's own.
        seed: of what is random.

    Raises:
        EdgecnnError: an unknown order.
    """
    chosen: Order = ORDERS.load(order) if isinstance(order, str) else order
    return tuple(chosen(sensitivity, seed))


def greedy(sensitivity: Sensitivity, seed: int) -> Sequence[Row]:
    """Return the cut with the best saving per lost accuracy first: out of order, as the study has it.

    A greater cut of a layer comes where its step from the lesser one is worth it, not where all of it would be.
    """
    layers = dict.fromkeys(row.layer for row in sensitivity.rows)
    steps = [step for layer in layers for step in _steps(sensitivity, layer)]
    return [row for _, row in sorted(steps, key=lambda step: step[0])]


def _steps(sensitivity: Sensitivity, layer: str) -> Iterator[tuple[float, Row]]:
    """Yield each cut of *layer*, of its filters, by a block or whole, with its loss increase per saving.

    For a cut on the lower convex hull of loss over saving, it is that of the step from the cut before it on the hull;
    a cut above the hull has its own.
    """
    rows = sorted((row for row in sensitivity.rows if row.layer == layer), key=sensitivity.gain)
    last: Row | None = None
    while rows:
        cost_benefit, best = min(((sensitivity.cost_benefit(row, last), row) for row in rows), key=lambda pair: pair[0])
        yield cost_benefit, best
        passed = rows[: rows.index(best)]
        yield from ((sensitivity.cost_benefit(row), row) for row in passed)
        rows, last = rows[len(passed) + 1 :], best


def forward(sensitivity: Sensitivity, seed: int) -> Sequence[Row]:
    """Return what runs first, first."""
    return sensitivity.rows


def backward(sensitivity: Sensitivity, seed: int) -> Sequence[Row]:
    """Return what runs last, first; of one unit the smaller cut comes first still."""
    place = {name: index for index, name in enumerate(dict.fromkeys(row.layer for row in sensitivity.rows))}
    return sorted(sensitivity.rows, key=lambda row: -place[row.layer])


def random(sensitivity: Sensitivity, seed: int) -> Sequence[Row]:
    """Return all in an order that *seed* decides."""
    return [sensitivity.rows[index] for index in np.random.default_rng(seed).permutation(len(sensitivity.rows))]
