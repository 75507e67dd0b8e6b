"""Judge an exported file against the network it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.compare import Parity
from edgecnn.measurement import Accuracy
from edgecnn.recipe import Limits


@dataclass(frozen=True)
class ExportedFile:
    """One written file, and how it stands beside the original network on the same samples."""

    artifact: Artifact
    accuracy: Accuracy | None
    parity: Parity
    float_operators: tuple[tuple[str, str], ...]  # of a w8a8 file: (kind, output) of what still computes in float
    rejected: str | None  # the limit it breaks; its name then ends in `.rejected`
    path: Path

    def to_json(self) -> dict[str, Any]:
        """Return the file's entry of `edgecnn export --json`."""
        return {
            "path": str(self.path),
            "format": self.artifact.format,
            "precision": self.artifact.precision,
            "size_bytes": self.artifact.size_bytes,
            "accuracy": self.accuracy and self.accuracy.to_json(),
            "parity": self.parity.to_json(),
            "float_operators": [f"{kind} {output}" for kind, output in self.float_operators],
            "rejected": self.rejected,
        }


def broken_limit(limits: Limits, parity: Parity, accuracy: Accuracy | None, reference: Accuracy | None) -> str | None:
    """Return the sentence that says which limit is broken, None where none is."""
    if limits.max_accuracy_drop is not None and accuracy is not None and reference is not None:
        drop = reference.top1 - accuracy.top1
        # In whole samples: a single one that tips over is rounding, however few there are.
        if reference.correct - accuracy.correct > max(1.0, limits.max_accuracy_drop * accuracy.n + 1e-9):
            return (
                f"accuracy fell by {100 * drop:.2f} points (from {100 * reference.top1:.2f} to "
                f"{100 * accuracy.top1:.2f} % of {accuracy.n}), the recipe allows {100 * limits.max_accuracy_drop:.2f}"
            )
    sqnr = parity.sqnr_db
    if limits.min_sqnr_db is not None and sqnr is not None and sqnr < limits.min_sqnr_db:
        return f"signal to quantization noise is {sqnr:.1f} dB, the recipe asks for {limits.min_sqnr_db:.1f}"
    return None
