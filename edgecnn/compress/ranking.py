"""Rank cuts by what they lose for what they save, on no more samples than the ranking takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edgecnn.compress.judging import ERROR, Trial

Floats = npt.NDArray[np.float64]

Z = 1.959964  # of a 95 % interval
_RESAMPLES = 200


def cost_benefits(loss_increases: Floats, gains: Floats, n: int) -> Floats:
    """Return the loss increase for each byte, MAC or activation saved, [..., cuts]; infinity where nothing is.

    A loss increase below that of one sample of all *n* counts as none: such cuts are ranked by their saving.
    """
    measurable = np.maximum(loss_increases, 1 / n)
    found: Floats = np.divide(measurable, gains, out=np.full(np.shape(loss_increases), np.inf), where=gains > 0)
    return found


def decide(trial: Trial, gains: Floats, wanted: float) -> float:
    """Judge the variants of *trial* until their order by ratio of loss to saving is known; return how well.

    All are judged on the first stage's samples. Then those go on whose place beside a neighbour is open, until the
    ranking is expected to agree with one of samples drawn anew by a Spearman correlation of *wanted*, or all samples
    are used.
    """
    n = trial.stages[-1]
    active: Sequence[int] = range(len(gains))
    for stage in range(len(trial.stages)):
        trial.advance(active, stage)
        losses = [_losses_of(trial, index) for index in range(len(gains))]
        known = agreement(losses, gains, n)
        if known >= wanted and wanted < 1:
            break
        active = range(len(gains)) if wanted == 1 else undecided(losses, gains, n)
        if not active:
            break
    return known


def agreement(losses: Sequence[Floats], gains: Floats, n: int, seed: int = 0) -> float:
    """Return the mean Spearman correlation of the ranking with those of samples drawn anew, by bootstrap.

    Args:
        losses: for each cut, what each sample lost, [n of the cut]; the samples of one cut are the first of another's.
        gains: of each cut.
        n: samples there are.
        seed: of the draws.
    """
    if len(losses) < 2:
        return 1.0
    most = max(map(len, losses))
    counts = np.random.default_rng(seed).multinomial(most, np.full(most, 1 / most), size=_RESAMPLES).astype(np.float64)
    drawn = np.stack([counts[:, : len(h)] @ h / np.maximum(counts[:, : len(h)].sum(1), 1) for h in losses], axis=1)
    found = cost_benefits(_means(losses), gains, n)
    return float(np.mean([spearman(cost_benefits(row, gains, n), found) for row in drawn]))


def undecided(losses: Sequence[Floats], gains: Floats, n: int) -> list[int]:
    """Return the cuts that may have to change places with a neighbour: their paired difference may be nought."""
    order = np.argsort(cost_benefits(_means(losses), gains, n), kind="stable")
    ranked = [index for index in order if gains[index] > 0]
    found: set[int] = set()
    for a, b in pairwise(ranked):
        common = min(len(losses[a]), len(losses[b]))
        apart = losses[a][:common] / gains[a] - losses[b][:common] / gains[b]
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


def _losses_of(trial: Trial, variant: int) -> Floats:
    mine = trial.outcomes(variant)[ERROR]
    lost: Floats = mine - trial.of_original(len(mine))[ERROR]
    return lost


def _means(losses: Sequence[Floats]) -> Floats:
    return np.array([h.mean() for h in losses])
