"""Make a network smaller and keep its accuracy."""

from __future__ import annotations

from edgecnn.checkpoint import SUBSTITUTES
from edgecnn.tables import Table

#: Name → a function `(weight: Tensor[out, ...]) -> Tensor[out]`; filters of the least score go first.
CRITERIA = Table(
    "criterion",
    {name: f"edgecnn.compress.criteria:{name}" for name in ("bn_scale", "geometric_median", "l1", "l2", "taylor")},
    takes_own=True,
)

#: Name → a function `(sensitivity: Sensitivity, seed: int) -> Sequence[Row]`; the next cut comes first.
ORDERS = Table(
    "order",
    {name: f"edgecnn.compress.schedule:{name}" for name in ("backward", "forward", "greedy", "random")},
)


def layer_of(name: str) -> str:
    """Return the layer or block that the unit of that *name* is a change of."""
    return name.rpartition(":")[0] if block_of(name) else name


def block_of(name: str) -> str:
    """Return the block of a substitution's *name*, `LAYER:BLOCK`; of another unit's, which may have a colon, none."""
    block = name.rpartition(":")[2]
    return block if block in SUBSTITUTES.rows and block != name else ""
