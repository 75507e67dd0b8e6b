"""Quantize an ONNX file with onnxruntime's quantizer."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.errors import require
from edgecnn.export import CalibrationInputs, FileFacts
from edgecnn.export.onnx import TOOLS, save_onnx, versions
from edgecnn.export.quiet import quiet
from edgecnn.progress import Progress
from edgecnn.recipe import Recipe

CHUNK = 16  # samples at most whose ranges are merged at a time


def quantize_onnx(
    artifact: Artifact,
    path: Path,
    precision: str,
    *,
    recipe: Recipe,
    calibration: CalibrationInputs | None,
    facts: FileFacts,
    progress: Progress,
) -> None:
    """Write the fp32 file *artifact* to *path* as `w8` (dynamic) or `w8a8` (static, QDQ)."""
    onnx = require("onnx", "torch")
    with quiet(f"ONNX {precision} quantization"), tempfile.TemporaryDirectory() as folder:
        quantization = require("onnxruntime.quantization", "torch")
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
        # Folds batch norm and names shapes; the symbolic part is for transformers.
        quantization.shape_inference.quant_pre_process(str(artifact.path), str(prepared), skip_symbolic_shape=True)
        if precision == "w8":
            # The kernels of ConvInteger exist for unsigned weights alone.
            quantization.quantize_dynamic(prepared, quantized, weight_type=quantization.QuantType.QUInt8)
        else:
            assert calibration is not None
            quantization.quantize_static(
                prepared,
                quantized,
                _reader(quantization, calibration, artifact.inputs[0].name, progress),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                # onnxruntime asks for a stride that divides the number of samples.
                extra_options={"CalibStridedMinMax": math.gcd(CHUNK, len(calibration))},
            )
        model = onnx.load(quantized)
    ends = {}
    if precision == "w8a8":
        if recipe.input_dtype == "int8":
            ends.update(_strip_input(onnx, model))
        if recipe.output_dtype == "int8":
            ends.update(_strip_outputs(onnx, model))
    metadata = facts.to_json(
        precision=precision,
        layout=artifact.layout,
        tools=versions((*TOOLS, "onnxruntime")),
        recipe=recipe.name,
        quantization=ends,
        calibration_samples=len(calibration) if calibration is not None and precision == "w8a8" else None,
    )
    save_onnx(model, path, metadata)


def _reader(quantization: Any, calibration: CalibrationInputs, name: str, progress: Progress) -> Any:
    """Return the samples as onnxruntime's quantizer asks for them: in strides, so that it merges ranges as it goes."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(range(len(calibration)))

        def __len__(self) -> int:
            return len(calibration)

        def set_range(self, start_index: int, end_index: int) -> None:
            progress("calibrating ONNX", start_index, len(calibration))
            self.rest = iter(range(start_index, min(end_index, len(calibration))))

        def get_next(self) -> dict[str, Any] | None:
            index = next(self.rest, None)
            return None if index is None else {name: calibration[index]}

    return Reader()


def _strip_input(onnx: Any, model: Any) -> dict[str, Any]:
    """Let the graph begin with int8: take the QuantizeLinear off its input, whose parameters go to the metadata."""
    graph = model.graph
    entry = graph.input[0]
    first = [node for node in graph.node if entry.name in node.input]
    if len(first) != 1 or first[0].op_type != "QuantizeLinear":
        return {}
    _rename_uses(graph, first[0].output[0], entry.name)
    entry.type.tensor_type.elem_type = onnx.TensorProto.INT8
    return {entry.name: _take(onnx, graph, first[0])}


def _strip_outputs(onnx: Any, model: Any) -> dict[str, Any]:
    """Let the graph end with int8: take the DequantizeLinear off each output."""
    graph, found = model.graph, {}
    for exit_ in graph.output:
        last = [node for node in graph.node if exit_.name in node.output]
        if len(last) == 1 and last[0].op_type == "DequantizeLinear":
            _rename_uses(graph, last[0].input[0], exit_.name)
            exit_.type.tensor_type.elem_type = onnx.TensorProto.INT8
            found[exit_.name] = _take(onnx, graph, last[0])
    return found


def _take(onnx: Any, graph: Any, node: Any) -> dict[str, Any]:
    """Remove *node* and return its scale and zero point."""
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    graph.node.remove(node)
    scale, zero_point = values[node.input[1]], values[node.input[2]]
    return {"scale": [float(scale)], "zero_point": [int(zero_point)]}


def _rename_uses(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
