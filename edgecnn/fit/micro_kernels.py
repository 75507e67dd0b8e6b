"""What TFLite Micro's kernels take from the arena, one row a kernel, as its own interpreter reports it.

Source of every figure: `print_allocations()` of the PyPI package `tflite-micro` 0.dev20261023 (its reference kernels,
64-bit), run on files of one operator each. An operator that package does not find is not in `SUPPORTED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgecnn.formats import Graph, Operator, Tensor


@dataclass(frozen=True)
class Kernel:
    """Bytes a kernel keeps for one operator on a 64-bit host."""

    op_data_bytes: int = 0
    op_data_pointers: int = 0  # of them pointers, which shrink to 4 bytes each
    builtin_bytes: int = 0  # the operator's options, unpacked from the file


_UNARY = Kernel(28)
_POOL = Kernel(32, 0, 40)
_REDUCE = Kernel(44, 0, 1)
_CONV = Kernel(80, 2, 28)

KERNELS = {
    "ABS": _UNARY,
    "ADD": Kernel(60, 0, 8),
    "ADD_N": Kernel(40, 0, 8),
    "ARG_MAX": Kernel(builtin_bytes=4),
    "ARG_MIN": Kernel(builtin_bytes=4),
    "AVERAGE_POOL_2D": _POOL,
    "BATCH_MATMUL": Kernel(80, 3, 3),
    "CAST": Kernel(builtin_bytes=8),
    "CONCATENATION": Kernel(80, 2, 8),
    "CONV_2D": _CONV,
    "DEPTHWISE_CONV_2D": _CONV,
    "DEPTH_TO_SPACE": Kernel(20, 0, 4),
    "DEQUANTIZE": Kernel(32),
    "DIV": Kernel(28, 0, 4),
    "ELU": Kernel(256),
    "FULLY_CONNECTED": Kernel(72, 2, 32),
    "GATHER": Kernel(20, 0, 8),
    "HARD_SWISH": Kernel(20),
    "L2_NORMALIZATION": Kernel(4, 0, 4),
    "L2_POOL_2D": Kernel(20, 0, 40),
    "LEAKY_RELU": Kernel(24, 0, 4),
    "LOGISTIC": Kernel(16),
    "MAX_POOL_2D": _POOL,
    "MEAN": _REDUCE,
    "MIRROR_PAD": Kernel(20, 0, 4),
    "MUL": Kernel(36, 0, 4),
    "PACK": Kernel(builtin_bytes=8),
    "PAD": Kernel(56),
    "PADV2": Kernel(56),
    "PRELU": _UNARY,
    "QUANTIZE": Kernel(32),
    "REDUCE_MAX": _REDUCE,
    "REDUCE_MIN": _REDUCE,
    "RELU": _UNARY,
    "RELU6": Kernel(8),
    "RESHAPE": Kernel(builtin_bytes=36),
    "RESIZE_BILINEAR": Kernel(builtin_bytes=2),
    "RESIZE_NEAREST_NEIGHBOR": Kernel(builtin_bytes=2),
    "RSQRT": _UNARY,
    "SOFTMAX": Kernel(80, 2, 4),
    "SPACE_TO_BATCH_ND": Kernel(4),
    "SPACE_TO_DEPTH": Kernel(20, 0, 4),
    "SPLIT": Kernel(builtin_bytes=4),
    "SPLIT_V": Kernel(builtin_bytes=4),
    "SQUARED_DIFFERENCE": Kernel(112),
    "SQUEEZE": Kernel(builtin_bytes=36),
    "STRIDED_SLICE": Kernel(84, 0, 24),
    "SUB": Kernel(52, 0, 8),
    "SUM": _REDUCE,
    "TANH": Kernel(16),
    "TRANSPOSE_CONV": Kernel(88, 2, 20),
    "UNPACK": Kernel(builtin_bytes=8),
}

_SUPPORTED_NAMES = """
ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV
DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED
GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG
NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE
RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE
TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""

#: The operators TFLite Micro has a kernel for.
SUPPORTED = frozenset(_SUPPORTED_NAMES.split())

_PER_CHANNEL = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0}  # kind → axis of the output channels
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_QUANTIZED = ("int8", "int16", "uint8")


def persistent_bytes(graph: Graph, operator: Operator, pointer_bytes: int) -> tuple[int, ...]:
    """Return the pieces one operator keeps in the arena for good, its op data first."""
    kernel = KERNELS.get(operator.kind, Kernel())
    pieces = [kernel.op_data_bytes - kernel.op_data_pointers * (8 - pointer_bytes)]
    inputs = _inputs(graph, operator)
    if operator.kind in _PER_CHANNEL and len(inputs) > 1:
        # One int32 multiplier and one int32 shift a channel, allocated for float operators as well.
        pieces += [4 * inputs[1].shape[_PER_CHANNEL[operator.kind]]] * 2
    if operator.kind == "BATCH_MATMUL" and len(inputs) > 1:
        # A transposed copy of each side that is not stored as the kernel reads it.
        transposed = (operator.options.get("adj_x", 0), not operator.options.get("adj_y", 0))
        pieces += [tensor.size_bytes for tensor, copied in zip(inputs, transposed, strict=False) if copied]
    return tuple(piece for piece in pieces if piece > 0)


def scratch_bytes(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """Return the scratch buffers that the reference kernel of one operator asks for while it runs, in its order."""
    inputs = _inputs(graph, operator)
    if not inputs or not operator.outputs:
        return ()
    output, kind, first = graph.tensors[operator.outputs[0]], operator.kind, inputs[0]
    if kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        axes = prod(inputs[1].shape) if len(inputs) > 1 else len(first.shape)
        sums = (4 * prod(output.shape),) if kind in ("MEAN", "SUM") and first.dtype in _QUANTIZED else ()
        return (4 * len(first.shape), 4 * axes, *sums)
    if kind == "TRANSPOSE_CONV" and output.dtype in ("int8", "int16"):
        return ((4 if output.dtype == "int8" else 8) * prod(output.shape),)
    if kind == "MIRROR_PAD":
        return (4 * len(first.shape), 4 * len(first.shape))
    if kind == "ADD_N":
        return (8 * len(inputs),)
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") and inputs[1].dtype == "int4":
        return (prod(inputs[1].shape),)
    return ()


def unsupported_by_micro(graph: Graph) -> tuple[str, ...]:
    """Return the operators TFLite Micro cannot run, with the reason where it is not the kind itself."""
    found = {operator.kind for operator in graph.operators} - SUPPORTED
    for operator in graph.operators:
        inputs = _inputs(graph, operator)
        dtypes = [tensor.dtype for tensor in inputs]
        if operator.kind in _WEIGHTED and dtypes[0] == "float32" and dtypes[1] in ("int8", "int4"):
            found.add(f"{operator.kind} with {dtypes[1]} weights and float activations")
        if "float16" in dtypes:
            found.add(f"{operator.kind} of float16")
    return tuple(sorted(found))


def _inputs(graph: Graph, operator: Operator) -> list[Tensor]:
    return [graph.tensors[index] for index in operator.inputs if index >= 0]
