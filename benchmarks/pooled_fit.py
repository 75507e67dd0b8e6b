"""Fit what operators cost to the figures of many boards at once, so that each borrows from those that are like it.

The logarithm of a cost is the prior's plus a normal deviation for each level that the board, core, runtime, precision
and threads belong to (LEVELS): boards with the same core share most of it, those with the same kind of kernels some.
A latency is the sum of costs times amounts, off by a normal error in its logarithm. So the level of a board comes from
its own figures where there are some, from its core and clock where there are none, and the shape from all networks.
This is a Gaussian process on log costs whose covariance is a sum over levels (Rasmussen and Williams 2006, chapter 2),
linearized about its own solution (Gauss-Newton).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.estimate.fitting import Floats

TERMS = 3  # of a cost: multiply-adds, bytes, operators
_STEPS = 40
_ALIKE = ("runtime", "precision", "family")  # in these a network's own error is the same


@dataclass(frozen=True)
class Level:
    """What rows share that agree in *keys*: standard deviations, in logarithms, of all costs, a term, a single cost."""

    keys: tuple[str, ...]
    speed: float = 0.0
    term: float = 0.0
    cost: float = 0.0


@dataclass(frozen=True)
class Row:
    """Figures of one machine with one runtime, precision, number of threads and set of cores; none: to be predicted."""

    facts: dict[str, str]  # what LEVELS name
    prior: Floats  # [c] costs, in units common to all rows
    scale: float  # expected logarithm of its time for a unit, apart from a constant
    networks: tuple[str, ...]
    amounts: Floats  # [n, c]
    latencies_ns: Floats  # [n]


@dataclass(frozen=True)
class Errors:
    """Standard deviations of the logarithm of a latency about its sum of costs.

    What a sum cannot say of a network is the same on every board of a family (*network*); the rest is one figure's.
    """

    network: float
    figure: float


@dataclass(frozen=True)
class Prediction:
    """What a fit says of networks on one row: logarithms of nanoseconds, and how sure it is."""

    log_ns: Floats  # [n]
    deviation: Floats  # [n] standard deviations of the logarithm, the error of a network not seen before included


class PooledFit:
    """Costs of every row of *rows*, from the figures that *used* keeps.

    Args:
        rows: all rows, those to be predicted as well.
        used: for each row which of its figures count, [n] of booleans.
        levels: what rows have in common.
        errors: of latencies about the sum of costs.
        start: log costs [r, c] to begin at, those of another fit; None: the prior.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        used: Sequence[npt.NDArray[np.bool_]],
        levels: Sequence[Level],
        errors: Errors,
        start: Floats | None = None,
    ) -> None:
        self._errors = errors
        self._kernels = [_shared(rows, levels, part) for part in ("speed", "term", "cost")]
        kept = [(place, index) for place, mask in enumerate(used) for index in np.flatnonzero(mask)]
        self._of = np.array([place for place, _ in kept])
        amounts = np.array([rows[place].amounts[index] for place, index in kept])
        observed = np.log([rows[place].latencies_ns[index] for place, index in kept])
        alike = [(rows[place].networks[index], *(rows[place].facts[key] for key in _ALIKE)) for place, index in kept]
        same = _same(alike)
        self._noise = errors.network**2 * same + errors.figure**2 * np.eye(len(kept))
        mean = np.array([np.log(row.prior) + row.scale for row in rows])
        mean += np.median(observed - np.log((amounts * np.exp(mean[self._of])).sum(axis=1)))
        self.log_costs = mean.copy() if start is None else start.copy()
        self._solve(amounts, observed, mean)

    def _solve(self, amounts: Floats, observed: Floats, mean: Floats) -> None:
        for _ in range(_STEPS):
            parts = amounts * np.exp(self.log_costs[self._of])
            predicted = parts.sum(axis=1)
            self._shares = parts / predicted[:, None]
            missing = observed - np.log(predicted)
            missing += (self._shares * (self.log_costs - mean)[self._of]).sum(axis=1)
            self._inverse = np.linalg.inv(self._covariance(self._of, self._shares) + self._noise)
            weights = self._inverse @ missing
            moved = mean + self._spread(weights) - self.log_costs
            self.log_costs += np.clip(moved, -0.7, 0.7)
            if np.max(np.abs(moved)) < 1e-3:
                break
        self.evidence = float(0.5 * np.linalg.slogdet(self._inverse)[1] - 0.5 * missing @ weights)

    def _covariance(self, rows: npt.NDArray[np.int_], shares: Floats) -> Floats:
        """Return the covariance [m, n] of latencies of *rows* [m] with *shares* [m, c] and those that are fitted to."""
        speed, term, cost = (kernel[np.ix_(rows, self._of)] for kernel in self._kernels)
        result: Floats = speed + term * (_terms(shares) @ _terms(self._shares).T) + cost * (shares @ self._shares.T)
        return result

    def _spread(self, weights: Floats) -> Floats:
        """Return how the log costs of all rows, [r, c], differ from their mean."""
        speed, term, cost = (kernel[:, self._of] for kernel in self._kernels)
        of_terms = (term * weights) @ _terms(self._shares)
        return np.asarray(
            (speed @ weights)[:, None]
            + np.tile(of_terms, self._shares.shape[1] // TERMS)
            + (cost * weights) @ self._shares
        )

    def costs(self, row: int) -> Floats:
        """Return the costs of a row in ns, [c]."""
        return np.asarray(np.exp(self.log_costs[row]))

    def predict(self, row: int, amounts: Floats) -> Prediction:
        """Return the latencies of networks with *amounts* [n, c] on a row."""
        parts = amounts * np.exp(self.log_costs[row])
        total = parts.sum(axis=1)
        shares = parts / total[:, None]
        across = self._covariance(np.full(len(amounts), row), shares)
        speed, term, cost = (kernel[row, row] for kernel in self._kernels)
        own = speed + term * (_terms(shares) ** 2).sum(axis=1) + cost * (shares**2).sum(axis=1)
        variance = (
            own - ((across @ self._inverse) * across).sum(axis=1) + self._errors.network**2 + self._errors.figure**2
        )
        return Prediction(np.log(total), np.sqrt(variance))


def _terms(shares: Floats) -> Floats:
    """Return the sums of *shares* [n, kinds x TERMS] over kinds, [n, TERMS]."""
    return np.asarray(shares.reshape(len(shares), -1, TERMS).sum(axis=1))


def _shared(rows: Sequence[Row], levels: Sequence[Level], part: str) -> Floats:
    """Return the variance [r, r] that rows have in common, in their speed, a term or a cost."""
    found = np.zeros((len(rows), len(rows)))
    for level in levels:
        found += getattr(level, part) ** 2 * _same([tuple(row.facts[key] for key in level.keys) for row in rows])
    return found


def _same(groups: Sequence[tuple[str, ...]]) -> npt.NDArray[np.bool_]:
    """Return [n, n], whether two are of the same group."""
    index = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    own = np.array([index[group] for group in groups])
    return np.asarray(own[:, None] == own)
