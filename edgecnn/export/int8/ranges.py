"""Ranges of activations that leave out rare extremes, from histograms that one pass over the samples fills.

A histogram has as many bins whatever the number of samples. Their width is a power of two: where a value lies outside,
neighbouring bins are joined, which gives the counts that wider bins would have had from the start. So the result
depends neither on the order of the samples nor on how many come at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from edgecnn.errors import require
from edgecnn.export.int8.linear import LinearLayer
from edgecnn.export.int8.program import Array, Program, TensorId, linear_layers
from edgecnn.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

Found = TypeVar("Found")

Range = tuple[float, float]

_BINS = 4096  # from -L to L
_STEPS = 255  # of int8
_SHARES = np.linspace(0.2, 1.0, 65)  # of an extreme that are tried as the end of a range
_PERCENTILE, _HIGH_PERCENTILE = 0.9999, 0.99999
_EACH = 4  # of the samples, one is held back to choose among the ranges that the others give
_CHOOSING = 8  # samples at most that ranges are chosen on: all their activations are in memory


class Calibrating(Protocol):
    """Calibration samples, each [1, C, H, W] float32 when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Array:
        """Return one sample."""
        ...

    def once(self, what: str, content: bytes, find: Callable[[], Found], /) -> Found:
        """Return what *find* finds, or has found already, by a pass through the file *content*."""
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


def percentile_range(histogram: Histogram, percentile: float = _PERCENTILE) -> Range:
    """Return the range that leaves out one value of 10 000 at either end, or as *percentile* says, 0 in it."""
    total = np.cumsum(histogram.counts) / max(int(histogram.counts.sum()), 1)
    ends = histogram.centres
    high = ends[int(np.searchsorted(total, percentile))] + histogram.width / 2
    low = ends[int(np.searchsorted(total, 1 - percentile, side="right"))] - histogram.width / 2
    return _within(histogram, low, high)


def mse_range(histogram: Histogram) -> Range:
    """Return the range of the least mean squared error, of rounding inside it and of clipping outside, 0 in it.

    Each end is searched for beside the other one, twice.
    """
    return _searched(histogram, range_error)


def entropy_range(histogram: Histogram) -> Range:
    """Return the range whose 256 steps tell the most of how the values are spread, 0 in it.

    It has the least Kullback-Leibler divergence: Migacz 2017, 8-bit Inference with TensorRT,
    https://on-demand.gputechconf.com/gtc/2017/presentation/s7310-8-bit-inference-with-tensorrt.pdf. Each end is
    searched for beside the other one, twice.
    """
    return _searched(histogram, range_divergence)


def _searched(histogram: Histogram, cost: Callable[[Histogram, float, float], float]) -> Range:
    low, high = _within(histogram, histogram.low, histogram.high)
    extremes = low, high
    for _ in range(2):
        high = min((extremes[1] * share for share in _SHARES), key=lambda end: cost(histogram, low, end))
        low = min((extremes[0] * share for share in _SHARES), key=lambda end: cost(histogram, end, high))
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


def range_divergence(histogram: Histogram, low: float, high: float) -> float:
    """Return the Kullback-Leibler divergence of the values, clipped to a range, from the same in its 256 steps.

    Values of one step become equally likely wherever there are any. Zeros are left out: they are exact in every range.
    """
    centres, counts = histogram.centres, histogram.counts.astype(np.float64)
    counts[_BINS // 2] = 0.0
    if high <= low or not counts.any():
        return math.inf
    inside = (centres >= low) & (centres <= high)
    spread = np.where(inside, counts, 0.0)
    places = np.flatnonzero(inside)
    clipped = spread.copy()
    if places.size:
        clipped[places[0]] += counts[centres < low].sum()
        clipped[places[-1]] += counts[centres > high].sum()
    steps = np.clip(((centres - low) * (_STEPS / (high - low))).round(), 0, _STEPS).astype(int)
    filled = (spread > 0).astype(np.float64)
    sums, many = (np.bincount(steps, values, _STEPS + 1) for values in (spread, filled))
    likely = filled * (sums / np.maximum(many, 1.0))[steps]
    p, q = clipped / clipped.sum(), likely / max(likely.sum(), 1.0)
    known = p > 0
    return float((p[known] * np.log(p[known] / np.maximum(q[known], 1e-9))).sum())


def _within(histogram: Histogram, low: float, high: float) -> Range:
    return float(min(max(low, histogram.low), 0.0)), float(max(min(high, histogram.high), 0.0))


#: Step of a quantization → how it takes a range from a histogram.
METHODS: Mapping[str, Callable[[Histogram], Range]] = {
    "mse": mse_range,
    "percentile": percentile_range,
    "entropy": entropy_range,
}
#: The step that chooses among all of these for each tensor.
CHOICE = "ranges"


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
    if CHOICE in steps:
        return chosen_ranges(program, samples, progress)
    if not methods:
        return {}

    def observed() -> dict[TensorId, Histogram]:
        each = (samples[index] for index in range(len(samples)))
        return observe(program, each, progress, len(samples))

    return clipped_ranges(samples.once("histograms", program.pack(), observed), methods[0])


def chosen_ranges(program: Program, samples: Calibrating, progress: Progress = silent) -> dict[TensorId, Range]:
    """Return for each tensor the range of the least error, where that is not its extremes.

    A quarter of the samples is held back. The others give the candidates: extremes, percentiles 99.99 and 99.999, least
    mean squared error and entropy. What is held back decides by the error of what reads the tensor: of the sums of the
    convolutions and linear layers, beside their power, and of the tensor itself where something else reads it.
    """
    held = list(range(_EACH - 1, len(samples), _EACH))
    rest = [index for index in range(len(samples)) if index not in set(held)]
    histograms = observe(program, (samples[index] for index in rest), progress, len(rest))
    candidates: dict[TensorId, list[Range]] = {}
    for tensor, histogram in histograms.items():
        extremes = _within(histogram, histogram.low, histogram.high)
        others = [method(histogram) for method in METHODS.values()]
        others.append(percentile_range(histogram, _HIGH_PERCENTILE))
        known = dict.fromkeys([extremes, *(one for one in others if one[1] > one[0])])
        if len(known) > 1:
            candidates[tensor] = list(known)
    errors = _errors_of_readers(program, candidates, [samples[index] for index in held[:_CHOOSING]], progress)
    best = {tensor: ranges[int(np.argmin(errors[tensor]))] for tensor, ranges in candidates.items() if tensor in errors}
    return {tensor: chosen for tensor, chosen in best.items() if chosen != candidates[tensor][0]}


def _errors_of_readers(
    program: Program, candidates: Mapping[TensorId, Sequence[Range]], samples: Sequence[Array], progress: Progress
) -> dict[TensorId, npt.NDArray[np.float64]]:
    """Return for each tensor and each of its ranges the error of what reads it, as a share of the power."""
    torch = require("torch", "torch")
    layers: dict[TensorId, list[tuple[LinearLayer, Tensor]]] = {}
    for layer in linear_layers(program):
        weights = program.constant(layer.weights)
        assert weights is not None  # a linear layer's weights are constant
        own = torch.from_numpy(np.array(layer.canonical(weights), np.float32, order="C"))
        layers.setdefault(layer.input, []).append((layer, own))
    readers = Counter(tensor for step in program.steps for tensor in set(step.inputs))
    tensors = list(candidates)
    run = program.observer(tensors)
    seen: dict[TensorId, list[Array]] = {tensor: [] for tensor in tensors}
    for number, x in enumerate(samples):
        progress("choosing ranges", number, len(samples))
        for tensor, value in zip(tensors, run(x), strict=True):
            seen[tensor].append(value)
    found = {}
    for tensor in tensors if samples else ():
        values, own = np.stack(seen.pop(tensor)), layers.get(tensor, [])
        powers = np.array(_powers(own, values)) + 1e-30
        rests = (_rounded(values, low, high) - values for low, high in candidates[tensor])
        shares = np.array([_powers(own, rest) for rest in rests]) / powers
        has_others = readers[tensor] > len(own)
        found[tensor] = shares[:, 0 if has_others else 1 :].sum(1)
    return found


def _powers(layers: Sequence[tuple[LinearLayer, Tensor]], values: npt.NDArray[np.float32]) -> list[float]:
    """Return the sum of squares of *values*, and of what each of *layers* makes of them without its bias."""
    sums = [
        sum(float(layer.sums(images, weights).square().sum()) for images in layer.images(list(values)))
        for layer, weights in layers
    ]
    return [float(np.square(values).sum()), *sums]


def _rounded(value: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.float32]:
    """Return *value* in 8 bits of a range, as real numbers."""
    step = np.float32((high - low) / _STEPS)
    zero = np.rint(low / step)
    rounded: npt.NDArray[np.float32] = np.clip(np.rint(value / step), zero, zero + _STEPS).astype(np.float32) * step
    return rounded


__all__ = [
    "CHOICE",
    "METHODS",
    "Histogram",
    "chosen_ranges",
    "clipped_ranges",
    "entropy_range",
    "mse_range",
    "observe",
    "percentile_range",
    "range_divergence",
    "range_error",
    "ranges_by",
]
