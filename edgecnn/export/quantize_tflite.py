"""Quantize a TFLite file with ai-edge-quantizer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError, require
from edgecnn.export import CalibrationInputs, quantized_metadata
from edgecnn.export.quiet import quiet
from edgecnn.export.tflite import save_tflite
from edgecnn.export.tflite_ranges import workable
from edgecnn.progress import Progress
from edgecnn.recipe import Recipe

CHUNK = 16  # samples in memory at a time
_LINEAR = "FULLY_CONNECTED"


def quantize_tflite(
    artifact: Artifact,
    path: Path,
    precision: str,
    recipe: Recipe,
    calibration: CalibrationInputs | None,
    progress: Progress,
) -> None:
    """Write the fp32 file *artifact* to *path* as `fp16`, `w4`, `w8` or `w8a8`.

    Raises:
        EdgecnnError: `w4` of a network without a linear layer.
    """
    if precision == "w4" and all(operator.kind != _LINEAR for operator in artifact.graph.operators):
        raise EdgecnnError(f"{artifact.path.name}: w4 packs the weights of linear layers, and it has none; take w8")
    with quiet(f"TFLite {precision} quantization"):
        quantizers = require("ai_edge_quantizer.quantizer", "torch")
        content, rules = artifact.path.read_bytes(), _recipe(precision, recipe)
        ranges = None
        if calibration is not None:
            ranges = workable(artifact.graph, content, _ranges(content, rules, calibration, artifact.layout, progress))
        quantizer = quantizers.Quantizer(content, rules)
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    metadata = quantized_metadata(artifact, precision, recipe, calibration, ("ai-edge-quantizer",))
    save_tflite(bytes(result.quantized_model), path, metadata)


def _ranges(
    content: bytes, rules: Any, calibration: CalibrationInputs, layout: str, progress: Progress
) -> dict[str, Any]:
    """Return the smallest and largest value of every tensor over all calibration samples, by tensor name.

    The quantizer's own default is a moving average over the samples: it forgets the extremes and clips them.
    """
    calibrators = require("ai_edge_quantizer.calibrator", "torch")
    managers = require("ai_edge_quantizer.recipe_manager", "torch")
    updates = require("ai_edge_quantizer.utils.qsv_utils", "torch")
    manager = managers.RecipeManager()
    manager.load_quantization_recipe(rules)
    calibrator = calibrators.Calibrator(content, num_threads=2, qsv_update_func=updates.min_max_update)
    signature, input_name = _signature(content)
    for start in range(0, len(calibration), CHUNK):
        progress("calibrating TFLite", start, len(calibration))
        calibrator.calibrate({signature: _Chunk(calibration, start, input_name, layout)}, manager)
    progress("calibrating TFLite", len(calibration), len(calibration))
    return dict(calibrator.get_model_qsvs())


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


def _signature(content: bytes) -> tuple[str, str]:
    """Return the key of the file's signature and the name its one input has there."""
    schema = require("ai_edge_litert.schema_py_generated", "torch")
    signature = schema.Model.GetRootAs(content).SignatureDefs(0)
    return signature.SignatureKey().decode(), signature.Inputs(0).Name().decode()


def _recipe(precision: str, recipe: Recipe) -> Any:
    """Return ai-edge-quantizer's own recipe, a list of plain dicts."""
    recipes = require("ai_edge_quantizer.recipe", "torch")
    if precision == "w8":
        return recipes.dynamic_wi8_afp32()
    if precision == "w4":
        # Of AlexNet's linear layers LiteRT 2.3.0 computes these in integers, in 0.6 ms; it unpacks those of the
        # quantizer's recipe `weight_only_wi4_afp32` to float first, for 3.6 ms and twice the memory: same file size.
        return [*recipes.dynamic_wi8_afp32(), {**recipes.dynamic_wi4_afp32()[0], "operation": _LINEAR}]
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
