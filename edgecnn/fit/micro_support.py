"""Which operators TFLite Micro runs, with which tensors: the rules of each kernel in one table.

An operator that the package `tflite-micro` 0.dev20261023 does not find is not in the table.
"""

from __future__ import annotations

from edgecnn.fit.call import Call
from edgecnn.fit.micro_rules import (
    Rule,
    alike,
    begins_and_sizes,
    bias_has_product_scale,
    broadcast_rank,
    casts,
    channel_scales,
    constant,
    detects,
    ends_have_scales,
    fills_with_own_type,
    gives,
    gives_type_of_image,
    images,
    index,
    inputs_of_one_scale,
    looks_up,
    lstm_types,
    no_activation,
    no_listed_gap,
    of,
    one_scale,
    output_params,
    pads_with_own_type,
    pairs,
    plain_lstm,
    quantized,
    quantizes,
    rank,
    same,
    same_bytes,
    same_scale,
    same_sides,
    sized,
    softmax_output,
    state,
    svdf_bias,
    svdf_types,
    symmetric_int16,
    ten_inputs,
    without_zeros,
)
from edgecnn.formats import Graph


def unsupported_by_micro(graph: Graph) -> tuple[str, ...]:
    """Return the operators TFLite Micro cannot run, each with what its kernel asks for where it has one.

    Every subgraph counts: the interpreter prepares them all.
    """
    found: set[str] = set()
    for subgraph in (graph, *graph.further):
        for operator in subgraph.operators:
            reason = why_unsupported(Call.of(subgraph, operator))
            if reason:
                found.add(reason)
    return tuple(sorted(found))


def why_refused(graph: Graph) -> str | None:
    """Return why *graph* is no file for microcontrollers: what is refused or computes in float there; else None."""
    refused = unsupported_by_micro(graph)
    if refused:
        return f"TFLite Micro does not run {'; '.join(refused)}"
    floats = dict.fromkeys(kind for kind, _ in graph.float_operators())
    return f"{', '.join(floats)} still computes in float" if floats else None


def why_unsupported(call: Call) -> str | None:
    """Return the first rule of its kernel that *call* breaks, as a user reads it; None where it runs."""
    rules = RULES.get(call.kind)
    if rules is None:
        return call.kind
    broken = next((rule for rule in (sized, without_zeros, *rules) if not rule(call)), None)
    if broken is None:
        return None
    types = " x ".join(dict.fromkeys(tensor.dtype for tensor in call.given[:2]))
    return f"{call.kind} of {types}: {(broken.__doc__ or '').rstrip('.')}"


_ANY: tuple[Rule, ...] = ()
_FLOAT = (of("float32"), same)
_FLOAT_INT8 = (of("float32", "int8"), same)
_FLOAT_INT8_16 = (of("float32", "int8", "int16"), same)
_ARITHMETIC = (
    of("float32", "int8", "int16", "int32"),
    alike,
    same,
    quantized,
    symmetric_int16,
)
_COMPARISON = (of("float32", "int8", "int32", "int64"), alike, gives("bool"), quantized)
_EQUALITY = (of("float32", "int8", "int32", "int64", "bool"), alike, gives("bool"), quantized)
_PADDING = (of("float32", "int8", "int16", "int32"), same, constant(1), index(1), rank(0, 5))
_POOLING = (*_FLOAT_INT8_16, rank(4, 4), same_scale)
_REDUCE = (same, constant(1), index(1))
_EXTREME = (*_FLOAT_INT8, *_REDUCE, same_scale)
_ARG = (of("float32", "int8"), index(1), gives("int32"))
_UNPACKED = {"float32": ("float32",), "int8": ("int8",), "int16": ("int8",)}  # input → its weights
_CONV = {"float32": ("float32",), "int8": ("int8", "int4"), "int16": ("int8",)}
_RESIZE = (constant(1), index(1), rank(4, 4))
_BATCHES = (*_FLOAT_INT8, rank(3, 4), constant(1, 2), index(1), index(2))

#: Operator → the rules of its kernel. Custom operators are registered by their names.
RULES: dict[str, tuple[Rule, ...]] = {
    "ABS": (*_FLOAT_INT8_16, quantized),
    "ADD": _ARITHMETIC,
    "ADD_N": (*_FLOAT_INT8, alike, quantized, inputs_of_one_scale),
    "ARG_MAX": _ARG,
    "ARG_MIN": _ARG,
    "ASSIGN_VARIABLE": _ANY,
    "AVERAGE_POOL_2D": _POOLING,
    "BATCH_MATMUL": (of("float32", "int8", "int16"), same_sides, quantized, rank(2, 5)),
    "BATCH_TO_SPACE_ND": _BATCHES,
    "BROADCAST_ARGS": (of("int32", "int64"), alike, same),
    "BROADCAST_TO": (same, constant(1), index(1), rank(0, 5)),
    "CALL_ONCE": _ANY,
    "CAST": (casts,),
    "CEIL": _FLOAT,
    "CONCATENATION": (
        of("float32", "int8", "int16", "int32", "int64", "bool"),
        same,
        ten_inputs,
        no_activation,
        rank(0, 6),
        quantized,
        one_scale,
    ),
    "CONV_2D": (pairs(_CONV), same, images(0, 1), channel_scales(0), ends_have_scales(0)),
    "COS": _FLOAT,
    "CUMSUM": (*_FLOAT_INT8, index(1), quantized),
    "DEPTHWISE_CONV_2D": (pairs(_CONV), same, images(0, 1), channel_scales(3), ends_have_scales(0), no_listed_gap),
    "DEPTH_TO_SPACE": (*_FLOAT_INT8, rank(4, 4)),
    "DEQUANTIZE": (of("int8", "int16", "uint8"), gives("float32")),
    "DIV": (of("float32", "int8", "int32"), alike, same, quantized),
    "DYNAMIC_UPDATE_SLICE": (of("float32", "int8", "int16", "int32"), alike, same, rank(1, 6)),
    "ELU": _FLOAT_INT8,
    "EMBEDDING_LOOKUP": (of("int32"), looks_up),
    "EQUAL": _EQUALITY,
    "EXP": _FLOAT,
    "EXPAND_DIMS": (*_FLOAT_INT8_16, constant(1), index(1), rank(0, 7)),
    "FILL": (of("float32", "int8", "int32", at=1), fills_with_own_type, constant(0)),
    "FLOOR": _FLOAT,
    "FLOOR_DIV": (*_FLOAT, alike),
    "FLOOR_MOD": (*_FLOAT, alike),
    "FULLY_CONNECTED": (pairs(_CONV), same, bias_has_product_scale),
    "GATHER": (*_FLOAT_INT8, of("int32", at=1)),
    "GATHER_ND": (*_FLOAT_INT8, of("int32", at=1)),
    "GREATER": (of("float32", "int8", "int16", "int32", "int64"), alike, gives("bool"), quantized),
    "GREATER_EQUAL": _COMPARISON,
    "HARD_SWISH": _FLOAT_INT8,
    "L2_NORMALIZATION": (*_FLOAT_INT8, output_params(int8=(1 / 128, 0))),
    "L2_POOL_2D": (*_FLOAT, rank(4, 4)),
    "LEAKY_RELU": _FLOAT_INT8_16,
    "LESS": _COMPARISON,
    "LESS_EQUAL": _COMPARISON,
    "LOG": _FLOAT,
    "LOGICAL_AND": (of("bool"), alike, same),
    "LOGICAL_NOT": (of("bool"), same),
    "LOGICAL_OR": (of("bool"), alike, same),
    "LOGISTIC": (*_FLOAT_INT8_16, output_params(int8=(None, -128), int16=(1 / 32768, 0))),
    "LOG_SOFTMAX": (*_FLOAT_INT8, quantized, output_params(int8=(16 / 256, 127))),
    "MAXIMUM": (of("float32", "int8", "int16", "int32", "int64"), alike, same),
    "MAX_POOL_2D": _POOLING,
    "MEAN": (*_FLOAT_INT8_16, *_REDUCE),
    "MINIMUM": (of("float32", "int8", "int16", "int32", "int64"), alike, same),
    "MIRROR_PAD": (*_FLOAT_INT8, constant(1)),
    "MUL": _ARITHMETIC,
    "NEG": _FLOAT,
    "NOT_EQUAL": _EQUALITY,
    "PACK": (of("float32", "int8", "int16", "int32", "int64"), same),
    "PAD": _PADDING,
    "PADV2": (*_PADDING, quantized, pads_with_own_type),
    "PRELU": (pairs(_UNPACKED), same, broadcast_rank(4)),
    "QUANTIZE": (quantizes,),
    "READ_VARIABLE": _ANY,
    "REDUCE_ALL": (of("bool"), *_REDUCE),
    "REDUCE_MAX": _EXTREME,
    "REDUCE_MIN": _EXTREME,
    "RELU": _FLOAT_INT8_16,
    "RELU6": _FLOAT_INT8_16,
    "RESHAPE": (same, same_bytes),
    "RESIZE_BILINEAR": (*_FLOAT_INT8, *_RESIZE),
    "RESIZE_NEAREST_NEIGHBOR": (*_FLOAT_INT8_16, *_RESIZE),
    "REVERSE_V2": (
        of("float32", "int8", "int16", "uint8", "int32", "int64", "bool"),
        same,
        index(1),
        rank(0, 6),
    ),
    "ROUND": _FLOAT,
    "RSQRT": (*_FLOAT_INT8_16, quantized),
    "SELECT_V2": (of("bool"), of("float32", "int8", "int16", at=1), gives("float32", "int8", "int16")),
    "SHAPE": (gives("int32"),),
    "SIN": _FLOAT,
    "SLICE": (of("float32", "int8", "int16", "int32", "bool"), same, rank(0, 5), begins_and_sizes),
    "SOFTMAX": (of("float32", "int8", "int16"), quantized, softmax_output),
    "SPACE_TO_BATCH_ND": _BATCHES,
    "SPACE_TO_DEPTH": (*_FLOAT_INT8, rank(4, 4)),
    "SPLIT": (of("float32", "int8", "int16", "int32", at=1), constant(0)),
    "SPLIT_V": (of("float32", "int8", "int16", "int32"), same, constant(2), index(1), index(2)),
    "SQRT": _FLOAT,
    "SQUARE": _FLOAT,
    "SQUARED_DIFFERENCE": _ARITHMETIC,
    "SQUEEZE": (same, same_bytes),
    "STRIDED_SLICE": (
        of("float32", "int8", "int16", "int32", "bool"),
        same,
        rank(0, 4),
        constant(1, 2, 3),
        index(1),
        index(2),
        index(3),
    ),
    "SUB": _ARITHMETIC,
    "SUM": (*_FLOAT_INT8_16, *_REDUCE),
    "SVDF": (svdf_types, same, svdf_bias, state(4)),
    "TANH": (*_FLOAT_INT8_16, output_params(int16=(1 / 32768, 0))),
    "TRANSPOSE": (*_FLOAT_INT8_16, constant(1), index(1), rank(1, 5)),
    "TRANSPOSE_CONV": (
        pairs(_UNPACKED, at=2),
        gives_type_of_image,
        images(1, 2),
        channel_scales(0, weights=1),
        ends_have_scales(2),
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (plain_lstm, lstm_types, same, state(18, 19)),
    "UNPACK": (of("float32", "int8", "int16", "int32"), same),
    "VAR_HANDLE": _ANY,
    "ZEROS_LIKE": (of("float32", "int8", "int32", "int64"), same),
    "CIRCULAR_BUFFER": (of("int8"), same),
    "SignalDelay": (of("int16"),),
    "SignalEnergy": (of("int16"),),
    "SignalFftAutoScale": (of("int16"),),
    "SignalFilterBank": (of("uint32"),),
    "SignalFilterBankLog": (of("uint32"),),
    "SignalFilterBankSpectralSubtraction": (of("uint32"),),
    "SignalFilterBankSquareRoot": (of("uint64"),),
    "SignalFramer": (of("int16"),),
    "SignalIrfft": (of("float32", "int16", "int32"),),
    "SignalOverlapAdd": (of("float32", "int16"),),
    "SignalPCAN": (of("uint32"),),
    "SignalRfft": (of("float32", "int16", "int32"),),
    "SignalStacker": (of("int16"),),
    "SignalWindow": (of("int16"),),
    "TFLite_Detection_PostProcess": (detects,),
}
