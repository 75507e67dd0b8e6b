"""What each operator of a file has to do: multiply-adds as kernels run them, and values moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

from edgecnn.device import LATENCY_KINDS
from edgecnn.formats import Graph, Operator

#: Kernels compute channels in blocks; 8 is the common one of XNNPACK's and ncnn's NEON and AVX2 kernels
#: (fp32 6x8 and 5x16, int8 4x16 and 1x8), so a layer of 9 output channels costs what one of 16 does.
CHANNEL_BLOCK = 8


@dataclass(frozen=True)
class Work:
    """What one operator, or all of one kind, has to do in one run."""

    kind: str  # one of LATENCY_KINDS
    operators: int = 1
    macs: int = 0
    padded_macs: int = 0  # with channels rounded up to CHANNEL_BLOCK
    activations: int = 0  # values read and written
    weights: int = 0  # values read

    @classmethod
    def of(cls, kind: str, *, pixels: int, taps: int, inputs: int, outputs: int, groups: int = 1) -> Work:
        """Return the work of *groups* times *pixels* x *outputs* sums over *taps* x *inputs* products.

        For a depthwise convolution the groups are the channels: they, not the single output of each, are rounded up.
        """
        macs = groups * pixels * taps * inputs * outputs
        if kind == "depthwise":
            return cls(kind, 1, macs, pixels * taps * inputs * round_up(groups * outputs))
        return cls(kind, 1, macs, groups * pixels * taps * inputs * round_up(outputs))

    def moving(self, *, activations: int, weights: int) -> Work:
        """Return this work with the values that it moves."""
        return replace(self, activations=activations, weights=weights)


def round_up(channels: int) -> int:
    """Return the next multiple of CHANNEL_BLOCK."""
    return -(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK


def kind_of_convolution(kernel_values: int, channels: int, groups: int) -> str:
    """Return the kind of a convolution over *channels* in *groups*; of a single channel it is a regular one."""
    if groups == channels > 1:
        return "depthwise"
    return "pointwise" if kernel_values == 1 else "conv"


def total_work(works: Iterable[Work]) -> dict[str, Work]:
    """Return the sum of *works* by kind, in the order of LATENCY_KINDS."""
    totals: dict[str, Work] = {}
    for work in works:
        sums = totals.get(work.kind, Work(work.kind, operators=0))
        totals[work.kind] = Work(
            work.kind,
            sums.operators + work.operators,
            sums.macs + work.macs,
            sums.padded_macs + work.padded_macs,
            sums.activations + work.activations,
            sums.weights + work.weights,
        )
    return {kind: totals[kind] for kind in LATENCY_KINDS if kind in totals}


_CONVOLUTIONS = frozenset({"CONV_2D", "CONV_3D", "TRANSPOSE_CONV", "Conv", "ConvTranspose", "ConvInteger", "QLinearConv"})
_DEPTHWISE = "DEPTHWISE_CONV_2D"
_LINEAR = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"})
#: They change no value, or only once, when the file is loaded.
_FREE = frozenset(
    """RESHAPE SQUEEZE EXPAND_DIMS Constant DequantizeLinear Flatten Identity QuantizeLinear Reshape Shape Squeeze
    Unsqueeze""".split()
)
_INTEGERS = frozenset({"int8", "uint8", "int16", "int4"})


def graph_works(graph: Graph) -> list[tuple[str, Work]]:
    """Return (precision, work) of each operator of a file that costs time.

    The precision is `w8a8` where integers go in or come out, `w8` where the weights alone are integers, else `fp32`.
    In a QDQ ONNX file it is what runtimes compute: operators between conversions are `w8a8`, and cost; conversions do not.
    """
    weights = _constants(graph)
    integer = _between_conversions(graph)
    return [
        ("w8a8" if index in integer else _precision(graph, operator), _work(graph, operator, weights))
        for index, operator in enumerate(graph.operators)
        if not _is_free(graph, operator, weights)
    ]


def _constants(graph: Graph) -> frozenset[int]:
    """Return the tensors whose values the file fixes: its constants, and what is computed from them alone."""
    known = {index for index, tensor in enumerate(graph.tensors) if tensor.constant}
    for operator in graph.operators:
        if all(index < 0 or index in known for index in operator.inputs):
            known.update(operator.outputs)
    return frozenset(known)


def _between_conversions(graph: Graph) -> frozenset[int]:
    """Return the operators of an ONNX file that runtimes compute in integers although their tensors are float."""
    if graph.format != "onnx" or not any(operator.kind == "DequantizeLinear" for operator in graph.operators):
        return frozenset()
    floats = {name for _, name in graph.float_operators()}
    return frozenset(
        index
        for index, operator in enumerate(graph.operators)
        if operator.outputs and graph.tensors[operator.outputs[0]].name not in floats
    )


def _is_free(graph: Graph, operator: Operator, weights: frozenset[int]) -> bool:
    """Return whether an operator costs nothing: views, what is computed once, QDQ pairs, and float padding.

    XNNPACK and onnxruntime take a PAD with zeros into the convolution that follows; in integers XNNPACK does not.
    """
    if operator.kind in _FREE or not [index for index in operator.inputs if index >= 0 and index not in weights]:
        return True
    if operator.kind != "PAD" or graph.tensors[operator.outputs[0]].dtype != "float32":
        return False
    readers = [reader for reader in graph.operators if operator.outputs[0] in reader.inputs]
    return bool(readers) and all(reader.kind in ("CONV_2D", _DEPTHWISE) for reader in readers)


def _precision(graph: Graph, operator: Operator) -> str:
    values = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    if any(not tensor.constant and tensor.dtype in _INTEGERS for tensor in values):
        return "w8a8"
    weights = any(tensor.constant and tensor.dtype in _INTEGERS and len(tensor.shape) > 1 for tensor in values)
    return "w8" if weights else "fp32"


def _work(graph: Graph, operator: Operator, weights: frozenset[int]) -> Work:
    named = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
    fixed = sum(prod(graph.tensors[index].shape) for index in named if index in weights)
    moved = sum(prod(graph.tensors[index].shape) for index in named if index not in weights)
    return _computing(graph, operator).moving(activations=moved, weights=fixed)


def _computing(graph: Graph, operator: Operator) -> Work:
    if not operator.macs:
        return Work("other")
    produced = graph.tensors[operator.outputs[0]].shape
    channels = produced[1] if graph.format == "onnx" and len(produced) == 4 else produced[-1]
    weight = max((graph.tensors[index].shape for index in operator.inputs[1:] if index >= 0), key=prod, default=())
    padded = round(operator.macs * round_up(channels) / max(channels, 1))
    if operator.kind in _LINEAR:
        return Work("linear", 1, operator.macs, padded)
    if operator.kind != _DEPTHWISE and operator.kind not in _CONVOLUTIONS:
        return Work("other", 1, operator.macs, operator.macs)
    taps = prod(weight[2:]) if graph.format == "onnx" else prod(weight[1:3])
    inner = operator.macs // max(prod(produced) * taps, 1)  # input channels of a group
    deep = operator.kind == _DEPTHWISE or (inner == 1 and channels > 1 and graph.format == "onnx")
    return Work("depthwise" if deep else "pointwise" if taps == 1 else "conv", 1, operator.macs, padded)
