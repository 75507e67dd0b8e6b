"""`Precision`: in which types a file keeps its weights and computes its values, as its graph shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from edgecnn.formats.graph import Graph, Operator


@dataclass(frozen=True)
class Precision:
    """One row of `PRECISIONS`."""

    name: str
    weights: str  # dtype; the unsigned one of the same width counts as well
    activations: str
    weight_bytes: float  # of one weight
    value_bytes: float  # of one activation
    calibrated: bool = False  # the ranges of its activations come from calibration samples
    formats: tuple[str, ...] = ()  # that edgecnn writes it in
    figures_of: str | None = None  # whose latency coefficients serve where it has none: its kernels compute alike


#: Some layers are computed in integers from end to end, others in float.
MIXED = "mixed"

#: Name → row. `w` stands for integer weights, `a` for integer activations; without `a` those are float.
PRECISIONS: Mapping[str, Precision] = {
    row.name: row
    for row in (
        Precision("fp32", "float32", "float32", 4, 4, formats=("onnx", "tflite")),
        Precision("fp16", "float16", "float32", 2, 4, formats=("tflite",)),
        Precision("fp16a16", "float16", "float16", 2, 2),
        Precision("w4", "int4", "float32", 0.5, 4, formats=("tflite",), figures_of="w8"),
        Precision("w8", "int8", "float32", 1, 4, formats=("onnx", "tflite")),
        Precision("w4a8", "int4", "int8", 0.5, 1, calibrated=True, figures_of="w8a8"),
        Precision("w8a8", "int8", "int8", 1, 1, calibrated=True, formats=("onnx", "tflite")),
        Precision("w4a16", "int4", "int16", 0.5, 2, calibrated=True),
        Precision("w8a16", "int8", "int16", 1, 2, calibrated=True, formats=("tflite",)),
        Precision("w16a16", "int16", "int16", 2, 2, calibrated=True),
        Precision(MIXED, "int8 or float32", "int8 or float32", 4, 4, calibrated=True),
    )
}
_BY_TYPES = {(row.weights, row.activations): row for row in PRECISIONS.values()}

#: Bytes of the types that weights and values have; what is not here (int32, int64, bool) makes no precision.
_WIDTHS = {"int2": 0.25, "int4": 0.5, "int8": 1, "int16": 2, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
_CONVERSIONS = frozenset({"DEQUANTIZE", "DequantizeLinear", "CAST", "Cast"})

_Producers = Mapping[int, Operator]  # tensor → the operator that gives it


def precision_of(graph: Graph) -> Precision:
    """Return the precision of a file.

    Its weights say it: whether most of them are integers; if so, the narrowest among those (a `w4` file has linear
    layers in 4 bits and convolutions in 8), and the activations that most of them are computed with. A file without
    weights is what most of its operators compute in. It is `mixed` where some layers compute with integer activations
    and others have float weights; what has no weights counts with neither.
    """
    computed, producers = computed_precisions(graph), _producers(graph)
    counts: Counter[tuple[str, str]] = Counter()
    layers: set[bool] = set()  # of those whose weights and values are both of one kind: whether integers
    for operator, precision in zip(graph.operators, computed, strict=True):
        for weights, count in _weights(graph, operator, producers, unpacked=True).items():
            counts[weights, precision.activations] += count
            if operator.macs and _is_integer(weights) == _is_integer(precision.activations):
                layers.add(_is_integer(weights))
    if not counts:
        return Counter(computed).most_common(1)[0][0] if computed else PRECISIONS["fp32"]
    if len(layers) > 1:
        return PRECISIONS[MIXED]
    integers = Counter({types: count for types, count in counts.items() if _is_integer(types[0])})
    if 2 * integers.total() < counts.total():
        return _row(*(counts - integers).most_common(1)[0][0])
    activations: Counter[str] = Counter()
    for (_, values), count in integers.items():
        activations[values] += count
    return _row(min((weights for weights, _ in integers), key=_WIDTHS.__getitem__), activations.most_common(1)[0][0])


def computed_precisions(graph: Graph) -> list[Precision]:
    """Return for each operator of *graph* what its kernel computes in.

    Integers that go in or come out make it an integer kernel. Integer weights make it a dynamic one (`w8`) beside float
    values, and beside values that are quantized as they come (`DynamicQuantizeLinear`). In a QDQ ONNX file it is what
    runtimes make of it: an integer kernel between conversions, where there is one.
    """
    between, producers = between_conversions(graph), _producers(graph)
    sources = [graph.tensors[op.inputs[0]] for op in graph.operators if op.kind == "DequantizeLinear"]
    types = (_signed(tensor.dtype) for tensor in sources if not tensor.constant)
    quantized = Counter(dtype for dtype in types if dtype in _WIDTHS)
    inner = quantized.most_common(1)[0][0] if quantized else "int8"
    return [
        _computed(graph, operator, producers, inner if step in between else None)
        for step, operator in enumerate(graph.operators)
    ]


def _computed(graph: Graph, operator: Operator, producers: _Producers, inner: str | None) -> Precision:
    """Return the precision of one operator; *inner*: the type its values have in truth, None: as the tensors show."""
    weights = min(_weights(graph, operator, producers, unpacked=inner is not None), key=_WIDTHS.__getitem__, default="")
    named = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
    values = {_signed(graph.tensors[index].dtype) for index in named if not graph.tensors[index].constant}
    dynamic = any(producers[index].kind == "DynamicQuantizeLinear" for index in named if index in producers)
    integers = [] if dynamic else [name for name in values if _is_integer(name)]
    floats = [name for name in values if "float" in name and name in _WIDTHS]
    activations = inner or max(integers or floats or ["float32"], key=_WIDTHS.__getitem__)
    if not _is_integer(activations):
        return _row(weights or activations, activations)
    return _row(weights if _is_integer(weights) else "int8", activations)


def _weights(graph: Graph, operator: Operator, producers: _Producers, *, unpacked: bool) -> Counter[str]:
    """Return dtype → number of the weights that *operator* reads; *unpacked*: as they are before their conversion."""
    found: Counter[str] = Counter()
    if unpacked and operator.kind in _CONVERSIONS:
        return found  # they count where they are used
    for index in operator.inputs:
        source = producers.get(index) if unpacked else None
        stored = source.inputs[0] if source is not None and source.kind in _CONVERSIONS else index
        tensor = graph.tensors[stored]
        if stored >= 0 and tensor.constant and len(tensor.shape) > 1 and _signed(tensor.dtype) in _WIDTHS:
            found[_signed(tensor.dtype)] += prod(tensor.shape)
    return found


def between_conversions(graph: Graph) -> frozenset[int]:
    """Return the operators of an ONNX file that runtimes compute in integers although their tensors are float."""
    conversions = ("QuantizeLinear", "DequantizeLinear")
    if graph.format != "onnx" or not any(operator.kind in conversions for operator in graph.operators):
        return frozenset()
    floats = {name for _, name in graph.float_operators()}
    return frozenset(
        step
        for step, operator in enumerate(graph.operators)
        if operator.outputs and graph.tensors[operator.outputs[0]].name not in floats
    )


def _producers(graph: Graph) -> _Producers:
    return {index: operator for operator in graph.operators for index in operator.outputs}


def _is_integer(dtype: str) -> bool:
    return dtype.startswith("int") and dtype in _WIDTHS


def _signed(dtype: str) -> str:
    return dtype.removeprefix("u") if dtype.startswith("uint") else dtype


def _row(weights: str, activations: str) -> Precision:
    """Return the row of these types; where the table has none, one that nothing has figures for."""
    own = Precision(f"{weights}x{activations}", weights, activations, _WIDTHS[weights], _WIDTHS[activations])
    return _BY_TYPES.get((weights, activations), own)


__all__ = ["MIXED", "PRECISIONS", "Precision", "between_conversions", "computed_precisions", "precision_of"]
