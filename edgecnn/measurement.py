"""What was measured, raw; what is derived from it is computed on demand."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy as counts: *correct* of *n* evaluation samples."""

    correct: int
    n: int

    @property
    def top1(self) -> float:
        """The fraction of correct answers."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval of the fraction (Wilson 1927, eq. for z = 1.96)."""
        z, n, share = 1.959964, self.n, self.top1
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def to_json(self) -> dict[str, float | int]:
        """Return `{top1, n, low, high}`, fractions."""
        low, high = self.interval
        return {"top1": self.top1, "n": self.n, "low": low, "high": high}
