"""`choose`: which of the measured or estimated files to ship for a device, and how far it is ahead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.benchmarks.changes import COMPARED_PROCESSES
from edgecnn.benchmarks.predict import Prediction
from edgecnn.benchmarks.shift import shift_between
from edgecnn.measurement import MEASURED, Measurement, to_document
from edgecnn.tasks.score import Score, title_of
from edgecnn.units import format_ns

#: Three processes each that do not overlap are enough: of equal files one in twenty comes out so.
CONFIDENCE = 0.89
#: A file that takes longer than so many times the fastest is not taken for its accuracy or size, noisy as it may be.
CLOSE = 1.1


@dataclass(frozen=True)
class Candidate:
    """One result that can be shipped: a file in a runtime with a number of threads."""

    file: str
    runtime: str
    threads: int
    size_bytes: int
    p50_ns: float
    score: Score | None = None
    medians_ns: tuple[float, ...] = ()  # of its processes; an estimate has none ...
    band_ns: tuple[float, float] | None = None  # ... but a band

    @property
    def label(self) -> str:
        """`m.w8a8.tflite (litert, 2 threads)`."""
        return f"{Path(self.file).name} ({self.runtime}, {self.threads} thread{'s' * (self.threads > 1)})"


@dataclass(frozen=True)
class Choice:
    """What to ship for a device.

    `ahead` and `beyond_noise` are of the chosen result beside the fastest other one that is as accurate.
    """

    device: str
    chosen: Candidate
    second: Candidate | None  # None: nothing else is as accurate
    ahead: float | None  # how many times as fast as the second
    beyond_noise: bool | None
    faster: Candidate | None  # the fastest that is less accurate, where one is faster than the chosen
    estimated: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the choice for `--json`, with its sentence."""

        def plain(own: Candidate | None) -> dict[str, Any] | None:
            if own is None:
                return None
            return {**asdict(own), "score": own.score.to_json() if own.score else None}

        candidates = {key: plain(getattr(self, key)) for key in ("chosen", "second", "faster")}
        own = {key: getattr(self, key) for key in ("device", "ahead", "beyond_noise", "estimated")}
        return {**own, **candidates, "sentence": str(self)}

    def __str__(self) -> str:
        """`ship m.w8a8.tflite (litert, 1 thread) for rpi4: 12 ms at 87.0 % top-1, 1.8 times as fast as ...`."""
        figure = f"{'estimated ' * self.estimated}{format_ns(self.chosen.p50_ns)}{_at(self.chosen)}"
        parts = [f"ship {self.chosen.label} for {self.device}: {figure}"]
        if self.second is not None and self.ahead is not None:
            other = f"{self.second.label}{_at(self.second)}"
            beside = f"{self.ahead:.2f} times as fast as {other}"
            if self.ahead < 1:
                beside = f"{other} is {1 / self.ahead:.2f} times as fast"
            parts.append(f"{beside}, {self._noise()}")
        if self.faster is not None:
            times = self.chosen.p50_ns / self.faster.p50_ns
            parts.append(f"{self.faster.label} is {times:.2f} times as fast but less accurate{_at(self.faster)}")
        return "; ".join(parts)

    def _noise(self) -> str:
        if self.estimated:
            return "beyond both bands" if self.beyond_noise else "within the bands: measure before you decide"
        if not self.beyond_noise:
            return "within noise: take either, or run edgecnn bench with more --processes"
        count = len(self.chosen.medians_ns)
        if count >= COMPARED_PROCESSES:
            return "beyond noise"
        return f"beyond noise by {count} processes; edgecnn bench --processes {COMPARED_PROCESSES} makes it sure"


def _at(own: Candidate) -> str:
    return "" if own.score is None else f" at {own.score.text} {title_of([own.score])}"


def choose(results: Sequence[Measurement], *, by_speed: bool = False) -> list[Choice]:
    """Return what to ship for each device with at least two measured results.

    Counts of instructions are no times, and nothing is chosen by them. With *by_speed* all of them are accurate enough.

    Example:
        >>> choose(edgecnn.read_measurements("results.json"))
        []
    """
    measured = [one for one in results if one.method == MEASURED and one.p50_ns is not None]
    found = []
    for device in dict.fromkeys(one.device for one in measured):
        own = [_measured(one) for one in measured if one.device == device]
        if len(own) > 1:
            found.append(_choice(device, own, by_speed))
    return found


def with_choices(results: Sequence[Measurement]) -> dict[str, Any]:
    """Return the JSON document of *results*, with what to ship."""
    return to_document(results) | {"choices": [choice.to_json() for choice in choose(results)]}


def choose_predicted(predictions: Sequence[Prediction], *, by_speed: bool = False) -> list[Choice]:
    """Return what to ship for each device with at least two estimates, of the files that fit it.

    With *by_speed* all of them are accurate enough.
    """
    fitting = [one for one in predictions if one.estimate is not None and (one.fit is None or one.fit.fits)]
    found = []
    for device in dict.fromkeys(one.device for one in fitting):
        own = list(_predicted(one for one in fitting if one.device == device))
        if len(own) > 1:
            found.append(_choice(device, own, by_speed))
    return found


def _measured(one: Measurement) -> Candidate:
    medians = tuple(run.median_ns for run in one.runs if run.median_ns is not None)
    p50_ns = one.p50_ns or math.inf
    return Candidate(one.file, one.runtime, one.threads, one.size_bytes, p50_ns, one.score, medians)


def _predicted(predictions: Iterator[Prediction]) -> Iterator[Candidate]:
    for one in predictions:
        estimate, score = one.estimate, one.evaluation.score
        if estimate is not None:
            file, size, band = str(one.artifact.path), one.artifact.size_bytes, (estimate.low_ns, estimate.high_ns)
            runtime, threads = estimate.runtime, estimate.threads
            yield Candidate(file, runtime, threads, size, estimate.p50_ns, score, band_ns=band)


def _choice(device: str, candidates: Sequence[Candidate], by_speed: bool) -> Choice:
    """Return the fastest of those as accurate as the best; of several within noise the more accurate, then smaller.

    With *by_speed* it is the fastest of all.
    """
    accurate = sorted(candidates if by_speed else _accurate(candidates), key=lambda one: one.p50_ns)
    fastest = accurate[0]
    close = [
        fastest,
        *(one for one in accurate[1:] if one.p50_ns <= CLOSE * fastest.p50_ns and not _is_beyond_noise(fastest, one)),
    ]
    chosen = min(close, key=lambda one: (_loss(one), one.size_bytes, one.p50_ns))
    others = [one for one in accurate if one is not chosen]
    second = others[0] if others else None
    less = [one for one in candidates if one not in accurate and one.p50_ns < chosen.p50_ns]
    return Choice(
        device=device,
        chosen=chosen,
        second=second,
        ahead=None if second is None else second.p50_ns / chosen.p50_ns,
        beyond_noise=None if second is None else _is_beyond_noise(chosen, second),
        faster=min(less, key=lambda one: one.p50_ns, default=None),
        estimated=chosen.band_ns is not None,
    )


def _loss(own: Candidate) -> float:
    """Return what orders by score, the best first."""
    if own.score is None:
        return math.inf
    return -own.score.value if own.score.higher_is_better else own.score.value


def _accurate(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those whose score may be that of the best, by their intervals; all where no score is known."""
    best = min(candidates, key=_loss).score
    if best is None:
        return list(candidates)
    return [one for one in candidates if one.score is not None and _reaches(one.score, best)]


def _reaches(score: Score, best: Score) -> bool:
    """Return whether the better end of the interval reaches *best*; an interval that is not known has no width."""
    end = score.high if score.higher_is_better else score.low
    end = score.value if math.isnan(end) else end
    return end >= best.value if score.higher_is_better else end <= best.value


def _is_beyond_noise(faster: Candidate, other: Candidate) -> bool:
    """Return whether *faster* is so for certain: by a U test over processes, or by bands that do not overlap."""
    if faster.band_ns is not None and other.band_ns is not None:
        return faster.band_ns[1] < other.band_ns[0]
    if not faster.medians_ns or not other.medians_ns:
        return False
    return shift_between(np.log(faster.medians_ns), np.log(other.medians_ns), CONFIDENCE).low > 0


__all__ = ["Candidate", "Choice", "choose", "choose_predicted", "with_choices"]
