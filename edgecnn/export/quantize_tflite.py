"""Quantize a TFLite file with ai-edge-quantizer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.errors import require
from edgecnn.export import CalibrationInputs, FileFacts
from edgecnn.export.onnx import versions
from edgecnn.export.quiet import quiet
from edgecnn.export.tflite import TOOLS, save_tflite
from edgecnn.progress import Progress
from edgecnn.recipe import Recipe

CHUNK = 16  # samples in memory at a time


def quantize_tflite(
    artifact: Artifact,
    path: Path,
    precision: str,
    *,
    recipe: Recipe,
    calibration: CalibrationInputs | None,
    facts: FileFacts,
    progress: Progress,
) -> None:
    """Write the fp32 file *artifact* to *path* as `fp16`, `w8` or `w8a8`."""
    with quiet(f"TFLite {precision} quantization"):
        module = require("ai_edge_quantizer.quantizer", "torch")
        quantizer = module.Quantizer(artifact.path.read_bytes(), _recipe(precision, recipe))
        ranges = None
        if precision == "w8a8" and calibration is not None:
            signature, input_name = _signature(artifact)
            for start in range(0, len(calibration), CHUNK):
                progress("calibrating TFLite", start, len(calibration))
                chunk = _Chunk(calibration, start, input_name, artifact.layout)
                ranges = quantizer.calibrate({signature: chunk}, ranges, num_threads=2)
            progress("calibrating TFLite", len(calibration), len(calibration))
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    metadata = facts.to_json(
        precision=precision,
        layout=artifact.layout,
        tools=versions((*TOOLS, "ai-edge-quantizer")),
        recipe=recipe.name,
        calibration_samples=len(calibration) if calibration is not None and precision == "w8a8" else None,
    )
    save_tflite(bytes(result.quantized_model), path, metadata)


@dataclass(frozen=True)
class _Chunk:
    """A few calibration samples by input name; the quantizer iterates twice, once only to count them."""

    calibration: CalibrationInputs
    start: int
    input_name: str
    layout: str

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index in range(self.start, min(self.start + CHUNK, len(self.calibration))):
            x = self.calibration[index]
            if self.layout == "NHWC":
                x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
            yield {self.input_name: x}


def _signature(artifact: Artifact) -> tuple[str, str]:
    """Return the key of the file's signature and the name its one input has there."""
    schema = require("ai_edge_litert.schema_py_generated", "torch")
    signature = schema.Model.GetRootAs(artifact.path.read_bytes()).SignatureDefs(0)
    return signature.SignatureKey().decode(), signature.Inputs(0).Name().decode()


def _recipe(precision: str, recipe: Recipe) -> Any:
    """Return ai-edge-quantizer's own recipe, a list of plain dicts."""
    recipes = require("ai_edge_quantizer.recipe", "torch")
    if precision == "w8":
        return recipes.dynamic_wi8_afp32()
    if precision == "fp16":
        config = {
            "weight_tensor_config": {"num_bits": 16, "dtype": "FLOAT", "granularity": "TENSORWISE", "symmetric": True},
            "compute_precision": "FLOAT",
            "explicit_dequantize": True,
        }
        return [{"regex": ".*", "operation": "*", "algorithm_key": "float_casting", "op_config": config}]
    rules = json.loads(json.dumps(recipes.static_wi8_ai8()))
    for operation, dtype in (("INPUT", recipe.input_dtype), ("OUTPUT", recipe.output_dtype)):
        if dtype == "float32":
            rules.append({"regex": ".*", "operation": operation, "algorithm_key": "no_quantize"})
    return rules
