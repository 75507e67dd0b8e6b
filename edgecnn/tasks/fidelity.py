"""How much of the original's outputs a network still gives: what judges where nothing says what is right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgecnn.tasks.task import ORIGINAL, Outputs, Records

_LEAST_POWER = 1e-12


@dataclass(frozen=True)
class Fidelity:
    """The share of the original's output energy that a network still gives, 1 - Σ(y - ŷ)² / Σy², over all outputs.

    It judges where nothing says what is right.
    """

    name: str = "fidelity"
    higher_is_better: bool = True
    judged_by: str = ORIGINAL

    def record(self, outputs: Outputs, targets: Outputs) -> Records:
        """Return `[Σ(y - ŷ)², Σy²]` of each sample, each output in shares of its own energy, float64 [n, 2]."""
        error, energy = np.zeros(len(outputs[0])), np.zeros(len(outputs[0]))
        for given, right in zip(outputs, targets, strict=True):
            given, right = (np.asarray(one, np.float64).reshape(len(one), -1) for one in (given, right))
            whole = max(float(np.square(right).mean()), _LEAST_POWER)
            error += np.square(given - right).mean(axis=1) / whole
            energy += np.square(right).mean(axis=1) / whole
        return np.column_stack([error, energy])

    def value(self, records: Records) -> float:
        """Return the share."""
        error, energy = records.sum(axis=0)
        return float(1 - error / energy) if energy > 0 else math.nan
