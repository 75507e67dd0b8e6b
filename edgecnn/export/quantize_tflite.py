"""Quantize a TFLite file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError, require
from edgecnn.export import CalibrationInputs, inputs_of, quantized_metadata, shown_precision
from edgecnn.export.heads import heads_in_float, mixed_heads, mixed_note
from edgecnn.export.int8 import corrected, equalized, narrowed
from edgecnn.export.int8.tflite_program import TfliteProgram
from edgecnn.export.quantizer import Quantizer, Ranges
from edgecnn.export.quiet import quiet
from edgecnn.export.tflite import save_tflite
from edgecnn.export.tflite_activations import kept_in_float
from edgecnn.export.tflite_integers import compute_in_integers
from edgecnn.export.tflite_micro import suit_micro
from edgecnn.export.tflite_model import TFLiteModel
from edgecnn.export.tflite_ranges import widen_degenerate_ranges
from edgecnn.formats.tflite import read_tflite_content
from edgecnn.progress import Progress
from edgecnn.recipe import Recipe

CHUNK = 16  # samples in memory at a time
_LINEAR = "FULLY_CONNECTED"
_SLOW = "w8a16 is for microcontrollers and NPUs: LiteRT has no fast kernels for int16 activations on CPUs"


def quantize_tflite(
    artifact: Artifact,
    path: Path,
    precision: str,
    recipe: Recipe,
    calibration: CalibrationInputs | None,
    in_float: Sequence[str],
    progress: Progress,
) -> None:
    """Write the fp32 file *artifact* to *path* at *precision*, the operators *in_float* as they are.

    Raises:
        EdgecnnError: `w4` of a network without a linear layer.
    """
    if precision == "w4" and all(operator.kind != _LINEAR for operator in artifact.graph.operators):
        raise EdgecnnError(f"{artifact.path.name}: w4 quantizes the weights of linear layers, and it has none; use w8")
    quantizer = Quantizer.find()
    with quiet(f"TFLite {precision} quantization"):
        content = artifact.path.read_bytes()
        done: dict[str, Any]
        notes: tuple[str, ...]
        if calibration is not None:
            floats = TfliteProgram(content, artifact.layout)
            done = equalized(artifact, floats, recipe, calibration, progress)
            content = floats.pack() if done else content
            result, notes = _static(
                quantizer, artifact, content, floats, precision, recipe, calibration, in_float, progress
            )
        else:
            done, notes = {}, ()
            result = quantizer.quantize(content, quantizer.rules(precision), None)
    if calibration is not None:
        integers = TfliteProgram(result, artifact.layout)
        done |= (corrections := corrected(artifact, floats, integers, recipe, calibration, progress))
        result = compute_in_integers(integers.pack() if corrections else result)
        result = suit_micro(result) if recipe.runtime else result
    if notes:
        done["notes"] = [*artifact.metadata.get("notes", ()), *notes]
    if in_float:
        done["in_float"] = list(in_float)
    precision = shown_precision(precision, read_tflite_content(result))
    metadata = quantized_metadata(artifact, precision, recipe, calibration, (quantizer.distribution,), **done)
    save_tflite(result, path, metadata)


def quantizer_inputs(
    content: bytes, artifact: Artifact, calibration: CalibrationInputs, progress: Progress
) -> tuple[str, Iterator[_Chunk]]:
    """Return the key of the signature of the file *content*, and the samples as the quantizer takes them."""
    signature, names = _signature(content)
    return signature, _chunks(artifact, calibration, names, progress)


def _static(
    quantizer: Quantizer,
    artifact: Artifact,
    content: bytes,
    floats: TfliteProgram,
    precision: str,
    recipe: Recipe,
    calibration: CalibrationInputs,
    in_float: Sequence[str],
    progress: Progress,
) -> tuple[bytes, tuple[str, ...]]:
    """Return the float file *content* as w8a8 or w8a16, and what is to be told of it."""
    rules = quantizer.rules(precision, recipe.input_dtype, recipe.output_dtype)
    rules += quantizer.in_float(kept_in_float(TFLiteModel.read(content)))

    def extremes() -> Ranges:
        signature, chunks = quantizer_inputs(content, artifact, calibration, progress)
        return quantizer.ranges(content, rules, signature, chunks)

    graph = read_tflite_content(content)
    ranges = dict(calibration.once(f"ranges of {precision}", content, extremes))
    rules += quantizer.in_float(in_float)
    for tensor, (low, high) in narrowed(floats, recipe, calibration, progress).items():
        name = graph.tensors[int(tensor)].name
        if name in ranges:
            ranges[name] = {"min": np.full((1,), low, np.float32), "max": np.full((1,), high, np.float32)}
    ranges = widen_degenerate_ranges(graph, content, ranges, precision)
    heads = mixed_heads(graph, {name: _largest(bounds) for name, bounds in ranges.items()})
    is_free = recipe.output_dtype == "float32"
    if is_free:
        rules += quantizer.in_float(operator.name for operator in heads_in_float(graph, heads))
    slow = (_SLOW,) if precision == "w8a16" and recipe.runtime is None else ()
    return quantizer.quantize(content, rules, ranges), (*mixed_note(heads, in_float=is_free), *slow)


def _largest(bounds: Any) -> float:
    return max(abs(float(np.min(bounds["min"]))), abs(float(np.max(bounds["max"]))))


def _chunks(
    artifact: Artifact, calibration: CalibrationInputs, names: list[str], progress: Progress
) -> Iterator[_Chunk]:
    for start in range(0, len(calibration), CHUNK):
        progress("calibrating TFLite", start, len(calibration))
        yield _Chunk(artifact, calibration, start, names)
    progress("calibrating TFLite", len(calibration), len(calibration))


@dataclass(frozen=True)
class _Chunk:
    """A few calibration samples by input name; the quantizer iterates twice, once only to count them."""

    artifact: Artifact
    calibration: CalibrationInputs
    start: int
    names: list[str]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index in range(self.start, min(self.start + CHUNK, len(self.calibration))):
            yield dict(zip(self.names, inputs_of(self.artifact, self.calibration[index]), strict=True))


def _signature(content: bytes) -> tuple[str, list[str]]:
    """Return the key of the file's signature and the names that its inputs have there, in the order of the graph."""
    schema = require("ai_edge_litert.schema_py_generated", "torch")
    model = schema.Model.GetRootAs(content)
    signature, graph = model.SignatureDefs(0), model.Subgraphs(0)
    entries = [signature.Inputs(number) for number in range(signature.InputsLength())]
    names = {entry.TensorIndex(): entry.Name().decode() for entry in entries}
    return signature.SignatureKey().decode(), [names[graph.Inputs(place)] for place in range(graph.InputsLength())]
