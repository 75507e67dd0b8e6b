"""Quantize an ONNX file with onnxruntime's quantizer."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError, require
from edgecnn.export import CalibrationInputs, inputs_of, quantized_metadata, shown_precision
from edgecnn.export.heads import heads_in_float, last_concatenations, mixed_heads, mixed_note
from edgecnn.export.int8 import corrected, equalized, narrowed
from edgecnn.export.int8.onnx_program import OnnxProgram
from edgecnn.export.onnx import save_onnx
from edgecnn.export.quiet import quiet
from edgecnn.export.simplify import values_of
from edgecnn.formats import Graph, read_graph
from edgecnn.locks import PrivateFolder
from edgecnn.progress import Progress
from edgecnn.recipe import Recipe

CHUNK = 16  # samples at most whose ranges are merged at a time


def quantize_onnx(
    artifact: Artifact,
    path: Path,
    precision: str,
    recipe: Recipe,
    calibration: CalibrationInputs | None,
    in_float: Sequence[str],
    progress: Progress,
) -> None:
    """Write the fp32 file *artifact* to *path* as `w8` (dynamic) or `w8a8` (static, QDQ), but operators *in_float*."""
    onnx = require("onnx", "torch")
    with quiet(f"ONNX {precision} quantization"), PrivateFolder() as folder:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when it is imported; see `runtimes.worker`
        os.environ["ORT_LOAD_CONFIG_FROM_MODEL"] = "0"  # else a file may have profiles written
        quantization = require("onnxruntime.quantization", "torch")
        done: dict[str, Any] = {}
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
        # Folds batch norm and names shapes; the symbolic part is for transformers.
        quantization.shape_inference.quant_pre_process(str(artifact.path), str(prepared), skip_symbolic_shape=True)
        if precision == "w8":
            # The kernels of ConvInteger exist for unsigned weights alone.
            quantization.quantize_dynamic(prepared, quantized, weight_type=quantization.QuantType.QUInt8)
        else:
            assert calibration is not None  # `quantize` has seen to it
            floats = OnnxProgram(onnx.load(prepared))
            done = equalized(artifact, floats, recipe, calibration, progress)
            for node in floats.model.graph.node:
                node.name = node.name or node.output[0]  # by which `in_float` finds it
            prepared.write_bytes(content := floats.pack())
            graph, model = read_graph(prepared), onnx.load(prepared)
            heads = mixed_heads(graph, _largest(model, graph, artifact, calibration))
            is_free = recipe.output_dtype == "float32"
            if heads:
                done["notes"] = [*artifact.metadata.get("notes", ()), *mixed_note(heads, in_float=is_free)]
            ranges = {
                str(tensor): [{"rmin": np.float32(low), "rmax": np.float32(high)}]
                for tensor, (low, high) in narrowed(floats, recipe, calibration, progress).items()
            }
            known, cached = _kept_ranges(quantization, folder, calibration, content)
            quantization.quantize_static(
                prepared,
                quantized,
                _reader(quantization, artifact, calibration, progress),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                # With signed activations onnxruntime leaves what surrounds a residual connection in float on x86.
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=[*in_float, *(one.name for one in heads_in_float(graph, heads) if is_free)],
                extra_options={
                    # onnxruntime asks for a stride that divides the number of samples.
                    "CalibStridedMinMax": math.gcd(CHUNK, len(calibration)),
                    "TensorQuantOverrides": _one_scale(quantization, model) | ranges,
                },
                **known,
            )
            if cached is not None:
                calibration.once("ranges", content, cached.read_bytes)
        model, shown = onnx.load(quantized), shown_precision(precision, read_graph(quantized))
    if calibration is not None:
        done |= corrected(artifact, floats, OnnxProgram(model), recipe, calibration, progress)
    ends = _quantized_io(onnx, model, recipe) if precision == "w8a8" else {}
    if in_float:
        done["in_float"] = list(in_float)
    metadata = quantized_metadata(artifact, shown, recipe, calibration, ("onnxruntime",), quantization=ends, **done)
    save_onnx(model, path, metadata)


def _largest(model: Any, graph: Graph, artifact: Artifact, calibration: CalibrationInputs) -> dict[str, float]:
    """Return the largest absolute values of what the last concatenations join, by tensor name."""
    parts = {graph.tensors[index].name for operator in last_concatenations(graph) for index in operator.inputs}
    names = sorted(parts - {tensor.name for tensor in model.graph.initializer})
    largest = dict.fromkeys(names, 0.0)
    samples = (_by_name(artifact, calibration[index]) for index in range(min(CHUNK, len(calibration))))
    for arrays in values_of(model, names, samples) if names else ():
        for part, values in zip(names, arrays, strict=True):
            largest[part] = max(largest[part], float(np.abs(values).max(initial=0.0)))
    return largest


def _kept_ranges(
    quantization: Any, folder: str, calibration: CalibrationInputs, content: bytes
) -> tuple[dict[str, Any], Path | None]:
    """Return the argument by which the quantizer takes the ranges that it has found for *content*, and their file.

    Versions of onnxruntime without it calibrate every time.
    """
    if "calibration_cache_path" not in inspect.signature(quantization.quantize_static).parameters:
        return {}, None
    cached = Path(folder, "ranges.json")
    if calibration.knows("ranges", content):
        cached.write_bytes(calibration.once("ranges", content, bytes))
    return {"calibration_cache_path": cached}, cached


def _one_scale(quantization: Any, model: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the overrides by which the weights of grouped transposed convolutions have one scale.

    They are [C, O / groups, ...]: one for each entry of the second axis would be one for several filters, which the
    quantizer does not know how to give their biases.
    """
    grouped = [
        node.input[1]
        for node in model.graph.node
        if node.op_type == "ConvTranspose" and any(a.name == "group" and a.i > 1 for a in node.attribute)
    ]
    return {name: [{"quant_type": quantization.QuantType.QInt8, "symmetric": True}] for name in grouped}


def _by_name(artifact: Artifact, x: Any) -> dict[str, Any]:
    """Return one calibration sample by input name."""
    names = [spec.name for spec in artifact.inputs]
    return dict(zip(names, inputs_of(artifact, x), strict=True))


def _reader(quantization: Any, artifact: Artifact, calibration: CalibrationInputs, progress: Progress) -> Any:
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
            return None if index is None else _by_name(artifact, calibration[index])

    return Reader()


def _quantized_io(onnx: Any, model: Any, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Let the graph take and give int8 where *recipe* says so; return scale and zero point of each such end by name.

    The tensors inside are uint8, so the stored numbers are shifted by 128 and the zero points with them.
    """
    graph = model.graph
    ends: dict[str, dict[str, Any]] = {}
    for wanted, entries, inner, outer in (
        (recipe.input_dtype, graph.input, "QuantizeLinear", "DequantizeLinear"),
        (recipe.output_dtype, graph.output, "DequantizeLinear", "QuantizeLinear"),
    ):
        for entry in entries if wanted == "int8" else ():
            converts = [n for n in graph.node if n.op_type == inner and entry.name in (*n.input[:1], *n.output)]
            if len(converts) != 1:
                raise EdgecnnError(f"'{entry.name}' is not quantized, so it cannot be int8; set float32 in the recipe")
            values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
            _, scale, zero_point = converts[0].input
            shifted = np.asarray(int(values[zero_point]) - 128, np.int8)
            graph.initializer.append(onnx.numpy_helper.from_array(shifted, f"{entry.name}_zero_point_int8"))
            inside = f"{entry.name}_float"
            _rename(graph, entry.name, inside)
            names = (entry.name, inside) if outer == "DequantizeLinear" else (inside, entry.name)
            node = onnx.helper.make_node(outer, [names[0], scale, f"{entry.name}_zero_point_int8"], [names[1]])
            graph.node.insert(0 if outer == "DequantizeLinear" else len(graph.node), node)
            entry.type.tensor_type.elem_type = onnx.TensorProto.INT8
            ends[entry.name] = {"scale": [float(values[scale])], "zero_point": [int(shifted)]}
    return ends


def _rename(graph: Any, old: str, new: str) -> None:
    """Give a tensor another name wherever a node reads or writes it."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
