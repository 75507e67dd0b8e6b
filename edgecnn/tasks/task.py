"""`Metric`, `Task` and `Score`: records of each sample, and the figure that they come to, with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.short_repr import short_repr

#: What a network or a file gives for n samples: one array [n, ...] for each output, channels first.
Outputs = Sequence[npt.NDArray[Any]]
#: What a metric remembers of n samples, [n, ...]; of dtype object where a sample has any number of boxes.
Records = npt.NDArray[Any]

#: Resamplings of a bootstrap, and the seed they are drawn from: the same records always have the same interval.
_RESAMPLINGS, _SEED = 200, 0


@dataclass(frozen=True, kw_only=True)
class Score:
    """A figure of how good answers are, with its 95 % interval.

    Example:
        >>> Score(name="mIoU", value=0.71, low=0.68, high=0.74, n=500).points
        71.0
    """

    __repr__ = short_repr

    name: str
    value: float
    low: float
    high: float
    n: int  # samples
    higher_is_better: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)  # further figures, by name

    @property
    def points(self) -> float:
        """The value in points: hundredths, in which drops are counted."""
        return 100 * self.value


class Metric(Protocol):
    """A figure, taken in two steps: a record of each sample, and the value of any records.

    Streaming, bootstrap intervals and paired differences follow from these two functions, so that a metric has none
    of its own.
    """

    @property
    def name(self) -> str:
        """Its name in tables and JSON."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Which way is better."""
        ...

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return a record for each of n samples, [n, ...].

        Raises:
            EdgecnnError: the outputs or the targets are not what the metric needs.
        """
        ...

    def value(self, records: Records) -> float:
        """Return the figure that *records* come to; NaN where they come to none."""
        ...


@dataclass(frozen=True)
class Task:
    """What a network is judged as.

    Its first metric is the one that drops, limits and comparisons are about. It is a share, at most 1 and higher where
    better, so that a drop in points means the same for all tasks: mIoU, mAP, R², the share of right answers.
    """

    name: str
    targets: str  # what the data give for each sample, in the words of messages: "a class number", "a label image"
    metrics: tuple[Metric, ...]  # at least one; none for the task `none`


def score_of(metric: Metric, records: Records, details: Mapping[str, Any] | None = None) -> Score:
    """Return the score that *records* come to.

    The interval is the metric's own where it has a method `interval(records) -> (low, high)`, as shares of right
    answers do, else that of a bootstrap over the samples (Efron 1979, the percentile interval).

    Raises:
        EdgecnnError: no records, or a value that is no finite number.
    """
    if not len(records):
        raise EdgecnnError(f"{metric.name}: there are no samples to judge")
    value = metric.value(records)
    if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise EdgecnnError(f"metric {metric.name} gives {value!r}, which is no finite number")
    own: Callable[[Records], tuple[float, float]] | None = getattr(metric, "interval", None)
    low, high = own(records) if own is not None else bootstrap(lambda at: metric.value(records[at]), len(records))
    return Score(
        name=metric.name,
        value=float(value),
        low=low,
        high=high,
        n=len(records),
        higher_is_better=metric.higher_is_better,
        details=details or {},
    )


def bootstrap(value_at: Callable[[npt.NDArray[np.int64]], float], n: int) -> tuple[float, float]:
    """Return the 95 % interval of a figure over resamplings of *n* samples; *value_at* gives it for indices [n].

    The same resamplings are drawn for the same n, so that the difference of two networks on the same samples is paired:
    `bootstrap(lambda at: value(after, at) - value(before, at), n)`.
    """
    rng = np.random.default_rng(_SEED)
    values = [value_at(rng.integers(n, size=n)) for _ in range(_RESAMPLINGS)]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return math.nan, math.nan
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
