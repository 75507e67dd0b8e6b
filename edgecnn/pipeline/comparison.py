"""How long the files just written take on a device: estimated, or measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.choice import Choice, choose, choose_predicted
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.benchmarks.predict import Prediction, predict_files
from edgecnn.device import HOST
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import estimate_latency
from edgecnn.evaluate.files import Evaluation
from edgecnn.evaluate.verify import ExportedFile
from edgecnn.measurement import Measurement
from edgecnn.progress import Progress, silent
from edgecnn.short_repr import short_repr
from edgecnn.units import format_ns

_BRIEF = BenchmarkConfig(processes=1, warmup_s=0.1, min_time_s=0.3, max_time_s=10.0, min_values=10)


@dataclass(frozen=True)
class Latency:
    """The median time of one call, and where it is from."""

    ns: float
    method: str  # "estimated for rpi4"


def latency_of(artifact: Artifact, device: str | None) -> Latency | None:
    """Return the latency of *artifact* on *device*, in the usual runtime with one thread; None where nothing tells it.

    Args:
        artifact: a file.
        device: the name of a device, whose profile it is estimated by; None or `host`: it is measured on this machine.
    """
    try:
        if device in (None, HOST):
            ns = measure(artifact, effort=_BRIEF).p50_ns
            return None if ns is None else Latency(ns, "measured briefly on this machine")
        return Latency(estimate_latency(artifact.graph, str(device)).p50_ns, f"estimated for {device}")
    except EdgecnnError:
        return None


@dataclass(frozen=True)
class Comparison:
    """The files of an export that keep their limits, on one device: measured on this machine, else estimated."""

    __repr__ = short_repr

    device: str
    measured: tuple[Measurement, ...]
    predicted: tuple[Prediction, ...]
    choices: tuple[Choice, ...]  # the fastest file; none where less than two are known

    @property
    def slower_int8(self) -> tuple[str, ...]:
        """A sentence for each int8 file that is no faster than a float file of the same format."""
        times = [(Artifact.open(one.file), one.p50_ns) for one in self.measured if one.p50_ns is not None]
        times += [(one.artifact, one.estimate.p50_ns) for one in self.predicted if one.estimate is not None]
        how = "measured" if self.measured else "estimated"
        told = []
        for artifact, ns in times:
            floats = [
                (other_ns, other.path.name)
                for other, other_ns in times
                if other.format == artifact.format and other.precision in ("fp32", "fp16")
            ]
            if artifact.precision not in ("fp32", "fp16") and floats and min(floats)[0] <= ns:
                other_ns, name = min(floats)
                told.append(
                    f"{artifact.path.name} is not the fastest on {self.device}: {format_ns(ns)}, {name} takes "
                    f"{format_ns(other_ns)}, {how}"
                )
        return tuple(told)

    def to_json(self) -> dict[str, Any]:
        """Return `{results, choices}`, as `edgecnn bench --json` has them."""
        results = [*(one.to_json() for one in self.measured), *(one.to_json() for one in self.predicted)]
        return {"results": results, "choices": [choice.to_json() for choice in self.choices]}


def compare_on(files: Sequence[ExportedFile], device: str, progress: Progress = silent) -> Comparison:
    """Return how *files* compare on *device*; of those with a score that limits are about, the fastest is chosen.

    Args:
        files: of an export; rejected ones are left out.
        device: `host` for this machine, where they are measured with one thread, else estimated.
        progress: told the measurements.

    Raises:
        EdgecnnError: an unknown device.
    """
    good = [file for file in files if file.rejected is None]
    if device == HOST:
        measured = tuple(replace(measure(file.artifact, progress=progress), scores=tuple(file.scores)) for file in good)
        return Comparison(device, measured, (), tuple(choose(measured, by_speed=True)))
    predicted: tuple[Prediction, ...] = ()
    if good:
        scores = {file.path: Evaluation(tuple(file.scores)) for file in good}
        predicted = tuple(predict_files([file.path for file in good], device, evaluate=lambda own, _: scores[own.path]))
    return Comparison(device, (), predicted, tuple(choose_predicted(predicted, by_speed=True)))


__all__ = ["Comparison", "Latency", "compare_on", "latency_of"]
