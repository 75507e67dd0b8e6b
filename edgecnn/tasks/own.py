"""Metrics of the user's own: a function, a class with `update` and `compute`, or one with `record` and `value`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.task import Metric, Outputs, Records
from edgecnn.user_code import FORM, explain_user_errors, load_own


def own_metric(where: str) -> Metric:
    """Return the metric at `package.module:attribute` or `FILE.py:attribute`.

    Raises:
        EdgecnnError: there is none, or it is nothing that edgecnn takes for a metric.
    """
    return as_metric(load_own(where), where)


def as_metric(own: Any, where: str | None = None) -> Metric:
    """Return *own* as a metric.

    Args:
        own: a function `(outputs, targets) -> float`; a class whose objects have `update(outputs, targets)` and
            `compute() -> float`, or `record` and `value`, or such an object. An attribute `higher_is_better = False`
            says that less is better. `outputs` are an array [n, ...], or a list of them where there are several
            outputs; `targets` are as the data have them.
        where: how the user names it; None: by its own name.

    Raises:
        EdgecnnError: it is something else.

    Example:
        >>> def within_one(outputs, targets):
        ...     return (abs(outputs[:, 0] - targets) < 1).mean()
        >>> metric = as_metric(within_one)
        >>> metric.value(metric.record([np.array([[1.5], [9.0]])], np.array([1.0, 2.0])))
        0.5
    """
    name = where or str(getattr(own, "__name__", type(own).__name__))
    title = str(getattr(own, "name", None) or name.rpartition(":")[2])
    higher = bool(getattr(own, "higher_is_better", True))
    if callable(getattr(own, "record", None)) and callable(getattr(own, "value", None)):
        metric: Metric = _made(own, name)
        return metric
    if callable(getattr(own, "update", None)) and callable(getattr(own, "compute", None)):
        return OwnMetric(title, lambda outputs, targets: _computed(_made(own, name), outputs, targets), higher)
    if callable(own) and not inspect.isclass(own):
        return OwnMetric(title, own, higher)
    raise EdgecnnError(
        f"metric '{name}' is a {type(own).__name__}; give {FORM} of a function (outputs, targets) -> float, or of a "
        "class with update and compute"
    )


def _made(own: Any, name: str) -> Any:
    """Return a new object of the class *own*; an object is copied as its class makes it, or taken as it is."""
    if not inspect.isclass(own):
        return own
    with explain_user_errors(f"metric '{name}' failed"):
        return own()


def _computed(metric: Any, outputs: Any, targets: Any) -> Any:
    if callable(reset := getattr(metric, "reset", None)):
        reset()
    metric.update(outputs, targets)
    return metric.compute()


@dataclass(frozen=True)
class OwnMetric:
    """A metric that takes all samples at once; the outputs and the target of each sample are its record."""

    name: str
    function: Callable[[Any, Any], Any]
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return the outputs and the target of each sample, an array [n] of dtype object."""
        records = np.empty(len(outputs[0]), object)
        for index in range(len(records)):
            records[index] = (*(np.array(output[index]) for output in outputs), targets[index])
        return records

    def value(self, records: Records) -> float:
        """Return what the function gives for all samples.

        Raises:
            EdgecnnError: it failed, or gave no number.
        """
        *outputs, targets = (_joined(column) for column in zip(*records, strict=True))
        with explain_user_errors(f"metric {self.name} failed"):
            found = self.function(outputs[0] if len(outputs) == 1 else outputs, targets)
        if isinstance(found, bool) or not (isinstance(found, (int, float)) or getattr(found, "shape", None) == ()):
            raise EdgecnnError(f"metric {self.name} gives {_described(found)}, not one number")
        value = float(found)
        return value if math.isfinite(value) else math.nan


def _joined(column: Any) -> Any:
    """Return the values of each sample as one array [n, ...]; of dtype object where they are no numbers."""
    if all(isinstance(one, np.ndarray) and one.dtype == object and one.ndim == 0 for one in column):
        column = [one.item() for one in column]
    if all(isinstance(one, (np.ndarray, np.generic, int, float)) for one in column):
        return np.stack([np.asarray(one) for one in column])
    joined = np.empty(len(column), object)
    joined[:] = list(column)
    return joined


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + (f" of shape {list(shape)}" if shape is not None else "")
