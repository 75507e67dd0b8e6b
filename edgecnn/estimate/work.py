"""What each operator of a file has to do: multiply-adds as kernels run them, and values moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from edgecnn.estimate.kernels import CONVOLUTIONS, DEPTHWISE, LINEAR, Kernel, constants_of, kernels_of
from edgecnn.formats import Graph, Operator

#: What a power costs, in multiply-adds: a local response normalization takes one for each value.
POWER_MACS = 20
_LEAST_WINOGRAD = 16  # channels from which on ncnn transforms


@dataclass(frozen=True)
class Blocks:
    """Channels that kernels compute at once: a layer of 9 output channels costs what one of 16 does.

    8 output channels are XNNPACK's and ncnn's NEON kernels in fp32 and int8; with AMX a tile is 64 by 64.
    """

    inputs: int = 1
    outputs: int = 8
    #: Share of the multiply-adds that a 3x3 convolution with stride 1 takes; below 1 with Winograd's algorithm (ncnn).
    winograd: float = 1.0


@dataclass(frozen=True)
class Work:
    """What one operator has to do in one run."""

    kind: str  # one of LATENCY_KINDS
    macs: int = 0
    inputs: int = 1  # channels that each sum runs over; of a group
    outputs: int = 1  # channels that come out; of a group, and of a depthwise convolution all
    activations: int = 0  # values read and written
    weights: int = 0  # values read
    winograd: bool = False  # a convolution that Winograd's algorithm can compute

    def padded_macs(self, blocks: Blocks) -> float:
        """Return the multiply-adds with channels rounded up to what kernels compute at once."""
        inputs = 1 if self.kind == "depthwise" else blocks.inputs
        share = blocks.winograd if self.winograd else 1.0
        return share * self.macs * _excess(self.inputs, inputs) * _excess(self.outputs, blocks.outputs)


def _excess(channels: int, block: int) -> float:
    """Return by what factor *channels* grow when they are rounded up to a multiple of *block*."""
    return -(-channels // block) * block / max(channels, 1)


def winograd_applies(kernel: tuple[int, ...], stride: int, inputs: int, outputs: int) -> bool:
    """Return whether Winograd's algorithm pays (Lavin and Gray 2016): 3x3, stride 1, and channels enough to fill it."""
    return kernel == (3, 3) and stride == 1 and min(inputs, outputs) >= _LEAST_WINOGRAD


def kind_of_convolution(kernel_values: int, channels: int, groups: int) -> str:
    """Return the kind of a convolution over *channels* in *groups*; of a single channel it is a regular one."""
    if groups == channels > 1:
        return "depthwise"
    if kernel_values == 1:
        return "pointwise"
    return "grouped" if groups > 1 else "conv"


#: Operators without weights, by what their kernels do: some run in float alone, some look values up in a table.
_PLAIN_KINDS = {
    name: kind
    for kind, names in (
        ("max_pooling", "MAX_POOL_2D MaxPool"),
        ("average_pooling", "AVERAGE_POOL_2D AveragePool"),
        ("mean", "MEAN SUM REDUCE_MAX GlobalAveragePool GlobalMaxPool ReduceMean ReduceMax"),
        ("elementwise", "ADD SUB MUL DIV MAXIMUM MINIMUM RELU RELU6 PRELU LEAKY_RELU QUANTIZE DEQUANTIZE"),
        (
            "elementwise",
            "Add Sub Mul Div Max Min Relu Clip PRelu LeakyRelu HardSigmoid QuantizeLinear DequantizeLinear",
        ),
        ("broadcast", "BatchNormalization"),
        ("sigmoid", "LOGISTIC TANH ELU GELU Sigmoid Tanh Elu Gelu"),
        ("hard_swish", "HARD_SWISH HardSwish"),
        ("padding", "PAD PADV2 MIRROR_PAD Pad"),
        ("concatenation", "CONCATENATION PACK Concat"),
        ("copy", "TRANSPOSE SPLIT SPLIT_V SLICE STRIDED_SLICE GATHER UNPACK DEPTH_TO_SPACE SPACE_TO_DEPTH"),
        ("copy", "Transpose Split Slice Gather DepthToSpace SpaceToDepth"),
    )
    for name in names.split()
}


def graph_works(graph: Graph, runtime: str = "litert") -> list[tuple[str, Work]]:
    """Return (precision, work) of each operator of a file that costs time where *runtime* runs it, fused as it does.

    The precision is the name of what the kernel computes in: `edgecnn.formats.precision.computed_precisions`.
    """
    return [(kernel.precision, work) for kernel, work in kernel_works(graph, runtime)]


def kernel_works(graph: Graph, runtime: str) -> list[tuple[Kernel, Work]]:
    """Return the kernels that *runtime* runs of *graph*, each with what it has to do."""
    known = constants_of(graph)
    return [(kernel, _work(graph, kernel.operator, known)) for kernel in kernels_of(graph, runtime)]


def _work(graph: Graph, operator: Operator, known: frozenset[int]) -> Work:
    named = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
    constants = [prod(graph.tensors[index].shape) for index in named if index in known and _is_read(graph, index)]
    # A bias is little beside the weights, and one of zeros is left out of some files.
    fixed = max(constants, default=0) if operator.macs else sum(constants)
    moved = sum(prod(graph.tensors[index].shape) for index in named if index not in known)
    return replace(_computing(graph, operator), activations=moved, weights=fixed)


def _is_read(graph: Graph, index: int) -> bool:
    """Return whether a constant is one of weights; a single number, a shape or an axis costs nothing to read."""
    tensor = graph.tensors[index]
    plain = tensor.dtype == "int64" or (tensor.dtype == "int32" and tensor.quant is None)
    return prod(tensor.shape) > 1 and not plain


def _computing(graph: Graph, operator: Operator) -> Work:
    if operator.kind in _PLAIN_KINDS or not operator.macs:
        kind = _PLAIN_KINDS.get(operator.kind, "other")
        shapes = {graph.tensors[index].shape for index in operator.inputs if index >= 0}
        if operator.kind in ("LRN", "LOCAL_RESPONSE_NORMALIZATION"):
            return Work("other", POWER_MACS * prod(graph.tensors[operator.outputs[0]].shape))
        several = len({shape for shape in shapes if prod(shape) > 1}) > 1
        return Work("broadcast" if kind == "elementwise" and several else kind, operator.macs)
    produced = graph.tensors[operator.outputs[0]].shape
    channels = produced[1] if graph.format == "onnx" and len(produced) == 4 else produced[-1]
    weight = max((graph.tensors[index].shape for index in operator.inputs[1:] if index >= 0), key=prod, default=())
    if operator.kind in LINEAR:
        return Work("linear", operator.macs, operator.macs // max(prod(produced), 1), channels)
    if operator.kind != DEPTHWISE and operator.kind not in CONVOLUTIONS:
        return Work("other", operator.macs)
    sides = tuple(weight[2:] if graph.format == "onnx" else weight[1:3])
    taps = prod(sides)
    inner = operator.macs // max(prod(produced) * taps, 1)  # input channels of a group
    x = graph.tensors[operator.inputs[0]].shape
    entering = x[1] if graph.format == "onnx" else x[-1]
    # A DEPTHWISE_CONV_2D that makes several channels of one is a depthwise convolution all the same.
    groups = entering if operator.kind == DEPTHWISE else max(entering // max(inner, 1), 1)
    kind = kind_of_convolution(taps, entering, groups)
    made = channels if kind == "depthwise" else channels // groups
    stride = max(operator.options.get(f"{name}_{side}", 1) for name in ("stride", "dilation") for side in "hw")
    winograd = kind == "conv" and winograd_applies(sides, stride, inner, made)
    return Work(kind, operator.macs, inner, made, winograd=winograd)
