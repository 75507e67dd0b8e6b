"""Classification: one class for each sample, told by the highest score, or by one value between 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.roc import ranking
from edgecnn.tasks.score import ACCURACY, interval_of_share
from edgecnn.tasks.task import Outputs, Records, TargetFacts, Task

#: A value that stands for the probability of class 1 may be this far outside 0 to 1: int8 rounds.
_TOLERANCE = 0.02
_LABEL, _ANSWER, _BEHIND, _OUTPUTS = range(4)  # the columns of a record of `Top1`


def classification(facts: TargetFacts) -> Task:
    """Return the task of telling *facts.classes* classes apart.

    Example:
        >>> [metric.name for metric in classification(TargetFacts(labels=("cat", "dog"))).metrics]
        ['accuracy', 'top-5', 'AUC']
    """
    return Task("classification", "a class number", (Top1(facts.classes), TopK(), Auc()), answers_of)


def class_scores(outputs: Outputs) -> npt.NDArray[Any]:
    """Return the scores [n, classes] of the first output; one value p between 0 and 1 gives the two scores 1-p and p.

    Raises:
        EdgecnnError: it is something else.
    """
    first = outputs[0]
    scores = first.reshape(len(first), -1) if first.ndim == 1 or first.shape[2:] in ((1,), (1, 1)) else first
    if scores.ndim != 2:
        shape = " x ".join(map(str, first.shape[1:]))
        raise EdgecnnError(
            f"classification takes one score for each class, and there are {shape} values a sample; say what the "
            "network does with --task, or name a metric of your own with --metric"
        )
    if scores.shape[1] > 1:
        return scores
    if scores.min() < -_TOLERANCE or scores.max() > 1 + _TOLERANCE:
        raise EdgecnnError(
            f"classification takes one score for each class, or one value between 0 and 1 for two classes, and there "
            f"is one value a sample from {scores.min():.3g} to {scores.max():.3g}; end the network with a sigmoid, or "
            "say what it does with --task"
        )
    return np.concatenate([1 - scores, scores], axis=1)


def answers_of(outputs: Outputs) -> npt.NDArray[Any]:
    """Return the class number [n] that the first output tells: of the highest score, or the number itself.

    Raises:
        EdgecnnError: as `class_scores`.
    """
    first = outputs[0]
    if first.dtype.kind in "iu" and first.size == len(first):
        return first.reshape(-1)
    return np.asarray(class_scores(outputs).argmax(axis=1))


@dataclass(frozen=True)
class Top1:
    """The share of samples whose highest score is that of their class.

    A file with one output more than the data have classes may bear a background class first, as those of TF-Slim do: it
    is judged both ways, and taken to have one where that is right beyond the interval of the other.
    """

    classes: int | None = None  # of the data; None: not known
    name: str = ACCURACY
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return `[label, answer, answer behind a background class or -1, outputs]` of each sample, int64 [n, 4]."""
        answers = answers_of(outputs)
        behind, count = np.full(len(answers), -1), self.classes or 0
        if outputs[0].dtype.kind not in "iu":
            scores = class_scores(outputs)
            count = scores.shape[1]
            if count - 1 == self.classes:
                behind = scores[:, 1:].argmax(axis=1)
        labels = class_numbers(targets)
        if count and labels.max(initial=0) >= count:
            raise EdgecnnError(
                f"it distinguishes {count} classes, but the data has more (label {labels.max()}); use the data set it "
                "was trained on"
            )
        return np.stack([labels, answers, behind, np.full(len(labels), count)], axis=1).astype(np.int64)

    def value(self, records: Records) -> float:
        """Return the share of right answers."""
        return float(self.correct(records).mean())

    def correct(self, records: Records) -> npt.NDArray[np.bool_]:
        """Return which answers are right, [n]."""
        return np.asarray(records[:, _LABEL] == records[:, _ANSWER + _offset(records)])

    def interval(self, records: Records) -> tuple[float, float]:
        """Return the Wilson interval."""
        correct = self.correct(records)
        return interval_of_share(int(correct.sum()), len(correct))

    def lost(self, before: Records, after: Records) -> tuple[float, float, float]:
        """Return the share lost between two networks on the same samples."""
        return share_lost(self.correct(before), self.correct(after))

    def details(self, records: Records) -> Mapping[str, Any]:
        """Return the classes, the background class, the confusion matrix and the figures of each class.

        `confusion` are `[true class, answer, samples]` of the entries that are not 0; `recall` and `precision` are
        lists over the classes, None where there is no sample, or no answer, of a class.
        """
        offset, outputs = _offset(records), int(records[:, _OUTPUTS].max())
        classes = self.classes or outputs or None
        pairs, counts = np.unique(records[:, [_LABEL, _ANSWER + offset]], axis=0, return_counts=True)
        found: dict[str, Any] = {} if classes is None else {"classes": classes}
        if classes is not None and classes > 1:
            found["chance"] = 1 / classes
        if outputs > (self.classes or outputs):
            found |= {"outputs": outputs, "class_offset": offset}
            if offset:
                found["with_background"] = float((records[:, _LABEL] == records[:, _ANSWER]).mean())
        confusion = np.column_stack([pairs, counts])
        return {**found, "confusion": confusion.tolist(), **per_class(confusion)}


def _offset(records: Records) -> int:
    """Return the output that stands for class 0: 1 behind a background class."""
    if (records[:, _BEHIND] < 0).any():
        return 0
    plain, shifted = (int((records[:, _LABEL] == records[:, column]).sum()) for column in (_ANSWER, _BEHIND))
    return int(interval_of_share(shifted, len(records))[0] > plain / len(records))


def per_class(confusion: npt.NDArray[np.int64]) -> dict[str, list[float | None]]:
    """Return `recall` and `precision` of each class, from `[true class, answer, samples]` [k, 3].

    Example:
        >>> per_class(np.array([[0, 0, 3], [0, 1, 1], [1, 1, 2]]))
        {'recall': [0.75, 1.0], 'precision': [1.0, 0.6666666666666666]}
    """
    size = int(confusion[:, :2].max(initial=0)) + 1
    right = np.zeros(size)
    diagonal = confusion[confusion[:, 0] == confusion[:, 1]]
    right[diagonal[:, 0]] = diagonal[:, 2]

    def shares(column: int) -> list[float | None]:
        of = np.bincount(confusion[:, column], weights=confusion[:, 2], minlength=size)
        return [float(a / b) if b else None for a, b in zip(right, of, strict=True)]

    return {"recall": shares(0), "precision": shares(1)}


def share_lost(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Return the share of right answers lost between two networks on the same samples, and its 95 % interval.

    *before* and *after* are [n] of 0 and 1. Half a sample is added to each of the four cells, so that no flip at all
    does not look certain (Agresti and Min 2005, doi:10.1002/sim.1781).
    """
    lost, won, n = float((before > after).sum()) + 0.5, float((after > before).sum()) + 0.5, len(before) + 2
    middle = (lost - won) / n
    half = 1.959964 * math.sqrt(lost + won - (lost - won) ** 2 / n) / n
    return float(before.mean() - after.mean()), middle - half, middle + half


@dataclass(frozen=True)
class TopK:
    """The share of samples whose class is among the *k* highest scores; no figure with k classes or fewer."""

    k: int = 5

    higher_is_better = True

    @property
    def name(self) -> str:
        """`top-5`."""
        return f"top-{self.k}"

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return 1 or 0 for each sample, float [n]; NaN where there are too few classes."""
        scores = None if outputs[0].dtype.kind in "iu" else class_scores(outputs)
        if scores is None or scores.shape[1] <= self.k:
            return np.full(len(outputs[0]), np.nan)
        best = np.argpartition(scores, -self.k, axis=1)[:, -self.k :]
        return np.asarray((best == class_numbers(targets)[:, None]).any(axis=1), np.float64)

    def value(self, records: Records) -> float:
        """Return the share."""
        return float(records.mean())

    def interval(self, records: Records) -> tuple[float, float]:
        """Return the Wilson interval."""
        return interval_of_share(float(records.sum()), len(records))


@dataclass(frozen=True)
class Auc:
    """The area under the ROC curve, where two classes are told apart; no figure for more of them."""

    name: str = "AUC"
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return `[score of class 1 less that of class 0, label]` of each sample, float64 [n, 2]."""
        scores = None if outputs[0].dtype.kind in "iu" else class_scores(outputs)
        if scores is None or scores.shape[1] != 2:
            return np.full((len(outputs[0]), 2), np.nan)
        # In double precision: beside a probability of nearly 1, small ones would all give the same.
        return np.stack([scores[:, 1].astype(np.float64) - scores[:, 0], class_numbers(targets)], axis=1)

    def value(self, records: Records) -> float:
        """Return the area; NaN without samples of both classes."""
        if set(np.unique(records[:, 1])) != {0, 1}:
            return math.nan
        return ranking(records[:, 0], records[:, 1]).auc

    def interval(self, records: Records) -> tuple[float, float]:
        """Return the area with 1.96 standard errors (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747)."""
        area, positives = self.value(records), float(records[:, 1].sum())
        negatives = len(records) - positives
        of_positives, of_negatives = area / (2 - area) - area**2, 2 * area**2 / (1 + area) - area**2
        variance = area * (1 - area) + (positives - 1) * of_positives + (negatives - 1) * of_negatives
        half = 1.959964 * math.sqrt(max(variance, 0.0) / (positives * negatives))
        return max(0.0, area - half), min(1.0, area + half)


def class_numbers(targets: Any) -> npt.NDArray[np.int64]:
    """Return *targets* as class numbers, int64 [n].

    Raises:
        EdgecnnError: they are something else.
    """
    found = np.asarray(targets)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise EdgecnnError(
            f"classification takes one class number for each sample, and the data have {found.dtype} "
            f"{list(found.shape[1:])}; say what they are with --task"
        )
    return found.astype(np.int64)
