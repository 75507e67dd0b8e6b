"""The operators of ONNX that edgecnn reads, and what each becomes in torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import reduce
from math import inf, prod
from typing import Any

import torch
from torch.nn import functional

from edgecnn.nets.onnx import layers, pools
from edgecnn.nets.onnx.node import Built, Node, UnreadableError
from edgecnn.nets.onnx.padding import torch_pads
from edgecnn.nets.onnx.recurrent import Gru, Lstm, recurrent
from edgecnn.nets.onnx.resize import resize

Reader = Callable[[Node], Built]
_SELU = (1.6732631921768188, 1.0507010221481323)  # alpha and gamma
_MOST_VALUES = 2**26  # of a constant that is computed while the file is read

#: Number of an element type in ONNX (`TensorProto.DataType`) → torch's.
DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def _as(function: Callable[..., Any]) -> Reader:
    """Read an operator that *function* computes from its inputs alone."""
    return lambda node: function


def _numbered(function: Callable[..., Any], **defaults: Any) -> Reader:
    """Read an operator that *function* computes, with these attributes as its keywords."""

    def read(node: Node) -> Built:
        given = {name: float(node.attribute(name, value)) for name, value in defaults.items()}
        return lambda x: function(x, **given)

    return read


def _all_of(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], mean: bool = False) -> Reader:
    """Read an operator of any number of inputs, as *function* of two."""

    def read(node: Node) -> Built:
        count = len(node.inputs)
        return lambda *x: reduce(function, x) / count if mean else reduce(function, x)

    return read


def _quotient(node: Node) -> Built:
    if node.value(0).tensor.is_floating_point():
        return torch.div
    return lambda a, b: torch.div(a, b, rounding_mode="trunc")


def _power(node: Node) -> Built:
    if node.is_constant(1) and node.value(1).tensor.numel() == 1:
        exponent = float(node.constant(1))
        return lambda x: x.pow(exponent)
    return torch.pow


def _clip(node: Node) -> Built:
    low, high = node.numbers(1, "min"), node.numbers(2, "max")
    least, most = (float(low[0]) if low else -inf), (float(high[0]) if high else inf)
    if node.value(0).tensor.dtype not in (torch.float32, torch.float64):
        return lambda x: x.clamp(int(least) if low else None, int(most) if high else None)
    if least == 0 and most >= 3.4e38:
        return torch.relu
    if (least, most) == (0.0, 6.0):
        return functional.relu6
    return lambda x: x.clamp(least if least > -3.4e38 else None, most if most < 3.4e38 else None)


def _hard_sigmoid(node: Node) -> Built:
    alpha, beta = float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid
    return lambda x: (x * alpha + beta).clamp(0, 1)


def _gelu(node: Node) -> Built:
    how = node.attribute("approximate", "none")
    return lambda x: functional.gelu(x, approximate=how)


def _softmax(function: Callable[..., torch.Tensor]) -> Reader:
    """Read Softmax or LogSoftmax, which go over all axes from *axis* on before opset 13."""

    def read(node: Node) -> Built:
        axis = node.axis(1 if node.opset < 13 else -1)
        if node.opset >= 13 or axis == len(node.shape()) - 1 or prod(node.shape()[axis + 1 :]) == 1:
            return lambda x: function(x, axis)
        return lambda x: function(x.flatten(axis), -1).reshape(x.shape)

    return read


def _reduced(function: Callable[..., torch.Tensor]) -> Reader:
    """Read ReduceMean and its like; *function* takes a tensor, axes and whether they stay."""

    def read(node: Node) -> Built:
        axes, keep = node.numbers(1, "axes"), bool(node.attribute("keepdims", 1))
        if not axes and node.attribute("noop_with_empty_axes", 0):
            return lambda x: x
        along = [node.from_first(axis) for axis in axes] if axes else list(range(len(node.shape())))
        return lambda x: function(x, along, keep)

    return read


def _product(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _arg(function: Callable[..., torch.Tensor]) -> Reader:
    def read(node: Node) -> Built:
        axis, keep = node.axis(0), bool(node.attribute("keepdims", 1))
        if node.attribute("select_last_index", 0):
            raise UnreadableError("takes the last of equal values")
        return lambda x: function(x, axis, keep)

    return read


def _top(node: Node) -> Built:
    (count,) = node.numbers(1, "k") or [1]
    axis, largest, ordered = node.axis(-1), bool(node.attribute("largest", 1)), bool(node.attribute("sorted", 1))
    return lambda x: torch.topk(x, count, axis, largest, ordered)


def _cast(node: Node) -> Built:
    to = node.attribute("to", 1)
    if to not in DTYPES:
        raise UnreadableError(f"gives the element type {to}")
    dtype = DTYPES[to]
    return lambda x: x.to(dtype)


def _shape(node: Node) -> Built:
    shape = node.shape()
    node.take(0)
    chosen = shape[slice(node.attribute("start", 0), node.attribute("end", len(shape)))]
    return lambda: torch.tensor(chosen, dtype=torch.int64)


def _size(node: Node) -> Built:
    count = prod(node.shape())
    node.take(0)
    return lambda: torch.tensor(count)


def _filled(node: Node) -> Built:
    sizes = [int(size) for size in node.numbers(0) or []]
    value = node.attribute("value", torch.zeros(1))
    if prod(sizes) > _MOST_VALUES:
        raise UnreadableError(f"fills {prod(sizes)} values")
    return lambda: value.flatten().expand(prod(sizes)).reshape(sizes).clone()


def _range(node: Node) -> Built:
    start, limit, step = (node.constant(index).item() for index in range(3))
    if not step or abs(limit - start) / abs(step) > _MOST_VALUES:
        raise UnreadableError(f"counts from {start} to {limit} by {step}")
    dtype = node.value(0).tensor.dtype
    return lambda: torch.arange(start, limit, step, dtype=dtype)


def _constant(node: Node) -> Built:
    for name in ("value_float", "value_floats"):
        if name in node.attributes:
            return lambda: torch.tensor(node.attributes[name], dtype=torch.float32)
    for name in ("value_int", "value_ints"):
        if name in node.attributes:
            return lambda: torch.tensor(node.attributes[name], dtype=torch.int64)
    value = node.attribute("value", None)
    if not isinstance(value, torch.Tensor):
        raise UnreadableError("is a constant of text, or a sparse one")
    return lambda: value


def _reshape(node: Node) -> Built:
    """Read Reshape; a first axis that stays as long as it is goes with the batch."""
    shape, wanted = node.shape(), [int(size) for size in node.numbers(1, "shape") or []]
    if not node.attribute("allowzero", 0):
        wanted = [shape[axis] if size == 0 and axis < len(shape) else size for axis, size in enumerate(wanted)]
    known = prod(size for size in wanted if size != -1)
    if wanted.count(-1) > 1 or (known == 0 and -1 in wanted):
        raise UnreadableError(f"has the shape {wanted}")
    sizes = [prod(shape) // known if size == -1 else size for size in wanted]
    if prod(sizes) != prod(shape):
        raise UnreadableError(f"makes {wanted} of {list(shape)}")
    if not sizes or not shape or sizes[0] != shape[0]:
        return lambda x: x.reshape(sizes)
    rest = sizes[1:]
    if len(rest) == 1 and len(shape) > 2:
        return lambda x: x.flatten(1)
    return lambda x: x.reshape(x.shape[0], *rest)


def _flatten(node: Node) -> Built:
    axis = int(node.attribute("axis", 1))
    axis = axis + len(node.shape()) if axis < 0 else axis
    if axis == 1:
        return lambda x: x.flatten(1) if x.ndim > 1 else x.reshape(x.shape[0], 1)
    rows = prod(node.shape()[:axis])
    return lambda x: x.reshape(rows, -1)


def _squeeze(node: Node) -> Built:
    axes = node.numbers(1, "axes")
    shape = node.shape()
    along = [node.from_first(axis) for axis in axes] if axes else [i for i, size in enumerate(shape) if size == 1]
    if any(shape[axis] != 1 for axis in along):
        raise UnreadableError(f"squeezes {list(shape)} at {along}")
    return lambda x: x.squeeze(tuple(along))


def _unsqueeze(node: Node) -> Built:
    axes = node.numbers(1, "axes") or []
    rank = len(node.shape()) + len(axes)
    along = sorted(axis % rank for axis in axes)
    return lambda x: reduce(torch.unsqueeze, along, x)


def _transpose(node: Node) -> Built:
    order = list(node.attribute("perm", range(len(node.shape()))[::-1]))
    return lambda x: x.permute(order)


def _concat(node: Node) -> Built:
    axis = node.axis()
    return lambda *x: torch.cat(x, axis)


def _split(node: Node) -> Built:
    axis = node.axis()
    length, count = node.shape()[axis], len(node.outputs)
    sizes = node.numbers(1, "split")
    if sizes is None:
        each = -(-length // count)
        sizes = [each] * (count - 1) + [length - each * (count - 1)]
    return lambda x: torch.split(x, sizes, axis)


def _slice(node: Node) -> Built:
    shape = node.shape()
    starts, ends = node.numbers(1, "starts") or [], node.numbers(2, "ends") or []
    axes, steps = node.numbers(3, "axes"), node.numbers(4) or [1] * len(starts)
    along = [node.from_first(axis) for axis in axes] if axes else list(range(len(starts)))
    cuts = [
        (axis, range(shape[axis])[_between(start, end, step, shape[axis])])
        for axis, start, end, step in zip(along, starts, ends, steps, strict=True)
    ]

    def cut(x: torch.Tensor) -> torch.Tensor:
        for axis, places in cuts:
            if places.step < 0:
                x = x.index_select(axis, torch.tensor(list(places), device=x.device))
            elif len(places) != x.shape[axis]:
                x = x[(slice(None),) * axis + (slice(places.start, places.stop, places.step),)]
        return x

    return cut


def _between(start: int, end: int, step: int, length: int) -> slice:
    """Return ONNX's slice as Python has it, where -1 as the end of a negative step would mean the last value."""
    if step >= 0 or end >= -length:
        return slice(start, end, step)
    return slice(start, None, step)


def _gather(node: Node) -> Built:
    axis = node.axis()
    if not node.is_constant(1):
        return lambda x, index: x.index_select(axis, index.flatten().long()).reshape(
            *x.shape[:axis], *index.shape, *x.shape[axis + 1 :]
        )
    index, length = node.constant(1).long(), node.shape()[axis]
    if index.numel() and not -length <= int(index.min()) <= int(index.max()) < length:
        raise UnreadableError(f"takes places {int(index.min())} to {int(index.max())} of {length}")
    index = torch.where(index < 0, index + length, index)
    if index.ndim == 0:
        place = int(index)
        return lambda x: x.select(axis, place)
    flat = index.flatten()
    first = int(flat[0]) if flat.numel() else 0
    if index.ndim == 1 and torch.equal(flat, torch.arange(first, first + len(flat))):
        return lambda x: x.narrow(axis, first, len(flat))
    return lambda x: x.index_select(axis, flat.to(x.device)).reshape(
        *x.shape[:axis], *index.shape, *x.shape[axis + 1 :]
    )


def _gather_elements(node: Node) -> Built:
    axis = node.axis()
    return lambda x, index: torch.gather(x, axis, torch.where(index < 0, index + x.shape[axis], index))


def _expand(node: Node) -> Built:
    wanted = torch.broadcast_shapes(node.shape(), [int(size) for size in node.numbers(1) or []])  # type: ignore[no-untyped-call]
    if len(wanted) == len(node.shape()) > 0 and wanted[0] == node.shape()[0]:
        return lambda x: x.expand(-1, *wanted[1:])
    return lambda x: x.expand(wanted)


def _tile(node: Node) -> Built:
    repeats = [int(count) for count in node.numbers(1, "repeats") or []]
    return lambda x: x.repeat(repeats)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pad(node: Node) -> Built:
    rank, mode = len(node.shape()), node.attribute("mode", "constant")
    pads, axes = [int(pad) for pad in node.numbers(1, "pads") or []], node.numbers(3)
    value = (node.numbers(2, "value") or [0.0])[0]
    along = [node.from_first(axis) for axis in axes] if axes else list(range(rank))
    if mode not in _PAD_MODES or len(pads) != 2 * len(along):
        raise UnreadableError(f"has the mode {mode!r} and pads {pads}")
    begin, end = [0] * rank, [0] * rank
    for place, axis in enumerate(along):
        begin[axis], end[axis] = pads[place], pads[len(along) + place]
    sides = torch_pads(begin, end)
    while sides and not any(sides[-2:]):
        sides = sides[:-2]
    if not sides:
        return lambda x: x
    if mode == "constant":
        return lambda x: functional.pad(x, sides, value=value)
    return lambda x: functional.pad(x, sides, _PAD_MODES[mode])


def _depth_to_space(node: Node) -> Built:
    size = int(node.attribute("blocksize", 1))
    if node.attribute("mode", "DCR") == "CRD":
        return lambda x: functional.pixel_shuffle(x, size)
    _, c, h, w = node.shape()

    def shuffled(x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(x.shape[0], size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return x.reshape(x.shape[0], c // size**2, h * size, w * size)

    return shuffled


def _space_to_depth(node: Node) -> Built:
    size = int(node.attribute("blocksize", 1))
    _, c, h, w = node.shape()

    def shuffled(x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(x.shape[0], c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return x.reshape(x.shape[0], c * size**2, h // size, w // size)

    return shuffled


def _cumulative(node: Node) -> Built:
    (axis,) = node.numbers(1) or [0]
    if node.attribute("exclusive", 0) or node.attribute("reverse", 0):
        raise UnreadableError("sums up exclusively, or from the end")
    along = node.from_first(int(axis))
    return lambda x: torch.cumsum(x, along)


def _einsum(node: Node) -> Built:
    equation = str(node.attribute("equation", ""))
    if re.fullmatch(r"[A-Za-z.,> -]{1,200}", equation) is None:
        raise UnreadableError(f"has the equation {equation[:60]!r}")
    return lambda *x: torch.einsum(equation, *x)


def _remainder(node: Node) -> Built:
    return torch.fmod if node.attribute("fmod", 0) else torch.remainder


def _grid_sample(node: Node) -> Built:
    modes = {
        "linear": "bilinear",
        "bilinear": "bilinear",
        "nearest": "nearest",
        "cubic": "bicubic",
        "bicubic": "bicubic",
    }
    mode, outside = modes.get(node.attribute("mode", "linear")), node.attribute("padding_mode", "zeros")
    aligned = bool(node.attribute("align_corners", 0))
    if mode is None or outside not in ("zeros", "border", "reflection"):
        raise UnreadableError(f"has the modes {node.attribute('mode', 'linear')!r} and {outside!r}")
    return lambda x, grid: functional.grid_sample(x, grid, mode, outside, aligned)


#: Operator of ONNX → what reads it.
OPERATORS: Mapping[str, Reader] = {
    # with weights
    "BatchNormalization": layers.batch_norm,
    "Conv": layers.conv,
    "ConvTranspose": layers.conv_transpose,
    "GRU": recurrent(Gru),
    "Gemm": layers.gemm,
    "GroupNormalization": layers.group_norm,
    "InstanceNormalization": layers.instance_norm,
    "LSTM": recurrent(Lstm),
    "LayerNormalization": layers.layer_norm,
    "LRN": layers.local_response_norm,
    "MatMul": layers.matmul,
    "PRelu": layers.prelu,
    # activations
    "Celu": _numbered(functional.celu, alpha=1.0),
    "Clip": _clip,
    "Elu": _numbered(functional.elu, alpha=1.0),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _as(functional.hardswish),
    "LeakyRelu": lambda node: _leaky(float(node.attribute("alpha", 0.01))),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Mish": _as(functional.mish),
    "Relu": _as(torch.relu),
    "Selu": lambda node: _selu(float(node.attribute("alpha", _SELU[0])), float(node.attribute("gamma", _SELU[1]))),
    "Sigmoid": _as(torch.sigmoid),
    "Softmax": _softmax(torch.softmax),
    "Softplus": _as(functional.softplus),
    "Softsign": _as(functional.softsign),
    "Swish": lambda node: _swish(float(node.attribute("alpha", 1.0))),
    "Tanh": _as(torch.tanh),
    "ThresholdedRelu": lambda node: _thresholded(float(node.attribute("alpha", 1.0))),
    # each value by itself
    "Abs": _as(torch.abs),
    "Add": _as(torch.add),
    "And": _as(torch.logical_and),
    "Cast": _cast,
    "CastLike": _as(lambda x, like: x.to(like.dtype)),
    "Ceil": _as(torch.ceil),
    "Cos": _as(torch.cos),
    "Div": _quotient,
    "Dropout": lambda node: _first(node),
    "Equal": _as(torch.eq),
    "Erf": _as(torch.erf),
    "Exp": _as(torch.exp),
    "Floor": _as(torch.floor),
    "Greater": _as(torch.gt),
    "GreaterOrEqual": _as(torch.ge),
    "Identity": _as(lambda x: x),
    "Less": _as(torch.lt),
    "LessOrEqual": _as(torch.le),
    "Log": _as(torch.log),
    "Max": _all_of(torch.maximum),
    "Mean": _all_of(torch.add, mean=True),
    "Min": _all_of(torch.minimum),
    "Mod": _remainder,
    "Mul": _as(torch.mul),
    "Neg": _as(torch.neg),
    "Not": _as(torch.logical_not),
    "Or": _as(torch.logical_or),
    "Pow": _power,
    "Reciprocal": _as(torch.reciprocal),
    "Round": _as(torch.round),
    "Sign": _as(torch.sign),
    "Sin": _as(torch.sin),
    "Sqrt": _as(torch.sqrt),
    "Sub": _as(torch.sub),
    "Sum": _all_of(torch.add),
    "Where": _as(torch.where),
    "Xor": _as(torch.logical_xor),
    # over windows and axes
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "AveragePool": pools.average_pool,
    "CumSum": _cumulative,
    "Einsum": _einsum,
    "GlobalAveragePool": pools.global_average,
    "GlobalMaxPool": pools.global_max,
    "MaxPool": pools.max_pool,
    "ReduceL1": _reduced(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduced(lambda x, axes, keep: (x * x).sum(axes, keepdim=keep).sqrt()),
    "ReduceLogSum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep).log()),
    "ReduceLogSumExp": _reduced(lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep)),
    "ReduceMax": _reduced(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduced(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduced(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": _reduced(_product),
    "ReduceSum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reduced(lambda x, axes, keep: (x * x).sum(axes, keepdim=keep)),
    "TopK": _top,
    # where values stand
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GridSample": _grid_sample,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": resize,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": resize,
}


def _first(node: Node) -> Built:
    """Read Dropout, which does nothing in inference."""
    for index in range(1, len(node.inputs)):
        node.take(index)
    return lambda x: x


def _leaky(slope: float) -> Built:
    return lambda x: functional.leaky_relu(x, slope)


def _selu(alpha: float, gamma: float) -> Built:
    if abs(alpha - _SELU[0]) < 1e-6 and abs(gamma - _SELU[1]) < 1e-6:
        return functional.selu
    return lambda x: gamma * functional.elu(x, alpha)


def _swish(alpha: float) -> Built:
    return functional.silu if alpha == 1 else lambda x: x * torch.sigmoid(alpha * x)


def _thresholded(alpha: float) -> Built:
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))
