"""How close two runs over the same samples are: each output, and each channel of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.short_repr import short_repr

Outputs = list[npt.NDArray[Any]]  # [n, ...] each, channels first

#: Values that are looked at at a time, in double precision: an output may be a large image itself.
_AT_ONCE = 1 << 21
#: A channel of fewer values is not judged by itself: its variance is chance.
_LEAST_VALUES = 8
#: Of an output [n, a, b] either axis may be that of the channels; an axis of more entries is that of positions.
_MOST_CHANNELS = 256
#: A channel whose standard deviation is less than this share of its largest value is constant.
_CONSTANT = 1e-4
#: Errors this small do not count against a channel: half a step of int8 over 0 to 1 where all its values are scores
#: within that, else this share of its largest value.
_SCORE_ERROR, _SHARE_OF_ERROR = 0.5 / 255, 1e-3
#: A constant channel that moves by more than this share of its largest value (one step of int8) is told.
_MOVED = 1 / 127


@dataclass(frozen=True)
class Part:
    """One output, or one channel of it."""

    output: int
    signal: float  # variance of the reference, or its mean square (see `parity_of`); of class numbers: 0
    noise: float  # mean squared difference
    axis: int | None = None  # of the channel, in [n, ...] with channels first; None: the whole output
    channel: int | None = None
    agreement: float | None = None  # of class numbers: the share that is the same

    @property
    def sqnr_db(self) -> float | None:
        """10 log10(signal / noise) in dB; None where the two are the same to the last bit, or there is no signal."""
        return 10 * math.log10(self.signal / self.noise) if self.noise > 0 and self.signal > 0 else None

    def __str__(self) -> str:
        """Return `output 0`, or `channel 7 of output 0`."""
        axis = f" (axis {self.axis})" if self.axis not in (None, 1) else ""
        return (
            f"output {self.output}" if self.channel is None else f"channel {self.channel}{axis} of output {self.output}"
        )

    def to_json(self) -> dict[str, float | int | None]:
        """Return `{output, axis, channel, sqnr_db, agreement}`."""
        own = {"output": self.output, "axis": self.axis, "channel": self.channel}
        return {**own, "sqnr_db": self.sqnr_db, "agreement": self.agreement}


@dataclass(frozen=True)
class Parity:
    """The difference of two runs over the same *n* samples: all outputs together, and the parts that are judged."""

    __repr__ = short_repr

    max_abs_diff: float
    signal: float  # sum of the reference's squares
    noise: float  # sum of the squared differences
    top1_agreement: float | None  # the share of answers (classes of samples, of pixels) that are the same; None: none
    n: int
    parts: tuple[Part, ...] = ()
    moved: tuple[Part, ...] = ()  # channels that are constant in the reference, and another constant in the candidate

    @property
    def sqnr_db(self) -> float | None:
        """10 log10(signal / noise) in dB; None where the two are the same to the last bit, or the reference is 0."""
        return 10 * math.log10(self.signal / self.noise) if self.noise > 0 and self.signal > 0 else None

    @property
    def worst(self) -> Part | None:
        """The part with the lowest SQNR; None where none has one."""
        known = [(part.sqnr_db, part) for part in self.parts if part.sqnr_db is not None]
        return min(known, key=lambda pair: pair[0])[1] if known else None

    @property
    def least_agreeing(self) -> Part | None:
        """The output of class numbers with the lowest agreement; None where no output is such."""
        known = [(part.agreement, part) for part in self.parts if part.agreement is not None]
        return min(known, key=lambda pair: pair[0])[1] if known else None

    def to_json(self) -> dict[str, Any]:
        """Return `{max_abs_diff, sqnr_db, top1_agreement, n, worst, least_agreeing, moved}`."""
        worst, least = self.worst, self.least_agreeing
        return {
            "max_abs_diff": self.max_abs_diff,
            "sqnr_db": self.sqnr_db,
            "top1_agreement": self.top1_agreement,
            "n": self.n,
            "worst": worst and worst.to_json(),
            "least_agreeing": least and least.to_json(),
            "moved": [part.to_json() for part in self.moved],
        }


@dataclass
class ParityTally:
    """What is known so far of how close a candidate's outputs are to a reference's, over batches of the same samples.

    Judged are each output and each channel of it, by the ratio of signal to noise. The signal is the variance over
    samples and positions: a constant part carries nothing, and hides damage. An output of integers (class numbers) is
    judged by how many are the same. A channel does not count by itself where

    - it has fewer than 8 values, or its output is a distribution over classes (scores that add up to 1), of which one
      class may be right once in a thousand samples: that output is judged as a whole;
    - it is constant in the reference; where the candidate moves it by a step of int8, it is among `moved`;
    - its error is less than half a step of int8 over 0 to 1 where all its values are within that (scores of a class
      that does not occur), or less than a thousandth of its largest value.

    Args:
        centred: whether the constant part is taken away. Noise as input hardly moves the outputs: there what is
            constant counts as signal, and an output [n, c] is judged as a whole.
        answers: what of the outputs is the same or not, as `Task.answers`; None: no agreement is counted.
    """

    centred: bool = True
    answers: Callable[[Sequence[npt.NDArray[Any]]], npt.NDArray[Any]] | None = None
    n: int = 0
    same: int = 0
    answered: int = 0
    outputs: list[_Tally] = field(default_factory=list)

    def add(self, reference: Sequence[npt.NDArray[Any]], candidate: Sequence[npt.NDArray[Any]]) -> None:
        """Add a batch of outputs [n, ...] of both.

        Raises:
            EdgecnnError: they differ in number or shape.
        """
        if [a.shape for a in reference] != [b.shape for b in candidate]:
            shapes = [[list(a.shape[1:]) for a in outputs] for outputs in (reference, candidate)]
            raise EdgecnnError(f"the two files have outputs of different shapes: {shapes[0]} and {shapes[1]}")
        self.outputs = self.outputs or [_Tally(number, b.dtype.kind in "iub") for number, b in enumerate(candidate)]
        for tally, a, b in zip(self.outputs, reference, candidate, strict=True):
            rows = max(1, _AT_ONCE // max(a[:1].size, 1))
            for start in range(0, len(a), rows):
                real = a[start : start + rows].astype(np.float64)
                tally.add(real, real - b[start : start + rows])
        if self.answers is not None:
            first, second = self.answers(reference), self.answers(candidate)
            self.same += int((first == second).sum())
            self.answered += first.size
        self.n += len(reference[0])

    @property
    def parity(self) -> Parity:
        """The parity of all batches.

        Raises:
            EdgecnnError: there were none.
        """
        if self.n == 0:
            raise EdgecnnError("no samples to compare on")
        tallies = self.outputs
        return Parity(
            max((tally.biggest for tally in tallies), default=0.0),
            sum(tally.signal for tally in tallies),
            sum(tally.noise for tally in tallies),
            self.same / self.answered if self.answered else None,
            self.n,
            tuple(part for tally in tallies for part in tally.parts(self.centred)),
            tuple(part for tally in tallies for part in tally.moved()) if self.centred else (),
        )


def parity_of(
    pairs: Iterable[tuple[Outputs, Outputs]],
    *,
    centred: bool = True,
    answers: Callable[[Sequence[npt.NDArray[Any]]], npt.NDArray[Any]] | None = None,
) -> Parity:
    """Return the parity over *pairs* of (reference, candidate) outputs, each a list of arrays [n, ...].

    Args:
        pairs: batches of both runs.
        centred: see `ParityTally`.
        answers: see `ParityTally`.

    Raises:
        EdgecnnError: the two give different outputs in number or shape, or there are none.
    """
    tally = ParityTally(centred, answers)
    for reference, candidate in pairs:
        tally.add(reference, candidate)
    return tally.parity


@dataclass
class _Sums:
    """Sums over all values of each entry [c] of one axis, float64; the reference's own less *start*, its first mean."""

    axis: int
    start: Any
    count: int = 0
    first: Any = 0.0
    square: Any = 0.0
    noise: Any = 0.0
    low: Any = np.inf
    high: Any = -np.inf

    def add(self, a: npt.NDArray[np.float64], difference: npt.NDArray[np.float64]) -> None:
        """Add a batch [n, ...]."""
        others = tuple(axis for axis in range(a.ndim) if axis != self.axis)
        shape = tuple(-1 if axis == self.axis else 1 for axis in range(a.ndim))
        shifted = a - self.start.reshape(shape)
        self.count += a.size // a.shape[self.axis]
        self.first = self.first + shifted.sum(axis=others)
        self.square = self.square + np.square(shifted).sum(axis=others)
        self.noise = self.noise + np.square(difference).sum(axis=others)
        self.low = np.minimum(self.low, a.min(axis=others))
        self.high = np.maximum(self.high, a.max(axis=others))

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """The variance of each entry [c]."""
        return np.asarray(np.maximum(self.square / self.count - np.square(self.first / self.count), 0.0))

    @property
    def power(self) -> npt.NDArray[np.float64]:
        """The mean square of each entry [c]."""
        return np.asarray(self.variance + np.square(self.start + self.first / self.count))

    @property
    def error(self) -> npt.NDArray[np.float64]:
        """The mean squared difference of each entry [c]."""
        return np.asarray(self.noise / self.count)

    @property
    def largest(self) -> npt.NDArray[np.float64]:
        """The largest absolute value of each entry [c]."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)))

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Whether an entry [c] hardly varies."""
        return np.asarray(np.sqrt(self.variance) <= _CONSTANT * self.largest)


@dataclass
class _Tally:
    """What is known so far of one output."""

    output: int
    is_classes: bool
    channels: list[_Sums] = field(default_factory=list)  # of each axis that may be that of the channels
    rank: int = 0
    biggest: float = 0.0  # the largest absolute difference
    signal: float = 0.0  # sum of the reference's squares
    noise: float = 0.0  # sum of the squared differences
    same: int = 0
    count: int = 0
    distribution: bool = True

    def add(self, a: npt.NDArray[np.float64], difference: npt.NDArray[np.float64]) -> None:
        """Add a batch of the reference [n, ...] and its difference to the candidate."""
        if a.ndim == 1:
            a, difference = a[:, None], difference[:, None]
        if not self.channels:
            for axis in _axes_of(a.shape):
                others = tuple(other for other in range(a.ndim) if other != axis)
                self.channels.append(_Sums(axis, a.mean(axis=others)))
        for sums in self.channels:
            sums.add(a, difference)
        self.biggest = max(self.biggest, float(np.abs(difference).max(initial=0.0)))
        self.signal += float(np.square(a).sum())
        self.noise += float(np.square(difference).sum())
        self.same += int((difference == 0).sum())
        self.count += a.size
        self.rank = a.ndim
        self.distribution = self.distribution and _is_distribution(a)

    def parts(self, centred: bool) -> Iterator[Part]:
        """Yield the output, then those of its channels that count."""
        if self.is_classes:
            yield Part(self.output, 0.0, 0.0, agreement=self.same / max(self.count, 1))
            return
        first = self.channels[0]
        signal = first.variance if centred and not np.all(first.constant) else first.power
        yield Part(self.output, float(signal.sum()), float(first.error.sum()))
        if self.distribution or (self.rank == 2 and not centred):
            return
        for sums in self.channels:
            if sums.count < _LEAST_VALUES or len(sums.error) == 1:
                continue
            signal = sums.variance if centred else sums.power
            scores = (sums.low >= 0) & (sums.high <= 1)
            least = np.where(scores, _SCORE_ERROR, _SHARE_OF_ERROR * sums.largest)
            counts = (np.sqrt(sums.error) > least) & ~(sums.constant & centred)
            for channel in np.flatnonzero(counts):
                yield Part(self.output, float(signal[channel]), float(sums.error[channel]), sums.axis, int(channel))

    def moved(self) -> Iterator[Part]:
        """Yield the channels that are constant in the reference and that the candidate moves."""
        sums = self.channels[0]
        if self.is_classes or np.all(sums.constant):
            return
        by = np.sqrt(sums.error) > _MOVED * np.where(sums.largest > 0, sums.largest, sums.largest.max())
        for channel in np.flatnonzero(sums.constant & by):
            yield Part(self.output, 0.0, float(sums.error[channel]), sums.axis, int(channel))


def _axes_of(shape: Sequence[int]) -> list[int]:
    """Return the axes of [n, c, ...] whose entries are channels: the second, or of three those of few entries."""
    if len(shape) != 3:
        return [1]
    few = [axis for axis in (1, 2) if shape[axis] <= _MOST_CHANNELS]
    return few or [1 if shape[1] <= shape[2] else 2]


def _is_distribution(a: npt.NDArray[np.float64]) -> bool:
    """Return whether each row of [n, c, ...] is one of scores that add up to 1 over the classes."""
    return a.ndim > 1 and a.shape[1] > 1 and bool(a.min() >= 0 and np.allclose(a.sum(axis=1), 1, atol=1e-3))


__all__ = ["Outputs", "Parity", "ParityTally", "Part", "parity_of"]
