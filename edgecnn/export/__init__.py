"""Turn a network into ONNX and TFLite files, and float files into quantized ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import METADATA_KEY, Artifact
from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.formats import FORMATS, Graph
from edgecnn.formats.precision import MIXED, PRECISIONS, precision_of
from edgecnn.normalization import Normalization, preprocess
from edgecnn.progress import Progress, silent
from edgecnn.recipe import MINMAX, WRITABLE, Recipe
from edgecnn.samples import Samples
from edgecnn.short_repr import short_repr
from edgecnn.user_code import load_attribute

__all__ = [
    "METADATA_KEY",
    "CalibrationInputs",
    "FileFacts",
    "inputs_of",
    "quantize",
    "quantized_metadata",
    "shown_precision",
    "versions",
]

Found = TypeVar("Found")


@dataclass(frozen=True)
class FileFacts:
    """What travels in every file as metadata; the writers add precision, layout, tools and calibration."""

    model: str
    normalization: Normalization | None = None
    labels: tuple[str, ...] | None = None
    weights_sha256: str | None = None
    judged_by: Mapping[str, Any] = field(default_factory=dict)  # `task`, `metric` and `decode`

    def to_json(self, **written: Any) -> dict[str, Any]:
        """Return the metadata document, with what the writer knows in *written*."""
        import edgecnn

        norm = self.normalization
        return {
            "edgecnn_version": edgecnn.__version__,
            "model": self.model,
            "normalization": None if norm is None else {"mean": list(norm.mean), "std": list(norm.std)},
            "labels": None if self.labels is None else list(self.labels),
            "weights_sha256": self.weights_sha256,
            **self.judged_by,
            **written,
        }


@dataclass(frozen=True)
class CalibrationInputs:
    """Calibration samples as the network wants them: float32 [1, C, H, W] one by one, streamed, never all in memory.

    Example:
        >>> digits = edgecnn.open_dataset("digits")
        >>> len(edgecnn.CalibrationInputs(digits.calibration(16), digits.normalization))
        16
    """

    __repr__ = short_repr

    samples: Samples
    normalization: Normalization | None
    source: str | None = None  # the data set's name
    #: What one pass over them gave a quantizer, by what it passed through; a search asks for the same many times.
    seen: dict[str, Any] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        """Return sample *index*, float32 [1, C, H, W]."""
        x = self.samples.images[self.samples.indices[index : index + 1]]
        return preprocess(x, self.normalization)

    def once(self, what: str, content: bytes, find: Callable[[], Found]) -> Found:
        """Return what *find* finds by a pass of the samples through the file *content*; *what*: the kind of thing."""
        if not self.knows(what, content):
            self.seen[_key(what, content)] = find()
        found: Found = self.seen[_key(what, content)]
        return found

    def knows(self, what: str, content: bytes) -> bool:
        """Return whether `once` has found this already."""
        return _key(what, content) in self.seen


def _key(what: str, content: bytes) -> str:
    return f"{what} {hashlib.sha256(content).hexdigest()}"


def inputs_of(artifact: Artifact, x: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Return one calibration sample as *artifact* takes it: an array for each input, in its layout.

    Args:
        artifact: a float file.
        x: [1, C, H, W]; for several inputs [1, values], those of each after those of the one before.
    """
    parts, start = [], 0
    last = artifact.layout == "NHWC"
    for spec in artifact.inputs:
        shape = tuple(spec.shape[1:])
        first = (shape[2], *shape[:2]) if last and len(shape) == 3 else shape
        part = x if len(artifact.inputs) == 1 else x[:, start : start + prod(shape)].reshape(-1, *first)
        start += prod(shape)
        parts.append(np.ascontiguousarray(part.transpose(0, 2, 3, 1) if last and part.ndim == 4 else part))
    return parts


def quantize(
    artifact: Artifact | Path | str,
    path: Path | str,
    precision: str,
    *,
    recipe: Recipe | None = None,
    calibration: CalibrationInputs | None = None,
    in_float: Sequence[str] = (),
    progress: Progress = silent,
) -> Artifact:
    """Write the float file *artifact* at another *precision* to *path*, with all that its metadata says.

    Args:
        artifact: an fp32 file that `to_onnx` or `to_tflite` wrote, or its path.
        path: the file to write, whole or not at all.
        precision: `fp16`, `w8` (dynamic), `w4` (as `w8`, with linear layers' weights in 4 bits), `w8a8` or `w8a16`
            (static; these need *calibration*), as the format allows.
        recipe: gives the dtype of input and output of a static file; None: float.
        calibration: samples that the activations' ranges come from.
        in_float: operators of a static file that stay in float, by their `Operator.name` in the float file; where they
            hold weights, the file's precision is `mixed`.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: a precision the format cannot be written in, no calibration samples for a static one, no linear
            layer for `w4`, or an operator *in_float* that the file has not.

    Example:
        >>> edgecnn.quantize("classifier.tflite", "classifier.w8.tflite", "w8").precision
        'w8'
    """
    artifact, path = Artifact.open(artifact), Path(path)
    if precision not in WRITABLE[artifact.format]:
        raise unknown_name(f"{artifact.format} precision", precision, WRITABLE[artifact.format])
    calibrated = PRECISIONS[precision].calibrated
    if calibrated and len(artifact.inputs) > 1 and (recipe or Recipe("", "", {})).quantize != MINMAX:
        raise EdgecnnError(
            f"{artifact.path.name} has {len(artifact.inputs)} inputs, and edgecnn corrects networks with one; give "
            f"--quantize {MINMAX}"
        )
    if calibrated and not (calibration and len(calibration)):
        raise EdgecnnError(f"{precision} needs calibration samples: give --data, or --input to calibrate on noise")
    if artifact.precision != "fp32":
        raise EdgecnnError(f"{artifact.path} is {artifact.precision} already; quantize the fp32 file")
    names = {operator.name for operator in artifact.graph.operators}
    for name in in_float:
        if name not in names or not calibrated:
            raise unknown_name(f"operator of {artifact.path.name} to keep in float", name, names if calibrated else ())
    quantizer = load_attribute(FORMATS[artifact.format].quantizer)
    samples = calibration if calibrated else None
    quantizer(artifact, path, precision, recipe or Recipe("", "", {}), samples, tuple(in_float), progress)
    return Artifact.open(path)


def quantized_metadata(
    artifact: Artifact,
    precision: str,
    recipe: Recipe,
    calibration: CalibrationInputs | None,
    packages: tuple[str, ...],
    **written: Any,
) -> dict[str, Any]:
    """Return the metadata of a file quantized from *artifact* with the help of *packages*."""
    return {
        **artifact.metadata,
        "precision": precision,
        "layout": artifact.layout,
        "recipe": recipe.name or None,
        "calibration": calibration and calibration.source,
        "calibration_samples": len(calibration) if calibration is not None else None,
        "tools": {**artifact.metadata.get("tools", {}), **versions(packages)},
        **written,
    }


def shown_precision(precision: str, graph: Graph) -> str:
    """Return what the file *graph*, written as *precision*, is called: `mixed` where some layers are in float."""
    return MIXED if PRECISIONS[precision].calibrated and precision_of(graph).name == MIXED else precision


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the installed version of each package."""
    return {package: version(package) for package in packages}
