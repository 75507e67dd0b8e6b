"""Files on a device that is not at hand: latency estimated, memory checked, nothing measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.device import HOST, DeviceProfile, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import Estimate, NoCoefficientsError, estimate_latency
from edgecnn.evaluate.files import Evaluation, chance_warning
from edgecnn.fit import FitReport, check_fit
from edgecnn.measurement import SCHEMA_VERSION
from edgecnn.targets import target_of
from edgecnn.tasks.score import scores_to_json

#: Keys of an estimate alone; null where there is none.
_ESTIMATED = ("runtime", "threads", "method", "p50_ns", "low_ns", "high_ns", "coverage", "parts_ns")
#: Keys of a measurement alone; null in the JSON of an estimate.
_NOT_TAKEN = ("runtime_version", "interface", "target", "p90_ns", "p99_ns", "throughput_per_s", "load_ns", "first_ns",
              "peak_rss_bytes")  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """One file on a device that is not at hand."""

    artifact: Artifact
    device: str
    estimate: Estimate | None  # None: the profile has no coefficients for it ...
    reason: str | None  # ... as this sentence says
    fit: FitReport | None  # None: nothing is known of the device's memory
    evaluation: Evaluation = field(default_factory=Evaluation)  # measured on this machine, whatever the device

    def to_json(self) -> dict[str, Any]:
        """Return a result as `edgecnn bench --json` gives it, with `low_ns`, `high_ns` and the memory check added."""
        own = self.artifact
        return {
            "file": str(own.path),
            "device": self.device,
            "format": own.format,
            "precision": own.precision,
            "sha256": own.sha256,
            "size_bytes": own.size_bytes,
            **dict.fromkeys((*_NOT_TAKEN, *_ESTIMATED)),
            **{key: [] for key in ("values_ns", "runs", "rests_on", "notes")},
            "assumptions": list(self.evaluation.assumptions),
            "warnings": list(chance_warning("the file", self.evaluation.score)),
            "conditions": {},
            **(self.estimate.to_json() if self.estimate else {}),
            **scores_to_json(self.evaluation.scores),
            "accuracy_device": HOST if self.evaluation.scores else None,
            "no_estimate": self.reason,
            "fit": self.fit.to_json() if self.fit else None,
        }


def has_target(device: str) -> bool:
    """Return whether *device* is this machine, or the user's configuration ties a target to it."""
    return device == HOST or target_of(device) != "local"


def predict_files(
    files: Sequence[Path | str],
    device: DeviceProfile | str,
    *,
    runtimes: Sequence[str] = (),
    threads: Sequence[int] = (),
    cores: str | None = None,
    evaluate: Callable[[Artifact, str | None], Evaluation] | None = None,
) -> list[Prediction]:
    """Return what each file will take on *device*, for each of *runtimes* and *threads*.

    Without *runtimes* it is the usual one of the file, without *threads* the most for which there are coefficients,
    without *cores* the first kind of cores of the device that has some;
    where there are none for those, the estimate is None, and the memory is checked all the same. *evaluate* gives the
    scores of a file in a runtime, on this machine: on another processor a kernel may round otherwise, no more.

    Raises:
        EdgecnnError: a broken file, an unknown device, or no coefficients for *runtimes*, *threads* or *cores* that are
            named.
    """
    if not files:
        raise EdgecnnError("give FILES to estimate: .tflite or .onnx")
    profile = device if isinstance(device, DeviceProfile) else load_device(device)
    found = []
    for artifact in map(Artifact.open, files):
        fit = check_fit(artifact.path, profile) if profile.region("ram") else None
        for runtime in runtimes or (None,):
            evaluation = Evaluation() if evaluate is None else evaluate(artifact, runtime)
            for count in threads or (None,):
                estimate, reason = _estimate(artifact.path, profile, count, runtime, cores)
                found.append(Prediction(artifact, profile.name, estimate, reason, fit, evaluation))
    return found


def _estimate(
    path: Path, profile: DeviceProfile, threads: int | None, runtime: str | None, cores: str | None
) -> tuple[Estimate | None, str | None]:
    try:
        return estimate_latency(path, profile, threads=threads, runtime=runtime, cores=cores), None
    except NoCoefficientsError as error:
        if threads is not None or runtime is not None or cores is not None:
            raise
        return None, str(error)


def how_to_measure(path: Path, device: str) -> str:
    """Return how the latency of the file *path* on *device* becomes a measured one."""
    profile = load_device(device)
    if profile.kind == "mcu":
        return "run the file on the board with your own firmware; edgecnn does not measure microcontrollers"
    return f"edgecnn bench {path} --device {device} --target {profile.target_form}"


def to_document(predicted: Sequence[Prediction]) -> dict[str, Any]:
    """Return the JSON document of *predicted*, of the same form as that of measurements."""
    return {"schema_version": SCHEMA_VERSION, "results": [one.to_json() for one in predicted]}


__all__ = ["Prediction", "has_target", "how_to_measure", "predict_files", "to_document"]
