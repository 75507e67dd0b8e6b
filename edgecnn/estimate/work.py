"""What each operator of a file has to do: multiply-adds as kernels run them, and values moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from edgecnn.formats import Graph, Operator


@dataclass(frozen=True)
class Blocks:
    """Channels that kernels compute at once: a layer of 9 output channels costs what one of 16 does.

    8 output channels are XNNPACK's and ncnn's NEON kernels in fp32 and int8; with AMX a tile is 64 by 64.
    """

    inputs: int = 1
    outputs: int = 8


@dataclass(frozen=True)
class Work:
    """What one operator has to do in one run."""

    kind: str  # one of LATENCY_KINDS
    macs: int = 0
    inputs: int = 1  # channels that each sum runs over; of a group
    outputs: int = 1  # channels that come out; of a group, and of a depthwise convolution all
    activations: int = 0  # values read and written
    weights: int = 0  # values read

    def padded_macs(self, blocks: Blocks) -> float:
        """Return the multiply-adds with channels rounded up to what kernels compute at once."""
        inputs = 1 if self.kind == "depthwise" else blocks.inputs
        return self.macs * _excess(self.inputs, inputs) * _excess(self.outputs, blocks.outputs)


def _excess(channels: int, block: int) -> float:
    """Return by what factor *channels* grow when they are rounded up to a multiple of *block*."""
    return -(-channels // block) * block / max(channels, 1)


def kind_of_convolution(kernel_values: int, channels: int, groups: int) -> str:
    """Return the kind of a convolution over *channels* in *groups*; of a single channel it is a regular one."""
    if groups == channels > 1:
        return "depthwise"
    if kernel_values == 1:
        return "pointwise"
    return "grouped" if groups > 1 else "conv"


_CONVOLUTIONS = frozenset(
    {"CONV_2D", "CONV_3D", "TRANSPOSE_CONV", "Conv", "ConvTranspose", "ConvInteger", "QLinearConv"}
)
_DEPTHWISE = "DEPTHWISE_CONV_2D"
_LINEAR = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"})
#: Operators without weights, by what their kernels do: some run in float alone, some look values up in a table.
_PLAIN_KINDS = {
    name: kind
    for kind, names in (
        ("max_pooling", "MAX_POOL_2D MaxPool"),
        ("average_pooling", "AVERAGE_POOL_2D AveragePool"),
        ("mean", "MEAN SUM GlobalAveragePool ReduceMean"),
        ("elementwise", "ADD SUB MUL DIV MAXIMUM MINIMUM RELU RELU6 PRELU LEAKY_RELU QUANTIZE DEQUANTIZE"),
        ("elementwise", "Add Sub Mul Div Max Min Relu Clip PRelu LeakyRelu"),
        ("sigmoid", "LOGISTIC TANH ELU GELU Sigmoid Tanh Elu Gelu HardSigmoid"),
        ("hard_swish", "HARD_SWISH HardSwish"),
        ("padding", "PAD PADV2 MIRROR_PAD Pad"),
        ("concatenation", "CONCATENATION PACK Concat"),
        ("copy", "TRANSPOSE SPLIT SPLIT_V SLICE STRIDED_SLICE GATHER UNPACK DEPTH_TO_SPACE SPACE_TO_DEPTH"),
        ("copy", "Transpose Split Slice Gather DepthToSpace SpaceToDepth"),
    )
    for name in names.split()
}
#: They change no value, or only once, when the file is loaded.
_FREE = frozenset(
    {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "Constant", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear"}
    | {"Reshape", "Shape", "Squeeze", "Unsqueeze"}
)
_INTEGERS = frozenset({"int8", "uint8", "int16", "int4"})


def graph_works(graph: Graph) -> list[tuple[str, Work]]:
    """Return (precision, work) of each operator of a file that costs time.

    The precision is `w8a8` where integers go in or come out, `w8` where the weights alone are integers, else `fp32`.
    In a QDQ ONNX file it is what runtimes compute: what is between conversions is `w8a8`, and they are free.
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
    return replace(_computing(graph, operator), activations=moved, weights=fixed)


def _computing(graph: Graph, operator: Operator) -> Work:
    if operator.kind in _PLAIN_KINDS or not operator.macs:
        kind = _PLAIN_KINDS.get(operator.kind, "other")
        shapes = {graph.tensors[index].shape for index in operator.inputs if index >= 0}
        return Work("broadcast" if kind == "elementwise" and len(shapes) > 1 else kind, operator.macs)
    produced = graph.tensors[operator.outputs[0]].shape
    channels = produced[1] if graph.format == "onnx" and len(produced) == 4 else produced[-1]
    weight = max((graph.tensors[index].shape for index in operator.inputs[1:] if index >= 0), key=prod, default=())
    if operator.kind in _LINEAR:
        return Work("linear", operator.macs, operator.macs // max(prod(produced), 1), channels)
    if operator.kind != _DEPTHWISE and operator.kind not in _CONVOLUTIONS:
        return Work("other", operator.macs)
    taps = prod(weight[2:]) if graph.format == "onnx" else prod(weight[1:3])
    inner = operator.macs // max(prod(produced) * taps, 1)  # input channels of a group
    x = graph.tensors[operator.inputs[0]].shape
    entering = x[1] if graph.format == "onnx" else x[-1]
    # A DEPTHWISE_CONV_2D that makes several channels of one is a depthwise convolution all the same.
    groups = entering if operator.kind == _DEPTHWISE else max(entering // max(inner, 1), 1)
    kind = kind_of_convolution(taps, entering, groups)
    return Work(kind, operator.macs, inner, channels if kind == "depthwise" else channels // groups)
