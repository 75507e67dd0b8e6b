"""What can be said of files on a device that is not at hand: latency estimated, memory checked, nothing measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.device import HOST, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.estimate import Estimate, estimate_latency
from edgecnn.fit import FitReport, check_fit
from edgecnn.measurement import SCHEMA_VERSION
from edgecnn.targets import target_of

#: What only a measurement tells; null in the JSON of an estimate.
_NOT_TAKEN = ("runtime_version", "interface", "target", "p90_ns", "p99_ns", "throughput_per_s", "load_ns", "first_ns",
              "peak_rss_bytes", "accuracy")  # fmt: skip


@dataclass(frozen=True)
class Foretold:
    """One file on a device that is not at hand."""

    artifact: Artifact
    estimate: Estimate
    fit: FitReport | None  # None: nothing is known of the device's memory

    def to_json(self) -> dict[str, Any]:
        """Return a result as `edgecnn bench --json` gives it, with `low_ns`, `high_ns` and the memory check added."""
        own = self.artifact
        return {
            "file": str(own.path),
            "format": own.format,
            "precision": own.precision,
            "sha256": own.sha256,
            "size_bytes": own.size_bytes,
            **dict.fromkeys(_NOT_TAKEN),
            **{key: [] for key in ("assumptions", "warnings", "values_ns", "runs")},
            "conditions": {},
            **self.estimate.to_json(),
            "fit": self.fit.to_json() if self.fit else None,
        }


def is_at_hand(device: str) -> bool:
    """Return whether *device* is this machine, or the user's configuration ties a target to it."""
    return device == HOST or target_of(device) != "local"


def foretell_files(
    files: Sequence[Path | str], device: str, *, runtimes: Sequence[str] = (), threads: Sequence[int] = ()
) -> list[Foretold]:
    """Return what each file will take on *device*, for each of *runtimes* and *threads*.

    Without *runtimes* it is the usual one of the file, without *threads* the most for which there are coefficients.

    Raises:
        EdgecnnError: a broken file, an unknown device, or no coefficients for what is asked.
    """
    if not files:
        raise EdgecnnError("give FILES to estimate: .tflite or .onnx")
    profile = load_device(device)
    found = []
    for artifact in map(Artifact.open, files):
        fit = check_fit(artifact.path, profile) if profile.region("ram") else None
        for runtime in runtimes or (None,):
            for count in threads or (None,):
                estimate = estimate_latency(artifact.path, profile, count, runtime=runtime)
                found.append(Foretold(artifact, estimate, fit))
    return found


def to_document(foretold: Sequence[Foretold]) -> dict[str, Any]:
    """Return the JSON document of *foretold*, of the same form as that of measurements."""
    return {"schema_version": SCHEMA_VERSION, "results": [one.to_json() for one in foretold]}


__all__ = ["Foretold", "foretell_files", "is_at_hand", "to_document"]
