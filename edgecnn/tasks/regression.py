"""Regression: values of any shape, one value or an image of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.task import Outputs, Records, TargetFacts, Task


def regression(facts: TargetFacts) -> Task:
    """Return the task of giving values.

    Example:
        >>> [metric.name for metric in regression(TargetFacts()).metrics]
        ['R²', 'MAE', 'RMSE']
    """
    return Task("regression", "values of the output's shape", (R2(), MeanError("MAE", 1), MeanError("RMSE", 2)))


def values_and_targets(outputs: Outputs, targets: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the outputs and the targets as float64 [n, c, m]: c channels (the second axis), m values in each.

    Several outputs are joined, in their order, for targets [n, c] that hold them all.

    Raises:
        EdgecnnError: their shapes differ.
    """
    truth = np.asarray(targets, np.float64)
    n = len(truth)
    if len(outputs) == 1:
        given, shape = np.asarray(outputs[0], np.float64), outputs[0].shape
    else:
        given = np.concatenate([np.asarray(output, np.float64).reshape(n, -1) for output in outputs], axis=1)
        shape = given.shape
    if [size for size in shape if size != 1] != [size for size in truth.shape if size != 1]:
        found = " and ".join(str(list(output.shape[1:])) for output in outputs)
        raise EdgecnnError(
            f"regression takes targets of the output's shape: a sample's output is {found}, its target is "
            f"{list(truth.shape[1:])}"
        )
    channels = shape[1] if len(shape) > 1 else 1
    return given.reshape(n, channels, -1), truth.reshape(n, channels, -1)


@dataclass(frozen=True)
class R2:
    """The share of the targets' variance that the outputs explain, 1 - Σ(y - ŷ)² / Σ(y - ȳ)².

    The means ȳ are taken for each channel, the second axis, and both sums are over all channels, so that each counts by
    its variance.
    """

    name: str = "R²"
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return `[squared error, values, Σy of each channel, Σy² of each channel]` of each sample, [n, 2 + 2 c]."""
        given, truth = values_and_targets(outputs, targets)
        error = np.square(given - truth).sum(axis=(1, 2))
        count = np.full(len(truth), float(truth.shape[2]))
        return np.column_stack([error, count, truth.sum(axis=2), np.square(truth).sum(axis=2)])

    def value(self, records: Records) -> float:
        """Return R²; NaN where all targets are the same."""
        sums = records.sum(axis=0)
        error, count = sums[:2]
        first, square = np.split(sums[2:], 2)
        # Less than rounding leaves of it is no variance.
        variance = float((square - np.square(first) / count).sum())
        return 1 - error / variance if variance > 1e-12 * float(square.sum()) else math.nan

    def details(self, records: Records) -> dict[str, float]:
        """Return what the targets' mean alone would give."""
        return {"chance": 0.0}


@dataclass(frozen=True)
class MeanError:
    """The mean absolute error, or the root of the mean squared error."""

    name: str
    power: int  # 1: absolute; 2: squared

    higher_is_better = False

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return the mean error of each sample, to the power, [n]."""
        given, truth = values_and_targets(outputs, targets)
        return np.asarray((np.abs(given - truth) ** self.power).mean(axis=(1, 2)))

    def value(self, records: Records) -> float:
        """Return the error, in the units of the targets."""
        return float(records.mean() ** (1 / self.power))
