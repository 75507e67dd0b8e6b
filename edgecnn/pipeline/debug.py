"""Show in which layers an int8 file loses what it loses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.artifact import Artifact
from edgecnn.datasets import Data, DataSource
from edgecnn.errors import EdgecnnError, explain_missing_packages
from edgecnn.evaluate.inputs import image_of, open_for
from edgecnn.evaluate.layers import LayerNoise, layer_noise
from edgecnn.locks import PrivateFolder
from edgecnn.normalization import Normalization
from edgecnn.pipeline.subject import load_subject
from edgecnn.pipeline.writer import Writer
from edgecnn.progress import Progress, silent
from edgecnn.recipe import Recipe
from edgecnn.samples import Samples
from edgecnn.short_repr import short_repr

if TYPE_CHECKING:
    from edgecnn.nets.network import Model

SAMPLES = 32


@dataclass(frozen=True)
class DebugResult:
    """The layers of a file, the one that adds the most noise first."""

    __repr__ = short_repr

    file: str
    against: str
    n: int
    layers: tuple[LayerNoise, ...]

    def share(self, layer: LayerNoise) -> float:
        """Return the share of *layer* in the noise that all layers add; 0 where it adds none."""
        total = sum(max(other.added_noise, 0.0) for other in self.layers)
        return max(layer.added_noise, 0.0) / total if total > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the result of `edgecnn debug --json`."""
        layers = [layer.to_json() | {"share_of_noise": self.share(layer)} for layer in self.layers]
        return {"file": self.file, "against": self.against, "n": self.n, "layers": layers}


@explain_missing_packages()
def debug_int8(
    file: Path | str | Artifact,
    against: Model,
    data: Data,
    *,
    weights: str | Path | None = None,
    samples: int = SAMPLES,
    progress: Progress = silent,
) -> DebugResult:
    """Return what each layer of an int8 file adds to its noise, on evaluation samples.

    Args:
        file: the int8 `.tflite` or `.onnx` file.
        against: the network it was made from, as `edgecnn.build` takes it, or its fp32 file of the same format.
        data: the data, as `open_dataset` takes them.
        weights: see `edgecnn.build`.
        samples: how many are run.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: the file is no int8 file, or was made from another network.
    """
    candidate = Artifact.open(file)
    if candidate.precision in ("fp32", "fp16"):
        kind = f"{candidate.format} {candidate.precision}"
        raise EdgecnnError(f"{candidate.path}: debug reads quantized files; this is {kind}")
    if isinstance(against, (str, Path)) and str(against).endswith(f".{candidate.format}"):
        reference = Artifact.open(against)
        dataset = open_for(image_of(reference), data)
        return _debugged(
            candidate,
            reference,
            dataset.evaluation.take(samples),
            Normalization.of(DataSource.of(data).normalization) or dataset.normalization,
        )
    subject = load_subject(against, data=data, weights=weights)
    with PrivateFolder() as folder:
        progress(f"writing {candidate.format} fp32")
        reference = Writer(subject, Recipe("debug", "", {}), Path(folder), progress).write(candidate.format, "fp32")
        found = _debugged(candidate, reference, subject.data.evaluation.take(samples), subject.normalization)
    return replace(found, against=subject.name)


def _debugged(
    candidate: Artifact, reference: Artifact, samples: Samples, normalization: Normalization | None
) -> DebugResult:
    layers = layer_noise(reference, candidate, samples, normalization)
    if not layers:
        raise EdgecnnError(
            f"{candidate.path} has other operators than {reference.path.name}; give the network that it was made from"
        )
    worst_first = tuple(sorted(layers, key=lambda layer: -layer.added_noise))
    return DebugResult(str(candidate.path), str(reference.path), len(samples), worst_first)


__all__ = ["DebugResult", "debug_int8"]
