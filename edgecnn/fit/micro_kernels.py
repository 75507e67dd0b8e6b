"""What TFLite Micro's kernels take from the arena, one row a kernel, as its own interpreter reports it.

Source of every figure: `print_allocations()` of the PyPI package `tflite-micro` 0.dev20261023 (its reference kernels,
64-bit), run on files of one operator each; the sizes that depend on shapes are those of the `Init` and `Prepare`
functions in `tensorflow/lite/micro/kernels` and `signal/micro/kernels` of tensorflow/tflite-micro.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from edgecnn.fit.call import Call
from edgecnn.formats import Tensor

_QUANTIZED = ("int8", "int16", "uint8")

#: A call and the size of a pointer → pieces of memory, in the order they are asked for.
Pieces = Callable[[Call, int], tuple[int, ...]]


@dataclass(frozen=True)
class Kernel:
    """What a kernel keeps for one operator, and what it asks for while it runs."""

    op_data_bytes: int = 0  # on a 64-bit host
    op_data_pointers: int = 0  # of them pointers (and what lines them up), which shrink to 4 bytes each
    builtin_bytes: int = 0  # the operator's options, unpacked from the file
    more: Pieces | None = None  # kept for good beside the op data
    scratch: Callable[[Call], tuple[int, ...]] | None = None
    options_hold_pointers: bool = False  # which they are lined up to

    def builtin_alignment(self, pointer_bytes: int) -> int:
        """Return what the operator's options are lined up to."""
        if self.options_hold_pointers:
            return pointer_bytes
        return 4 if self.builtin_bytes >= 4 else 1


def _dims_bytes(tensor: Tensor) -> int:
    """Return a TfLiteIntArray of a tensor's shape."""
    return 4 + 4 * len(tensor.shape)


def _output_dims(call: Call, pointer: int) -> tuple[int, ...]:
    return (_dims_bytes(call.outputs[0]),)


def _per_channel(axis: int) -> Pieces:
    """Return one int32 multiplier and one int32 shift a channel, which float operators get as well."""
    return lambda call, pointer: (4 * call.given[1].shape[axis],) * 2


def _fully_connected(call: Call, pointer: int) -> tuple[int, ...]:
    quant = call.given[1].quant
    per_channel = quant is not None and len(quant.scale) > 1
    return (4 * len(quant.scale),) * 2 if quant is not None and per_channel else ()


def _batch_matmul(call: Call, pointer: int) -> tuple[int, ...]:
    """Return a transposed copy of each side that is not stored as the kernel reads it, and what describes it."""
    transposed = (call.options.get("adj_x", 0), not call.options.get("adj_y", 0))
    pieces: list[int] = []
    for tensor, copied in zip(call.given, transposed, strict=False):
        if copied:
            pieces += [3 * pointer, _dims_bytes(tensor), tensor.size_bytes]
    quantization = (28,) if call.given[0].dtype in _QUANTIZED else ()
    return (*quantization, *pieces, _dims_bytes(call.outputs[0]))


def _softmax(call: Call, pointer: int) -> tuple[int, ...]:
    """Return the two tables of 513 int16 that int16 softmax looks up."""
    return (1026, 1026) if call.given[0].dtype == "int16" else ()


def _of_int8(size: int) -> Pieces:
    return lambda call, pointer: (size,) if call.given[0].dtype == "int8" else ()


def _reduce_scratch(call: Call) -> tuple[int, ...]:
    first = call.given[0]
    axes = prod(call.given[1].shape) if len(call.given) > 1 else len(first.shape)
    counted = call.kind in ("MEAN", "SUM") and first.dtype in _QUANTIZED
    return (4 * len(first.shape), 4 * axes, *((4 * prod(call.outputs[0].shape),) if counted else ()))


def _int4_scratch(call: Call) -> tuple[int, ...]:
    """Return the weights unpacked to int8."""
    return (prod(call.given[1].shape),) if call.given[1].dtype == "int4" else ()


def _transpose_conv_scratch(call: Call) -> tuple[int, ...]:
    width = {"int8": 4, "int16": 8}.get(call.outputs[0].dtype)
    return () if width is None else (width * prod(call.outputs[0].shape),)


def _svdf_scratch(call: Call) -> tuple[int, ...]:
    """Return the sums of the filters and, for int8, of the units (svdf_common.cc)."""
    batch, filters = call.given[0].shape[0], call.given[1].shape[0]
    units = (4 * batch * call.outputs[0].shape[-1],) if call.given[0].dtype == "int8" else ()
    return (4 * batch * filters, *units)


def _lstm_scratch(call: Call) -> tuple[int, ...]:
    """Return one buffer of the cell state's type a gate (unidirectional_sequence_lstm.cc)."""
    state = call.input(19)
    return (0,) * 4 if state is None else (state.size_bytes,) * 4


def _detection_scratch(call: Call) -> tuple[int, ...]:
    """Return what non-max suppression sorts in (detection_postprocess.cc); the classes count with the background."""
    boxes, classes = call.given[1].shape[1:3]
    most = prod(call.outputs[1].shape)  # max_detections * max_classes_per_detection
    rows = (1, 16, 4 * classes, 4, 4, 4 * most, 4 * most, 4, 4 * most, 4 * max(classes, most), 4 * min(boxes, most))
    return tuple(boxes * row for row in rows)


_WIDTHS = {"int16": 2, "int32": 4, "float32": 4}


def _kiss_fft_bytes(length: int, width: int, pointer: int) -> int:
    """Return KISS FFT's state for a real transform of *length*: factors, twiddles and its work area."""
    half = length // 2
    complex_bytes = 2 * width
    inner = 8 + 4 * 2 * 32 + complex_bytes * half
    return 3 * pointer + -(-inner // 8) * 8 + complex_bytes * (half * 3 // 2)


def _rfft(call: Call, pointer: int) -> tuple[int, ...]:
    return (_kiss_fft_bytes(call.outputs[0].shape[-1] - 2, _WIDTHS.get(call.given[0].dtype, 4), pointer),)


def _rfft_scratch(call: Call) -> tuple[int, ...]:
    return ((call.outputs[0].shape[-1] - 2) * _WIDTHS.get(call.given[0].dtype, 4),)


def _channels(width: int, more: int = 0) -> Pieces:
    return lambda call, pointer: (width * (call.outputs[0].shape[-1] + more),)


_NONE = Kernel()
_UNARY = Kernel(28)
_POOL = Kernel(32, 0, 40)
_REDUCE = Kernel(44, 0, 1, scratch=_reduce_scratch)
_COMPARISON = Kernel(32)
_ARG = Kernel(builtin_bytes=4)
_PAD = Kernel(56)

KERNELS = {
    "ABS": _UNARY,
    "ADD": Kernel(60, 0, 8),
    "ADD_N": Kernel(more=_of_int8(40), scratch=lambda call: (8 * len(call.inputs),)),
    "ARG_MAX": _ARG,
    "ARG_MIN": _ARG,
    "ASSIGN_VARIABLE": Kernel(4),
    "AVERAGE_POOL_2D": _POOL,
    "BATCH_MATMUL": Kernel(32, 4, 3, _batch_matmul),
    "BATCH_TO_SPACE_ND": _NONE,
    "BROADCAST_ARGS": _NONE,
    "BROADCAST_TO": _NONE,
    "CALL_ONCE": Kernel(8, 0, 4),
    "CAST": Kernel(builtin_bytes=8),
    "CEIL": _NONE,
    "CONCATENATION": Kernel(80, 2, 8),
    "CONV_2D": Kernel(80, 2, 28, _per_channel(0), _int4_scratch),
    "COS": _NONE,
    "CUMSUM": Kernel(builtin_bytes=2, more=_of_int8(36)),
    "DEPTHWISE_CONV_2D": Kernel(80, 2, 28, _per_channel(3), _int4_scratch),
    "DEPTH_TO_SPACE": Kernel(0, 0, 4, _output_dims),
    "DEQUANTIZE": Kernel(32),
    "DIV": Kernel(28, 0, 4),
    "DYNAMIC_UPDATE_SLICE": _NONE,
    "ELU": Kernel(256),
    "EMBEDDING_LOOKUP": Kernel(16, 0, 0, _output_dims),
    "EQUAL": _COMPARISON,
    "EXP": _NONE,
    "EXPAND_DIMS": _NONE,
    "FILL": _NONE,
    "FLOOR": _NONE,
    "FLOOR_DIV": _NONE,
    "FLOOR_MOD": _NONE,
    "FULLY_CONNECTED": Kernel(72, 2, 32, _fully_connected, _int4_scratch, options_hold_pointers=True),
    "GATHER": Kernel(0, 0, 8, _output_dims),
    "GATHER_ND": Kernel(more=_output_dims),
    "GREATER": _COMPARISON,
    "GREATER_EQUAL": _COMPARISON,
    "HARD_SWISH": Kernel(20),
    "L2_NORMALIZATION": Kernel(4, 0, 4),
    "L2_POOL_2D": Kernel(20, 0, 40),
    "LEAKY_RELU": Kernel(24, 0, 4),
    "LESS": _COMPARISON,
    "LESS_EQUAL": _COMPARISON,
    "LOG": _NONE,
    "LOGICAL_AND": _NONE,
    "LOGICAL_NOT": _NONE,
    "LOGICAL_OR": _NONE,
    "LOGISTIC": Kernel(16),
    "LOG_SOFTMAX": Kernel(more=_of_int8(40)),
    "MAXIMUM": _NONE,
    "MAX_POOL_2D": _POOL,
    "MEAN": _REDUCE,
    "MINIMUM": _NONE,
    "MIRROR_PAD": Kernel(20, 0, 4, scratch=lambda call: (4 * len(call.given[0].shape),) * 2),
    "MUL": Kernel(36, 0, 4),
    "NEG": _NONE,
    "NOT_EQUAL": _COMPARISON,
    "PACK": Kernel(builtin_bytes=8),
    "PAD": _PAD,
    "PADV2": _PAD,
    "PRELU": _UNARY,
    "QUANTIZE": Kernel(32),
    "READ_VARIABLE": _NONE,
    "REDUCE_ALL": _REDUCE,
    "REDUCE_MAX": _REDUCE,
    "REDUCE_MIN": _REDUCE,
    "RELU": _UNARY,
    "RELU6": Kernel(8),
    "RESHAPE": Kernel(builtin_bytes=36),
    "RESIZE_BILINEAR": Kernel(builtin_bytes=2),
    "RESIZE_NEAREST_NEIGHBOR": Kernel(builtin_bytes=2),
    "REVERSE_V2": _NONE,
    "ROUND": _NONE,
    "RSQRT": _UNARY,
    "SELECT_V2": Kernel(1),
    "SHAPE": Kernel(builtin_bytes=4),
    "SIN": _NONE,
    "SLICE": _NONE,
    "SOFTMAX": Kernel(80, 2, 4, _softmax),
    "SPACE_TO_BATCH_ND": Kernel(4),
    "SPACE_TO_DEPTH": Kernel(0, 0, 4, _output_dims),
    "SPLIT": Kernel(builtin_bytes=4),
    "SPLIT_V": Kernel(builtin_bytes=4),
    "SQRT": _NONE,
    "SQUARE": _NONE,
    "SQUARED_DIFFERENCE": Kernel(112),
    "SQUEEZE": Kernel(builtin_bytes=36),
    "STRIDED_SLICE": Kernel(84, 0, 24),
    "SUB": Kernel(52, 0, 8),
    "SUM": _REDUCE,
    "SVDF": Kernel(36, 0, 12, scratch=_svdf_scratch),
    "TANH": Kernel(16),
    "TRANSPOSE": _NONE,
    "TRANSPOSE_CONV": Kernel(88, 2, 20, _per_channel(0), _transpose_conv_scratch),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Kernel(688, 0, 16, scratch=_lstm_scratch),
    "UNPACK": Kernel(builtin_bytes=8),
    "VAR_HANDLE": Kernel(4, 0, 16, options_hold_pointers=True),
    "ZEROS_LIKE": _NONE,
    "SignalEnergy": Kernel(8),
    "SignalFftAutoScale": _NONE,
    "SignalFilterBank": Kernel(56, 7, 0, _channels(8, 1)),
    "SignalFilterBankLog": Kernel(8),
    "SignalFilterBankSpectralSubtraction": Kernel(56, 3, 0, _channels(4)),
    "SignalFilterBankSquareRoot": _NONE,
    "SignalPCAN": Kernel(4),
    "SignalRfft": Kernel(48, 4, 0, _rfft, _rfft_scratch),
    "SignalWindow": Kernel(8),
    "TFLite_Detection_PostProcess": Kernel(112, scratch=_detection_scratch),
}


def is_modelled(kind: str) -> bool:
    """Return whether it is known what a kernel takes from the arena."""
    return kind in KERNELS


def persistent_bytes(call: Call, pointer_bytes: int) -> tuple[int, ...]:
    """Return the pieces one operator keeps in the arena for good, its op data first.

    Args:
        call: the operator with its tensors.
        pointer_bytes: 4 or 8.
    """
    kernel = KERNELS.get(call.kind, _NONE)
    op_data = kernel.op_data_bytes - kernel.op_data_pointers * (8 - pointer_bytes)
    more = kernel.more(call, pointer_bytes) if kernel.more else ()
    return tuple(piece for piece in (op_data, *more) if piece > 0)


def scratch_bytes(call: Call) -> tuple[int, ...]:
    """Return the scratch buffers that the reference kernel of one operator asks for while it runs, in its order."""
    scratch = KERNELS.get(call.kind, _NONE).scratch
    return scratch(call) if scratch and call.given and call.outputs else ()
