"""Files of one operator each, in every type: TFLite Micro's interpreter and `edgecnn fit` must agree on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tflite_builder import Builder, schema

#: The types that each operator is tried in.
TYPES = ("float32", "int8", "int16", "uint8")
RARER = ("int32", "bool")
#: Operators that are tried in the rarer types too.
OF_RARER = (
    *("ADD", "BROADCAST_ARGS", "CAST", "CONCATENATION", "EQUAL", "GATHER", "LESS", "LOGICAL_AND", "LOGICAL_NOT"),
    *("LOGICAL_OR", "MAXIMUM", "QUANTIZE", "REDUCE_ALL", "RESHAPE", "SLICE", "STRIDED_SLICE", "TRANSPOSE"),
)
QUANTIZED = ("int8", "int16", "uint8", "int4")


@dataclass(frozen=True)
class T:
    """One tensor; `dtype` None: the type that is tried. A constant has `data`, or ones where `weights`."""

    shape: tuple[int, ...]
    dtype: str | None = None
    data: Any = None
    weights: bool = False
    variable: bool = False
    channels: int = 1
    axis: int = 0
    quant: bool = True
    scale: float = 0.05
    zero_point: int | None = None


@dataclass(frozen=True)
class Case:
    """One operator between tensors."""

    inputs: tuple[T | None, ...]
    outputs: tuple[T, ...]
    options: Callable[[], Any] | None = None
    version: int = 1
    custom: bytes | None = None


def build(kind: str, case: Case, dtype: str, weights: str | None = None, copies: int = 1) -> bytes:
    """Return the file of one operator whose tensors without a type have *dtype*, its weights the type *weights*.

    *copies* of it compute the same.
    """
    b = Builder(dtype)
    indices = [-1 if tensor is None else _add(b, tensor, dtype, weights or dtype) for tensor in case.inputs]
    outputs = [_add(b, tensor, dtype, weights or dtype) for tensor in case.outputs]
    options = case.options() if case.options else None
    for _ in range(copies):
        b.append(kind, indices, outputs, options, case.version, custom=case.custom)
    given = [
        index
        for index, tensor in zip(indices, case.inputs, strict=True)
        if tensor is not None and tensor.data is None and not tensor.weights and not tensor.variable
    ]
    return b.file(given, outputs)


def _add(b: Builder, tensor: T, dtype: str, weights: str) -> int:
    kind = tensor.dtype or (weights if tensor.weights else dtype)
    if kind == "bias":
        kind = {"float32": "float32", "float16": "float16", "int16": "int64"}.get(dtype, "int32")
    data = tensor.data
    if data is not None:
        data = np.asarray(data, "int8" if kind in ("int4", "string") else kind)
    elif tensor.weights:
        size = tensor.shape if kind != "int4" else (-(-int(np.prod(tensor.shape)) // 2),)
        data = np.ones(size, "int8" if kind in ("int4", "string") else kind)
    quantized = tensor.quant and (kind in QUANTIZED or (tensor.dtype == "bias" and dtype in QUANTIZED))
    index = b.tensor(tensor.shape, kind, data, 0, variable=tensor.variable)
    if quantized:
        params = b.tensors[index].quantization = schema.QuantizationParametersT()
        params.scale = [_scale(tensor, kind)] * tensor.channels
        params.zeroPoint = [_zero_point(tensor, kind)] * tensor.channels
        params.quantizedDimension = tensor.axis
    return index


def _scale(tensor: T, kind: str) -> float:
    if tensor.dtype == "bias":
        return 0.05 * 0.05
    # An output from -1 to 1 has the same bounds in 16 bits.
    return 1 / 32768 if kind == "int16" and tensor.scale <= 1 / 128 else tensor.scale


def _zero_point(tensor: T, kind: str) -> int:
    if kind == "int8" and tensor.zero_point is not None:
        return tensor.zero_point
    return 128 if kind == "uint8" else 0


def _options(name: str, **values: Any) -> Callable[[], Any]:
    def make() -> Any:
        options = getattr(schema, name + "T")()
        for key, value in values.items():
            setattr(options, key, value)
        return options

    return make


INT = "int32"
IMAGE = (1, 4, 4, 4)
_POOL = _options("Pool2DOptions", strideH=2, strideW=2, filterHeight=2, filterWidth=2, padding=1)
_REDUCED = Case((T(IMAGE), T((2,), INT, (1, 2))), (T((1, 4)),), _options("ReducerOptions"), 2)


def _unary(options: Callable[[], Any] | None = None, **changes: Any) -> Case:
    return Case((T(IMAGE),), (T(IMAGE, **changes),), options)


def _binary(name: str | None = None, output: str | None = None) -> Case:
    return Case((T(IMAGE), T(IMAGE)), (T(IMAGE, output),), _options(name) if name else None, 2)


#: Operator → a file of it that any interpreter should accept, but for its types.
CASES: dict[str, Case] = {
    "ABS": _unary(),
    "ADD": _binary("AddOptions"),
    "ADD_N": Case((T(IMAGE), T(IMAGE), T(IMAGE)), (T(IMAGE),)),
    "ARG_MAX": Case((T(IMAGE), T((1,), INT, (3,))), (T((1, 4, 4), INT),), _options("ArgMaxOptions", outputType=2)),
    "ARG_MIN": Case((T(IMAGE), T((1,), INT, (3,))), (T((1, 4, 4), INT),), _options("ArgMinOptions", outputType=2)),
    "AVERAGE_POOL_2D": Case((T(IMAGE),), (T((1, 2, 2, 4)),), _POOL),
    "BATCH_MATMUL": Case((T((1, 4, 6)), T((1, 6, 8))), (T((1, 4, 8)),), _options("BatchMatMulOptions")),
    "BATCH_TO_SPACE_ND": Case(
        (T((4, 2, 2, 4)), T((2,), INT, (2, 2)), T((2, 2), INT, [[0, 0], [0, 0]])), (T((1, 4, 4, 4)),)
    ),
    "BROADCAST_ARGS": Case((T((3,)), T((3,))), (T((3,)),)),
    "BROADCAST_TO": Case((T((1, 4)), T((2,), INT, (3, 4))), (T((3, 4)),)),
    "CAST": Case((T(IMAGE),), (T(IMAGE, "float32"),), _options("CastOptions")),
    "CEIL": _unary(),
    "CONCATENATION": Case((T(IMAGE), T(IMAGE)), (T((1, 4, 4, 8)),), _options("ConcatenationOptions", axis=3)),
    "CONV_2D": Case(
        (T(IMAGE), T((8, 3, 3, 4), weights=True, channels=8), T((8,), "bias", weights=True, channels=8)),
        (T((1, 4, 4, 8)),),
        _options("Conv2DOptions", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1),
    ),
    "COS": _unary(),
    "CUMSUM": Case((T(IMAGE), T((1,), INT, (1,))), (T(IMAGE),), _options("CumsumOptions")),
    "DEPTHWISE_CONV_2D": Case(
        (T(IMAGE), T((1, 3, 3, 4), weights=True, channels=4, axis=3), T((4,), "bias", weights=True, channels=4)),
        (T(IMAGE),),
        _options(
            "DepthwiseConv2DOptions", strideH=1, strideW=1, depthMultiplier=1, dilationHFactor=1, dilationWFactor=1
        ),
    ),
    "DEPTH_TO_SPACE": Case((T(IMAGE),), (T((1, 8, 8, 1)),), _options("DepthToSpaceOptions", blockSize=2)),
    "DEQUANTIZE": Case((T(IMAGE),), (T(IMAGE, "float32"),), _options("DequantizeOptions")),
    "DIV": Case((T(IMAGE), T(IMAGE, weights=True)), (T(IMAGE),), _options("DivOptions"), 2),
    "DYNAMIC_UPDATE_SLICE": Case((T(IMAGE), T((1, 2, 2, 4)), T((4,), INT, (0, 1, 1, 0))), (T(IMAGE),)),
    "ELU": _unary(),
    "EMBEDDING_LOOKUP": Case((T((3,), INT), T((5, 4), weights=True)), (T((3, 4)),)),
    "EQUAL": _binary(None, "bool"),
    "EXP": _unary(),
    "EXPAND_DIMS": Case((T(IMAGE), T((1,), INT, (0,))), (T((1, 1, 4, 4, 4)),)),
    "FILL": Case((T((2,), INT, (3, 4)), T(())), (T((3, 4)),)),
    "FLOOR": _unary(),
    "FLOOR_DIV": Case((T(IMAGE), T(IMAGE, weights=True)), (T(IMAGE),), None, 2),
    "FLOOR_MOD": Case((T(IMAGE), T(IMAGE, weights=True)), (T(IMAGE),), None, 2),
    "FULLY_CONNECTED": Case(
        (T((1, 8)), T((6, 8), weights=True), T((6,), "bias", weights=True)),
        (T((1, 6)),),
        _options("FullyConnectedOptions"),
        4,
    ),
    "GATHER": Case((T((4, 3)), T((2,), INT)), (T((2, 3)),), _options("GatherOptions")),
    "GATHER_ND": Case((T((4, 3)), T((2, 1), INT)), (T((2, 3)),)),
    "GREATER": _binary(None, "bool"),
    "GREATER_EQUAL": _binary(None, "bool"),
    "HARD_SWISH": _unary(),
    "L2_NORMALIZATION": Case((T((1, 4)),), (T((1, 4), scale=1 / 128),), _options("L2NormOptions")),
    "L2_POOL_2D": Case((T(IMAGE),), (T((1, 2, 2, 4)),), _POOL),
    "LEAKY_RELU": _unary(_options("LeakyReluOptions", alpha=0.1)),
    "LESS": _binary(None, "bool"),
    "LESS_EQUAL": _binary(None, "bool"),
    "LOG": _unary(),
    "LOGICAL_AND": _binary(),
    "LOGICAL_NOT": _unary(),
    "LOGICAL_OR": _binary(),
    "LOGISTIC": _unary(scale=1 / 256, zero_point=-128),
    "LOG_SOFTMAX": Case((T((1, 4)),), (T((1, 4), scale=16 / 256, zero_point=127),)),
    "MAXIMUM": _binary(),
    "MAX_POOL_2D": Case((T(IMAGE),), (T((1, 2, 2, 4)),), _POOL),
    "MEAN": _REDUCED,
    "MINIMUM": _binary(),
    "MIRROR_PAD": Case(
        (T(IMAGE), T((4, 2), INT, [[0, 0], [1, 1], [1, 1], [0, 0]])), (T((1, 6, 6, 4)),), _options("MirrorPadOptions")
    ),
    "MUL": _binary("MulOptions"),
    "NEG": _unary(),
    "NOT_EQUAL": _binary(None, "bool"),
    "PACK": Case((T((4,)), T((4,))), (T((2, 4)),), _options("PackOptions", valuesCount=2)),
    "PAD": Case((T(IMAGE), T((4, 2), INT, [[0, 0], [1, 1], [1, 1], [0, 0]])), (T((1, 6, 6, 4)),)),
    "PADV2": Case(
        (T(IMAGE), T((4, 2), INT, [[0, 0], [1, 1], [1, 1], [0, 0]]), T((1,), weights=True)), (T((1, 6, 6, 4)),)
    ),
    "PRELU": Case((T(IMAGE), T((1, 1, 4), weights=True)), (T(IMAGE),)),
    "QUANTIZE": Case((T(IMAGE),), (T(IMAGE, "int8"),)),
    "REDUCE_ALL": _REDUCED,
    "REDUCE_MAX": _REDUCED,
    "REDUCE_MIN": _REDUCED,
    "RELU": _unary(),
    "RELU6": _unary(),
    "RESHAPE": Case((T(IMAGE), T((2,), INT, (1, 64))), (T((1, 64)),), _options("ReshapeOptions", newShape=[1, 64])),
    "RESIZE_BILINEAR": Case((T(IMAGE), T((2,), INT, (8, 8))), (T((1, 8, 8, 4)),), _options("ResizeBilinearOptions")),
    "RESIZE_NEAREST_NEIGHBOR": Case(
        (T(IMAGE), T((2,), INT, (8, 8))), (T((1, 8, 8, 4)),), _options("ResizeNearestNeighborOptions")
    ),
    "REVERSE_V2": Case((T(IMAGE), T((1,), INT, (1,))), (T(IMAGE),)),
    "ROUND": _unary(),
    "RSQRT": _unary(),
    "SELECT_V2": Case((T(IMAGE, "bool"), T(IMAGE), T(IMAGE)), (T(IMAGE),)),
    "SHAPE": Case((T(IMAGE),), (T((4,), INT),), _options("ShapeOptions", outType=2)),
    "SIN": _unary(),
    "SLICE": Case((T(IMAGE), T((4,), INT, (0, 1, 1, 0)), T((4,), INT, (1, 2, 2, 4))), (T((1, 2, 2, 4)),)),
    "SOFTMAX": Case((T((1, 4)),), (T((1, 4), scale=1 / 256, zero_point=-128),), _options("SoftmaxOptions", beta=1.0)),
    "SPACE_TO_BATCH_ND": Case(
        (T((1, 4, 4, 4)), T((2,), INT, (2, 2)), T((2, 2), INT, [[0, 0], [0, 0]])), (T((4, 2, 2, 4)),)
    ),
    "SPACE_TO_DEPTH": Case((T(IMAGE),), (T((1, 2, 2, 16)),), _options("SpaceToDepthOptions", blockSize=2)),
    "SPLIT": Case((T((), INT, 3), T(IMAGE)), (T((1, 4, 4, 2)), T((1, 4, 4, 2))), _options("SplitOptions", numSplits=2)),
    "SPLIT_V": Case(
        (T(IMAGE), T((2,), INT, (1, 3)), T((), INT, 3)),
        (T((1, 4, 4, 1)), T((1, 4, 4, 3))),
        _options("SplitVOptions", numSplits=2),
    ),
    "SQRT": _unary(),
    "SQUARE": _unary(),
    "SQUARED_DIFFERENCE": _binary(),
    "SQUEEZE": Case((T((1, 4, 1, 4)),), (T((4, 4)),), _options("SqueezeOptions", squeezeDims=[])),
    "STRIDED_SLICE": Case(
        (T(IMAGE), T((4,), INT, (0, 0, 0, 0)), T((4,), INT, (1, 4, 4, 4)), T((4,), INT, (1, 2, 2, 1))),
        (T((1, 2, 2, 4)),),
        _options("StridedSliceOptions"),
    ),
    "SUB": _binary("SubOptions"),
    "SUM": _REDUCED,
    "SVDF": Case(
        (
            T((1, 6)),
            T((8, 6), weights=True),
            T((8, 5), weights=True),
            T((4,), "bias", weights=True),
            T((1, 40), variable=True),
        ),
        (T((1, 4)),),
        _options("SVDFOptions", rank=2, fusedActivationFunction=1),
    ),
    "TANH": _unary(scale=1 / 128),
    "TRANSPOSE": Case((T(IMAGE), T((4,), INT, (0, 3, 1, 2))), (T(IMAGE),)),
    "TRANSPOSE_CONV": Case(
        (
            T((4,), INT, (1, 8, 8, 8)),
            T((8, 2, 2, 4), weights=True, channels=8),
            T(IMAGE),
            T((8,), "bias", weights=True, channels=8),
        ),
        (T((1, 8, 8, 8)),),
        _options("TransposeConvOptions", strideH=2, strideW=2),
        3,
    ),
    "UNPACK": Case((T((2, 4)),), (T((4,)), T((4,))), _options("UnpackOptions", num=2)),
    "ZEROS_LIKE": _unary(),
}


def files() -> Iterator[tuple[str, bytes]]:
    """Yield (name, file) of every operator in every type, and of those with weights in the mixtures files have."""
    for kind, case in CASES.items():
        for dtype in (*TYPES, *(RARER if kind in OF_RARER else ())):
            yield f"{kind}.{dtype}", build(kind, case, dtype)
            if any(tensor is not None and tensor.weights for tensor in case.inputs):
                for weights in {"float32": ("int8",), "int8": ("int4", "float32"), "int16": ("int8",)}.get(dtype, ()):
                    yield f"{kind}.{dtype}.{weights}", build(kind, case, dtype, weights)


def _changed(case: Case, place: int, **changes: Any) -> Case:
    inputs = list(case.inputs)
    tensor = inputs[place]
    assert tensor is not None
    inputs[place] = replace(tensor, **changes)
    return replace(case, inputs=tuple(inputs))


def _wrapped(tensor: T, rank: int) -> T:
    """Return *tensor*, if it is an image, with leading dimensions of 1 until it has *rank*."""
    return (
        replace(tensor, shape=(1,) * (rank - 4) + tensor.shape)
        if len(tensor.shape) == 4 and tensor.data is None
        else tensor
    )


def limits(kind: str, case: Case) -> Iterator[tuple[str, Case]]:
    """Yield (name, case) of what a file may also hold: other ranks, constants that are none, no quantization."""
    for rank in (5, 6, 7):
        inputs = tuple(tensor and _wrapped(tensor, rank) for tensor in case.inputs)
        yield f"rank{rank}", replace(case, inputs=inputs, outputs=tuple(_wrapped(t, rank) for t in case.outputs))
    for place, tensor in enumerate(case.inputs):
        if tensor is None:
            continue
        if tensor.data is not None or tensor.weights:
            yield f"computed{place}", _changed(case, place, data=None, weights=False, dtype=tensor.dtype)
        elif not tensor.variable:
            yield f"constant{place}", _changed(case, place, weights=True)
        if tensor.dtype == "int32" and tensor.data is not None:
            yield f"int64at{place}", _changed(case, place, dtype="int64")
        yield f"unquantized{place}", _changed(case, place, quant=False)
        if tensor.channels > 1:
            yield f"per_tensor{place}", _changed(case, place, channels=1)
            yield f"wrong_channels{place}", _changed(case, place, channels=3)
        if tensor.weights and tensor.dtype == "bias":
            yield "without_bias", replace(case, inputs=(*case.inputs[:place], None, *case.inputs[place + 1 :]))
            yield "fewer_inputs", replace(case, inputs=case.inputs[:place])
    for place, tensor in enumerate(case.outputs):
        for dtype in ("float32", "int8", "int16", "uint8", "int32", "int64", "bool"):
            if tensor.dtype != dtype:
                outputs = (*case.outputs[:place], replace(tensor, dtype=dtype), *case.outputs[place + 1 :])
                yield f"{dtype}out{place}", replace(case, outputs=outputs)
        outputs = (*case.outputs[:place], replace(tensor, quant=False), *case.outputs[place + 1 :])
        yield f"unquantized_out{place}", replace(case, outputs=outputs)
    if len(case.inputs) == 2 and case.inputs[1] == T(IMAGE):
        for shape in ((), (1,), (4,), (1, 1, 1, 4), (1, 4, 1, 4), (1, 1, 1, 1)):
            yield f"broadcast{'x'.join(map(str, shape))}", _changed(case, 1, shape=shape)
    if kind in ("CONCATENATION", "PACK", "ADD_N"):
        first = case.inputs[0]
        assert first is not None
        for count in (10, 11, 16, 40):
            shape = {"PACK": (count, 4), "CONCATENATION": (1, 4, 4, 4 * count), "ADD_N": IMAGE}[kind]
            options = _options("PackOptions", valuesCount=count) if kind == "PACK" else case.options
            yield (
                f"inputs{count}",
                Case((first,) * count, (replace(case.outputs[0], shape=shape),), options, case.version),
            )
