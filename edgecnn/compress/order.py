"""In which order to cut: by what each cut was found to lose and save, or, to compare with, by where it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecnn.compress import ORDERS

if TYPE_CHECKING:
    from edgecnn.compress.sensitivity import Row, Sensitivity

Order = Callable[["Sensitivity", int], "Sequence[Row]"]


def ordered(sensitivity: Sensitivity, order: str | Order = "accuracy", *, seed: int = 0) -> tuple[Row, ...]:
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


def accuracy(sensitivity: Sensitivity, seed: int) -> Sequence[Row]:
    """Return what loses least for what it saves first: out of order, as the study has it."""
    return sensitivity.ranked


def forward(sensitivity: Sensitivity, seed: int) -> Sequence[Row]:
    """Return what runs first, first."""
    return sensitivity.rows


def backward(sensitivity: Sensitivity, seed: int) -> Sequence[Row]:
    """Return what runs last, first; of one unit the smaller cut comes first still."""
    place = {name: index for index, name in enumerate(dict.fromkeys(row.unit for row in sensitivity.rows))}
    return sorted(sensitivity.rows, key=lambda row: -place[row.unit])


def random(sensitivity: Sensitivity, seed: int) -> Sequence[Row]:
    """Return all in an order that *seed* decides."""
    return [sensitivity.rows[index] for index in np.random.default_rng(seed).permutation(len(sensitivity.rows))]
