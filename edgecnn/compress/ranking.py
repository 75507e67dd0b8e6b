"""Rank cuts by what they lose for what they save, on no more samples than the ranking takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edgecnn.compress.trial import HARM, Trial

Floats = npt.NDArray[np.float64]

Z = 1.959964  # of a 95 % interval
_RESAMPLES = 200


def prices(harms: Floats, gains: Floats, n: int) -> Floats:
    """Return harm for each unit gained, [..., cuts]; infinity where nothing is gained.

    A harm that is less than one sample's of all *n* is none that could be told: then what saves most is cheapest.
    """
    told = np.maximum(harms, 1 / n)
    found: Floats = np.divide(told, gains, out=np.full(np.shape(harms), np.inf), where=gains > 0)
    return found


def decide(trial: Trial, gains: Floats, wanted: float) -> float:
    """Judge the variants of *trial* until their order by price is known; return how well.

    All are judged on the first stage's samples. Then those go on whose place beside a neighbour is open, until the
    ranking is expected to agree with one of samples drawn anew by a Spearman correlation of *wanted*, or all samples
    are used.
    """
    n = trial.stages[-1]
    going: Sequence[int] = range(len(gains))
    for stage in range(len(trial.stages)):
        trial.advance(going, stage)
        harmed = [_harmed(trial, index) for index in range(len(gains))]
        known = agreement(harmed, gains, n)
        if known >= wanted and wanted < 1:
            break
        going = range(len(gains)) if wanted == 1 else undecided(harmed, gains, n)
        if not going:
            break
    return known


def agreement(harmed: Sequence[Floats], gains: Floats, n: int, seed: int = 0) -> float:
    """Return the mean Spearman correlation of the ranking with those of samples drawn anew, by bootstrap.

    Args:
        harmed: for each cut, what each sample lost, [n of the cut]; the samples of one cut are the first of another's.
        gains: of each cut.
        n: samples there are.
        seed: of the draws.
    """
    if len(harmed) < 2:
        return 1.0
    most = max(map(len, harmed))
    counts = np.random.default_rng(seed).multinomial(most, np.full(most, 1 / most), size=_RESAMPLES).astype(np.float64)
    drawn = np.stack([counts[:, : len(h)] @ h / np.maximum(counts[:, : len(h)].sum(1), 1) for h in harmed], axis=1)
    found = prices(_means(harmed), gains, n)
    return float(np.mean([spearman(prices(row, gains, n), found) for row in drawn]))


def undecided(harmed: Sequence[Floats], gains: Floats, n: int) -> list[int]:
    """Return the cuts that may have to change places with a neighbour: their paired difference may be nought."""
    order = np.argsort(prices(_means(harmed), gains, n), kind="stable")
    ranked = [index for index in order if gains[index] > 0]
    found: set[int] = set()
    for a, b in pairwise(ranked):
        common = min(len(harmed[a]), len(harmed[b]))
        apart = harmed[a][:common] / gains[a] - harmed[b][:common] / gains[b]
        if abs(apart.mean()) <= Z * apart.std() / np.sqrt(common):
            found |= {int(a), int(b)}
    return sorted(found)


def spearman(a: Floats, b: Floats) -> float:
    """Return the rank correlation of two rows of values, equal values sharing their mean rank."""
    first, second = (_ranks(values) for values in (a, b))
    spread = np.sqrt(first @ first * (second @ second))
    return float(first @ second / spread) if spread > 0 else float(np.array_equal(first, second))


def _ranks(values: Floats) -> Floats:
    """Return the ranks of *values*, their mean being 0."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(count) - (count + 1) / 2)[place] - (len(values) - 1) / 2
    return ranks


def _harmed(trial: Trial, variant: int) -> Floats:
    mine = trial.outcomes(variant)[HARM]
    lost: Floats = mine - trial.of_original(len(mine))[HARM]
    return lost


def _means(harmed: Sequence[Floats]) -> Floats:
    return np.array([h.mean() for h in harmed])
