"""Make a network smaller and keep its accuracy."""

from __future__ import annotations

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
