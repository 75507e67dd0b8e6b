"""Multilabel classification: any number of classes for each sample, a score for each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.roc import ranking
from edgecnn.tasks.task import Outputs, Records, TargetFacts, Task

_TOLERANCE = 0.02  # of probabilities: int8 rounds


def multilabel(facts: TargetFacts) -> Task:
    """Return the task of telling which of the classes are there.

    Example:
        >>> [metric.name for metric in multilabel(TargetFacts()).metrics]
        ['mAP', 'F1']
    """
    return Task("multilabel", "0 or 1 for each class", (MeanAveragePrecision(), F1()))


def scores_and_marks(outputs: Outputs, targets: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the scores of the first output and the targets, float64 [n, classes].

    Raises:
        EdgecnnError: their shapes differ, or a target is neither 0 nor 1.
    """
    scores, marks = np.asarray(outputs[0], np.float64), np.asarray(targets, np.float64)
    if scores.ndim == 4 and scores.shape[2:] == (1, 1):
        scores = scores[:, :, 0, 0]
    if scores.shape != marks.shape or scores.ndim != 2:
        raise EdgecnnError(
            f"multilabel takes a score and a target for each class: a sample's output is {list(scores.shape[1:])}, its "
            f"target is {list(marks.shape[1:])}"
        )
    if not np.isin(marks, (0, 1)).all():
        raise EdgecnnError("multilabel takes targets that are 0 or 1, and the data have others")
    return scores, marks


@dataclass(frozen=True)
class MeanAveragePrecision:
    """The average precision of each class, averaged over the classes that occur."""

    name: str = "mAP"
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return the scores and the targets of each sample, float64 [n, 2, classes]."""
        return np.stack(scores_and_marks(outputs, targets), axis=1)

    def value(self, records: Records) -> float:
        """Return the mean; NaN where no class both occurs and is missing."""
        found = [one for one in self.per_class(records) if one is not None]
        return float(np.mean(found)) if found else math.nan

    def per_class(self, records: Records) -> list[float | None]:
        """Return the average precision of each class; None where all samples or none are of it."""
        scores, marks = records[:, 0], records[:, 1]
        return [
            ranking(scores[:, index], marks[:, index]).average_precision if 0 < marks[:, index].mean() < 1 else None
            for index in range(marks.shape[1])
        ]

    def details(self, records: Records) -> dict[str, Any]:
        """Return the average precision of each class."""
        return {"average_precision": self.per_class(records)}


@dataclass(frozen=True)
class F1:
    """2 TP / (2 TP + FP + FN) over all classes at a score of 0.5; no figure for scores that are no probabilities."""

    name: str = "F1"
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return `[true positives, false positives and negatives]` of each sample, float64 [n, 2]; NaN for logits."""
        scores, marks = scores_and_marks(outputs, targets)
        if scores.min() < -_TOLERANCE or scores.max() > 1 + _TOLERANCE:
            return np.full((len(scores), 2), np.nan)
        given = scores > 0.5
        return np.column_stack([(given * marks).sum(axis=1), (given != marks).sum(axis=1)])

    def value(self, records: Records) -> float:
        """Return F1; NaN where nothing is there and nothing was found."""
        true, wrong = records.sum(axis=0)
        return float(2 * true / (2 * true + wrong)) if true + wrong > 0 else math.nan
