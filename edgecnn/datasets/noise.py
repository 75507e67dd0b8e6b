"""Noise in place of data: enough to export and compare, never to tell an accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import Dataset, in_memory
from edgecnn.samples import Samples

NOISE = "noise"  # the name of the data set


@dataclass(frozen=True)
class Noise:
    """Standard normal float32 samples of one shape, each made from its number when asked for."""

    shape: tuple[int, ...]
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: Any) -> npt.NDArray[np.float32]:
        """Return float32 [n, *shape]."""
        chosen = np.atleast_1d(np.arange(self.count)[indices])
        draws = [np.random.default_rng((self.seed, int(index))).standard_normal(self.shape) for index in chosen]
        return np.asarray(draws, np.float32).reshape(len(chosen), *self.shape)


def noise(shape: tuple[int, ...], count: int) -> Dataset:
    """Return *count* samples of noise for calibration and as many others for comparison; no labels."""
    return in_memory(NOISE, Samples.of(Noise(shape, count, 0)), Samples.of(Noise(shape, count, 1)), None, None)
