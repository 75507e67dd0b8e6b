"""`Task`, `Metric` and `Score`: records of each sample, and the figure that they come to, with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import Score, drop

#: What a network or a file gives for n samples: one array [n, ...] for each output, channels first.
Outputs = Sequence[npt.NDArray[Any]]
#: What of outputs is an answer that is the same or not, [n, ...]: class numbers of samples or of pixels.
Answers: TypeAlias = Callable[[Outputs], npt.NDArray[Any]]
#: What a metric remembers of n samples, [n, ...]; of dtype object where a sample has any number of boxes.
Records = npt.NDArray[Any]

#: Resamplings of a bootstrap, and how few they become where so many values are drawn in all; and the seed that they are
#: drawn from: the same records always have the same interval.
_RESAMPLINGS, _FEWEST, _VALUES, _SEED = 200, 50, 2**25, 0

#: What a metric's `record` is given as its targets: what the data say is right (the usual), the network's own input, or
#: the outputs of the original network for the same samples.
TARGETS, INPUT, ORIGINAL = "targets", "input", "original"


@dataclass(frozen=True, kw_only=True)
class TargetFacts:
    """What a data set says of its targets, for the task that judges by them.

    Example:
        >>> edgecnn.TargetFacts(labels=("cat", "dog")).classes
        2
    """

    __repr__ = short_repr

    labels: tuple[str, ...] | None = None  # class names; None: the targets are no classes

    @property
    def classes(self) -> int | None:
        """The number of classes; None where it is not known."""
        return len(self.labels) if self.labels else None


class Metric(Protocol):
    """A figure, taken in two steps: a record of each sample, and the value of any records.

    Streaming, bootstrap intervals and paired differences follow from these two functions, so that a metric has none
    of its own. A metric may have, beyond these:

    - `interval(records) -> (low, high)`: a 95 % interval by a formula;
    - `lost(before, after) -> (mean, low, high)`: the drop between two networks on the same samples, likewise;
    - `details(records) -> dict`: further figures of the score, such as a confusion matrix;
    - `judged_by`: `TARGETS` where it is missing, else `INPUT` or `ORIGINAL`.
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

    Example:
        >>> edgecnn.Task("none", "nothing", ()).needs_targets
        False
    """

    __repr__ = short_repr

    name: str
    targets: str  # what the data give for each sample, in the words of messages: "a class number", "a label image"
    metrics: tuple[Metric, ...]  # at least one; none for the task `none`
    #: What of the outputs is an answer that is the same or not, [n, ...]: class numbers. None: there is none such.
    answers: Answers | None = None

    @property
    def needs_targets(self) -> bool:
        """Whether nothing can be judged without targets."""
        return bool(self.metrics) and all(judged_by(metric) == TARGETS for metric in self.metrics)

    def judged_first_by(self, name: str) -> Task:
        """Return the same task with its metric *name* first.

        Raises:
            EdgecnnError: it has no such metric.
        """
        chosen = [metric for metric in self.metrics if metric.name.casefold() == name.casefold()]
        if not chosen:
            raise unknown_name(f"metric of task {self.name}", name, [metric.name for metric in self.metrics])
        return replace(self, metrics=(*chosen, *(metric for metric in self.metrics if metric is not chosen[0])))


def judged_by(metric: Metric) -> str:
    """Return what *metric* is given as its targets: `TARGETS`, `INPUT` or `ORIGINAL`."""
    return str(getattr(metric, "judged_by", TARGETS))


def score_of(metric: Metric, records: Records) -> Score:
    """Return the score that *records* come to.

    The interval is the metric's own where it has one, as shares of right answers do, else that of a bootstrap over the
    samples (Efron 1979, the percentile interval).

    Raises:
        EdgecnnError: no records, or a value that is no finite number.
    """
    if not len(records):
        raise EdgecnnError(f"{metric.name}: there are no samples to judge")
    value = metric.value(records)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise EdgecnnError(f"metric {metric.name} gives {value!r}, which is no finite number")
    own: Callable[[Records], tuple[float, float]] | None = getattr(metric, "interval", None)
    if own is not None:
        low, high = own(records)
    else:
        low, high = bootstrap(lambda at: metric.value(records[at]), len(records), records.size)
    details: Callable[[Records], Mapping[str, Any]] | None = getattr(metric, "details", None)
    return Score(
        name=metric.name,
        value=float(value),
        low=low,
        high=high,
        n=len(records),
        higher_is_better=metric.higher_is_better,
        details={} if details is None else details(records),
    )


def drop_between(metric: Metric, before: Records, after: Records) -> tuple[float, float, float]:
    """Return by how much *after* is worse than *before*, records of the same samples [n, ...], and its 95 % interval.

    The interval is the metric's own where it has one, else that of a bootstrap over the pairs.
    """
    own: Callable[[Records, Records], tuple[float, float, float]] | None = getattr(metric, "lost", None)
    if own is not None:
        return own(before, after)

    def drop_at(at: Any) -> float:
        return drop(metric.value(before[at]), metric.value(after[at]), higher_is_better=metric.higher_is_better)

    return drop_at(slice(None)), *bootstrap(drop_at, len(before), before.size)


def bootstrap(
    value_at: Callable[[npt.NDArray[np.int64]], float], n: int, values: int | None = None
) -> tuple[float, float]:
    """Return the 95 % interval of a figure over resamplings of *n* samples; *value_at* gives it for indices [n].

    200 resamplings, and down to 50 where the records hold so many *values* (None: *n*) that they would take minutes.

    The same resamplings are drawn for the same n, so that the difference of two networks on the same samples is paired.
    Resamplings in which the figure is none, of one class alone perhaps, do not count.
    """
    rng = np.random.default_rng(_SEED)
    times = min(_RESAMPLINGS, max(_FEWEST, _VALUES // max(values or n, 1)))
    found = [value_at(rng.integers(n, size=n)) for _ in range(times)]
    finite = [value for value in found if math.isfinite(value)]
    if not finite:
        return math.nan, math.nan
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
