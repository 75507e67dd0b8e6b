"""How far one sample lies above another, with an exact interval: Mann-Whitney's U test, turned round.

No distribution is assumed, no random numbers are drawn, and swapping the samples turns the sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Shift:
    """How far a sample lies above another, with its interval: endless where there are too few values."""

    estimate: float
    low: float
    high: float


def shift_between(earlier: npt.ArrayLike, later: npt.ArrayLike, confidence: float = 0.95) -> Shift:
    """Return by how much *later* [n] lies above *earlier* [m]: the median of all m·n differences, and its interval.

    The estimate is Hodges and Lehmann's. The interval holds exactly the shifts that a two-sided U test at level
    1 - *confidence* does not reject (Hollander & Wolfe, Nonparametric Statistical Methods, 4.3): from the k-th lowest
    to the k-th highest difference. The values must be independent, so give one of each process: those within a process
    hang together, and would make chance look like certainty.
    """
    before, after = np.asarray(earlier, float), np.asarray(later, float)
    differences = np.sort(np.subtract.outer(after, before), axis=None)
    estimate = float(np.median(differences))
    rejected = _rejected_ranks(before.size, after.size, confidence)
    if rejected == 0:
        return Shift(estimate, -math.inf, math.inf)
    return Shift(estimate, float(differences[rejected - 1]), float(differences[-rejected]))


def least_values(others: int, confidence: float = 0.95) -> int:
    """Return how many values a sample needs beside one of *others*, so that the interval of their shift has an end."""
    count = 1
    while _rejected_ranks(others, count, confidence) == 0:
        count += 1
    return count


def _rejected_ranks(m: int, n: int, confidence: float) -> int:
    """Return how many of U's lowest values together come up in at most half of 1 - *confidence* of all orders."""
    limit = (1 - confidence) / 2 * math.comb(m + n, m)
    total = ranks = 0
    for count in _arrangements(m, n):
        total += count
        if total > limit:
            break
        ranks += 1
    return ranks


@lru_cache(maxsize=64)
def _arrangements(m: int, n: int) -> tuple[int, ...]:
    """Return in how many orders of two samples [m], [n] each U from 0 to m·n comes up.

    They are the coefficients of the Gaussian binomial, the product over i = 1…m of (1 - q^(n+i)) / (1 - q^i) (Mann &
    Whitney 1947).
    """
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for power in range(m * n, n + i - 1, -1):
            counts[power] -= counts[power - n - i]
        for power in range(i, m * n + 1):
            counts[power] += counts[power - i]
    return tuple(counts)
