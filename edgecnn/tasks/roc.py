"""How well scores tell two classes apart, whatever the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError


@dataclass(frozen=True)
class Ranking:
    """The area under the ROC curve and the average precision over *n* samples, *positives* of them to be found."""

    auc: float
    average_precision: float
    positives: int
    n: int


def ranking(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Ranking:
    """Return how well *scores* [n] rank the samples of label 1 above those of label 0; equal scores count half.

    The average precision is the sum of the precisions at each threshold, times the recall that is gained there.

    Raises:
        EdgecnnError: scores that are not finite, or labels other than 0 and 1, both of them there.
    """
    if set(np.unique(labels)) != {0, 1}:
        raise EdgecnnError("a ranking is judged on two classes, 0 and 1, and on samples of both")
    if not np.isfinite(scores).all():
        raise EdgecnnError("a ranking needs scores that are finite")
    thresholds, place = np.unique(-scores, return_inverse=True)  # the highest score first
    found = np.bincount(place[labels == 1], minlength=len(thresholds)).astype(np.float64)
    false = np.bincount(place[labels == 0], minlength=len(thresholds)).astype(np.float64)
    positives, negatives = found.sum(), false.sum()
    above = np.cumsum(found)
    auc = float((false * (above - found / 2)).sum() / (positives * negatives))
    precision = above / (above + np.cumsum(false))
    return Ranking(auc, float((precision * found).sum() / positives), int(positives), len(labels))
