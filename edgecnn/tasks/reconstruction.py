"""Reconstruction: a network that gives back its input, such as an autoencoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.task import INPUT, Outputs, Records, TargetFacts, Task


def reconstruction(facts: TargetFacts) -> Task:
    """Return the task of giving back the input.

    Example:
        >>> reconstruction(TargetFacts()).needs_targets
        False
    """
    return Task("reconstruction", "the input itself", (EnergyExplained(),))


@dataclass(frozen=True)
class EnergyExplained:
    """The share of the input's energy that the output explains, 1 - Σ(x - x̂)² / Σx², x as the network sees it."""

    name: str = "energy explained"
    higher_is_better: bool = True
    judged_by: str = INPUT

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return `[Σ(x - x̂)², Σx²]` of each sample, float64 [n, 2]."""
        given, x = np.asarray(outputs[0], np.float64), np.asarray(targets, np.float64)
        if given.size != x.size:
            raise EdgecnnError(
                f"reconstruction takes an output of the input's size: a sample's input is {list(x.shape[1:])}, its "
                f"output is {list(given.shape[1:])}"
            )
        given, x = given.reshape(len(x), -1), x.reshape(len(x), -1)
        return np.column_stack([np.square(x - given).sum(axis=1), np.square(x).sum(axis=1)])

    def value(self, records: Records) -> float:
        """Return the share; NaN where the inputs are 0."""
        error, energy = records.sum(axis=0)
        return float(1 - error / energy) if energy > 0 else math.nan
