"""Ranges of activations that leave out rare extremes, from histograms that one pass over the samples fills.

A histogram has as many bins whatever the number of samples. Their width is a power of two: where a value lies outside,
neighbouring bins are joined, which gives the counts that wider bins would have had from the start. So the result
depends neither on the order of the samples nor on how many come at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgecnn.export.int8.program import Array, Program, TensorId
from edgecnn.progress import Progress, silent

Range = tuple[float, float]

_BINS = 4096  # from -L to L
_STEPS = 255  # of int8
_SHARES = np.linspace(0.2, 1.0, 65)  # of an extreme that are tried as the end of a range
_PERCENTILE = 0.9999


class Calibrating(Protocol):
    """Calibration samples, each [1, C, H, W] float32 when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Array:
        """Return one sample."""
        ...


@dataclass
class Histogram:
    """How often values of a tensor lie in each of 4096 equal bins from -2^exponent to 2^exponent."""

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    exponent: int = -126  # of the smallest normal float32
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count *values*, of any shape."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(math.frexp(max(-low, high, 0.0))[1])
        places = np.floor(values.reshape(-1) * np.float64(_BINS / 2 * 2.0**-self.exponent)).astype(np.int64)
        # Values of the last bit below the end are rounded to it.
        self.counts += np.bincount(np.clip(places + _BINS // 2, 0, _BINS - 1), minlength=_BINS)

    def _widen(self, exponent: int) -> None:
        while self.exponent < exponent:
            if not self.counts.any():
                self.exponent = exponent
                return
            joined = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.zeros(_BINS, np.int64)
            self.counts[_BINS // 4 : 3 * _BINS // 4] = joined
            self.exponent += 1

    @property
    def width(self) -> float:
        """The width of a bin."""
        return float(2.0 ** (self.exponent + 1) / _BINS)

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """The middle of each bin."""
        centres: npt.NDArray[np.float64] = (np.arange(_BINS, dtype=np.float64) - _BINS // 2 + 0.5) * self.width
        return centres


def percentile_range(histogram: Histogram) -> Range:
    """Return the range that leaves out one value of 10 000 at either end, 0 in it."""
    total = np.cumsum(histogram.counts) / max(int(histogram.counts.sum()), 1)
    ends = histogram.centres
    high = ends[int(np.searchsorted(total, _PERCENTILE))] + histogram.width / 2
    low = ends[int(np.searchsorted(total, 1 - _PERCENTILE, side="right"))] - histogram.width / 2
    return _within(histogram, low, high)


def mse_range(histogram: Histogram) -> Range:
    """Return the range of the least mean squared error, of rounding inside it and of clipping outside, 0 in it.

    Each end is searched for beside the other one, twice.
    """
    low, high = _within(histogram, histogram.low, histogram.high)
    extremes = low, high
    for _ in range(2):
        high = min((extremes[1] * share for share in _SHARES), key=lambda end: range_error(histogram, low, end))
        low = min((extremes[0] * share for share in _SHARES), key=lambda end: range_error(histogram, end, high))
    return float(low), float(high)


def range_error(histogram: Histogram, low: float, high: float) -> float:
    """Return the mean squared error of the values in 8 bits of the range from *low* to *high*.

    A value inside is off by step^2 / 12 in the mean square, a value outside by its distance from the end.
    """
    centres, counts = histogram.centres, histogram.counts
    outside = np.maximum(np.maximum(low - centres, centres - high), 0.0)
    step = (high - low) / _STEPS
    errors = np.where(outside > 0, np.square(outside), step**2 / 12)
    return float((errors * counts).sum() / max(int(counts.sum()), 1))


def _within(histogram: Histogram, low: float, high: float) -> Range:
    return float(min(max(low, histogram.low), 0.0)), float(max(min(high, histogram.high), 0.0))


#: Step of a quantization → how it takes a range from a histogram.
METHODS: Mapping[str, Callable[[Histogram], Range]] = {"mse": mse_range, "percentile": percentile_range}


def observe(
    program: Program, samples: Iterable[Array], progress: Progress = silent, count: int = 0
) -> dict[TensorId, Histogram]:
    """Return the histograms of all activations of the float *program* but its inputs and outputs, in one pass.

    Args:
        program: the network in float.
        samples: calibration samples [1, C, H, W], one in memory at a time.
        progress: told how many of *count* are done.
        count: of the samples.
    """
    ends = {*program.inputs, *program.outputs}
    tensors = [out for step in program.steps for out in step.outputs if out not in ends]
    run = program.observer(tensors)
    found: dict[TensorId, Histogram] = {}
    for number, x in enumerate(samples):
        progress("taking histograms", number, count)
        for tensor, value in zip(tensors, run(x), strict=True):
            if value.dtype == np.float32:
                found.setdefault(tensor, Histogram()).add(value)
    return found


def clipped_ranges(histograms: Mapping[TensorId, Histogram], method: str) -> dict[TensorId, Range]:
    """Return the range of each tensor that *method* makes narrower than its extremes."""
    found = {}
    for tensor, histogram in histograms.items():
        extremes = _within(histogram, histogram.low, histogram.high)
        low, high = METHODS[method](histogram)
        if (low, high) != extremes and high > low:
            found[tensor] = low, high
    return found


def ranges_by(
    program: Program, samples: Calibrating, steps: Sequence[str], progress: Progress = silent
) -> dict[TensorId, Range]:
    """Return the ranges that *steps* ask for; `{}` where they leave the extremes."""
    methods = [step for step in steps if step in METHODS]
    if not methods:
        return {}
    each = (samples[index] for index in range(len(samples)))
    return clipped_ranges(observe(program, each, progress, len(samples)), methods[0])


__all__ = [
    "METHODS",
    "Histogram",
    "clipped_ranges",
    "mse_range",
    "observe",
    "percentile_range",
    "range_error",
    "ranges_by",
]
