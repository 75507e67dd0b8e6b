"""Leave out of a TFLite file what only moves values: transposes, shuffles of channels, slices that are joined again.

The converter writes a TRANSPOSE before and after whatever is neither a convolution nor a pool. Here an operator that
moves values is not written where it stands: what it gives is a `View` of what is stored. The operators behind it take
the stored values, in the order of their axes, with weights in the order of their channels. Only one that cannot has its
inputs brought into order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from edgecnn.errors import library_error
from edgecnn.export.simplify import are_same
from edgecnn.export.tflite_layout import ACTIVATIONS, Layout, Rule
from edgecnn.export.tflite_model import Array, TFLiteModel
from edgecnn.export.views import Places, View
from edgecnn.runtimes.litert import open_content

#: Filters that a kernel computes at a time: groups of fewer take as long as all channels together.
_TILE = 16


def _first(operator: Any) -> int:
    return int(operator.inputs[0])


def _output(operator: Any) -> int:
    return int(operator.outputs[0])


def _transpose(layout: Layout, operator: Any) -> bool:
    axes = layout.model.constant(int(operator.inputs[1]))
    if axes is None:
        return False
    layout.views[_output(operator)] = layout.view(_first(operator)).transposed(axes.tolist())
    return True


def _reshape(layout: Layout, operator: Any) -> bool:
    """Another shape; or with what follows, up to where the shape is as before, a shuffle along one axis."""
    view, output = layout.view(_first(operator)), _output(operator)
    if _shuffled(layout, operator, view):
        return True
    shape = layout.model.shape(output)
    made = view.reshaped(shape) or layout.exact(view).reshaped(shape)
    if made is None:
        made = View.of(layout.straight(view), view.shape).reshaped(shape)
    assert made is not None, "values in their order have any shape"
    layout.views[output] = made
    return True


def _shuffled(layout: Layout, operator: Any, view: View) -> bool:
    """Take RESHAPE, TRANSPOSE, RESHAPE as one shuffle, where they come to that."""
    model, chain = layout.model, [operator]
    for kind in ("TRANSPOSE", "RESHAPE"):
        end = _output(chain[-1])
        readers = layout.readers.get(end, [])
        if len(readers) != 1 or model.kind(readers[0]) != kind or end in map(int, model.graph.outputs):
            return False
        chain.append(readers[0])
    axes, end = model.constant(int(chain[1].inputs[1])), _output(chain[2])
    if model.shape(end) != view.shape or axes is None:
        return False
    whole = np.arange(prod(view.shape)).reshape(view.shape)
    moved = whole.reshape(model.shape(_output(operator))).transpose(axes).reshape(view.shape)
    for axis, size in enumerate(view.shape):
        places = np.moveaxis(moved, axis, 0).reshape(size, -1)[:, 0] // (whole.strides[axis] // whole.itemsize)
        if places.max(initial=0) < size and (whole.take(places, axis=axis) == moved).all():
            made = view.taken(axis, places)
            if made is not None:
                layout.views[end] = made
                layout.done |= set(map(id, chain))
            return made is not None
    return False


def _slice(layout: Layout, operator: Any) -> bool:
    model = layout.model
    begins, sizes = (model.constant(int(index)) for index in operator.inputs[1:3])
    if begins is None or sizes is None:
        return False
    shape = model.shape(_output(operator))
    return _cut(
        layout,
        _first(operator),
        _output(operator),
        [slice(b, b + s) for b, s in zip(begins.tolist(), shape, strict=True)],
    )


def _strided_slice(layout: Layout, operator: Any) -> bool:
    model, options = layout.model, operator.builtinOptions
    ends = [model.constant(int(index)) for index in operator.inputs[1:4]]
    if any(end is None for end in ends) or options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask:
        return False
    begins, stops, steps = (end.tolist() for end in ends if end is not None)
    parts = []
    for axis, (begin, stop, step) in enumerate(zip(begins, stops, steps, strict=True)):
        bit = 1 << axis
        parts.append(slice(None if options.beginMask & bit else begin, None if options.endMask & bit else stop, step))
    return _cut(layout, _first(operator), _output(operator), parts)


def _cut(layout: Layout, source: int, output: int, parts: Sequence[slice]) -> bool:
    """Take a part of one axis as an index."""
    view = layout.view(source)
    places = [np.arange(size)[part] for size, part in zip(view.shape, parts, strict=True)]
    cut = [axis for axis, size in enumerate(view.shape) if places[axis].tolist() != list(range(size))]
    if len(cut) != 1:
        return False
    made = view.taken(cut[0], places[cut[0]]) or layout.exact(view).taken(cut[0], places[cut[0]])
    if made is not None:
        layout.views[output] = made
    return made is not None


def _split(layout: Layout, operator: Any) -> bool:
    model = layout.model
    is_even = model.kind(operator) == "SPLIT"
    axis = model.constant(int(operator.inputs[0 if is_even else 2]))
    if axis is None:
        return False
    source = int(operator.inputs[1 if is_even else 0])
    rank = len(model.shape(source))
    number = int(axis.reshape(-1)[0]) % rank
    start, cuts = 0, []
    for output in map(int, operator.outputs):
        parts = [slice(None)] * rank
        parts[number] = slice(start, start + model.shape(output)[number])
        start += model.shape(output)[number]
        cuts.append((output, parts))
    before = dict(layout.views)
    if all(_cut(layout, source, output, parts) for output, parts in cuts):
        return True
    layout.views = before
    return False


def _gather(layout: Layout, operator: Any) -> bool:
    places = layout.model.constant(int(operator.inputs[1]))
    view = layout.view(_first(operator))
    axis = operator.builtinOptions.axis % len(view.shape)
    if places is None or places.ndim != 1 or operator.builtinOptions.batchDims:
        return False
    made = view.taken(axis, places.astype(np.int64))
    if made is not None:
        layout.views[_output(operator)] = made
    return made is not None


def _concatenation(layout: Layout, operator: Any) -> bool:
    """Lay the parts side by side, all in the order of axes that most values have already."""
    model = layout.model
    axis = operator.builtinOptions.axis % len(model.shape(_output(operator)))
    views = [layout.view(int(index)) for index in operator.inputs]
    if operator.builtinOptions.fusedActivationFunction or any(
        model.constant(int(i)) is not None for i in operator.inputs
    ):
        return False
    views = [view if view.axis in (None, axis) else layout.exact(view) for view in views]

    def fits(view: View, order: Sequence[int | None]) -> bool:
        return [one for one in order if one in view.significant] == list(view.significant)

    orders = [view.order for view in views if axis in view.order and set(view.significant) <= set(view.order)]
    orders = [order for order in orders if all(set(view.significant) <= set(order) for view in views)]
    if not orders:
        return False
    order = max(orders, key=lambda order: sum(prod(view.shape) for view in views if fits(view, order)))
    sources: dict[int, int] = {}  # source → its start
    sizes: list[int] = []
    index: list[int] = []
    for view in views:
        if not fits(view, order):
            view = layout.exact(view)
            shape = tuple(1 if one is None else view.shape[one] for one in order)
            view = replace(view, sources=(layout.ordered(view, order, shape),), order=order)
        starts = []
        for source, size in zip(view.sources, view.sizes or (view.shape[axis],), strict=True):
            if source not in sources:
                sources[source] = sum(sizes)
                sizes.append(size)
            starts.append(range(sources[source], sources[source] + size))
        places = [place for part in starts for place in part]
        index.extend(places[one] for one in (view.index or range(view.shape[axis])))
    shape = model.shape(_output(operator))
    layout.views[_output(operator)] = View(shape, tuple(sources), order, axis, tuple(index), tuple(sizes))
    return True


def _elementwise(layout: Layout, operator: Any) -> bool:
    """Compute each value from those in the same place, where they lie; constants and others are brought there."""
    model = layout.model
    shape = model.shape(_output(operator))
    inputs = [int(index) for index in operator.inputs]
    views = {}
    for index in inputs:
        if model.constant(index) is None:
            view = layout.view(index)
            wide = (*[1] * (len(shape) - len(view.shape)), *view.shape)
            views[index] = view if wide == view.shape else view.reshaped(wide) or layout.exact(view).reshaped(wide)
    found = [view for view in views.values() if view is not None]
    if len(found) == len(inputs) == 1 and _on_each(layout, operator, found[0]):
        return True
    leaders = [view for view in found if view.shape == shape]
    if len(found) < len(views) or not leaders or all(_is_stored(view, view.shape) for view in found):
        return False

    def misplaced(leader: View) -> tuple[int, bool]:
        return sum(prod(view.shape) for view in found if not _alike(view, leader)), _is_stored(leader, shape)

    leader = min(leaders, key=misplaced)
    if leader.axis is not None:
        leader = layout.collected(leader)
    back = None if leader.axis is None else np.argsort(leader.places)
    given = []
    for index in inputs:
        if index in views:
            placed = _placed(layout, views[index], leader, back)
            if placed is None:
                return False
            given.append(placed)
        else:
            given.append(layout.changed(index, _like(leader, back), (leader.order, leader.axis, leader.index, shape)))
    return layout.compute(operator, given, replace(leader, sources=(-1,)))


def _on_each(layout: Layout, operator: Any, view: View) -> bool:
    """Compute on each source of *view* before they are joined, where an activation becomes part of a layer."""
    model = layout.model
    if len(view.sources) < 2 or model.kind(operator) not in ACTIVATIONS or not layout.is_open(view):
        return False
    made = []
    for number, source in enumerate(view.sources):
        stored = layout.shaped(source, view.stored_shape(number))
        output = model.add_tensor(model.name(stored), model.shape(stored), model.dtype(_output(operator)))
        layout.written.append(layout.again(operator, [stored], [output]))
        made.append(output)
    layout.views[_output(operator)] = replace(view, sources=tuple(made))
    return True


def _is_stored(view: View, shape: Sequence[int]) -> bool:
    return view.axis is None and view.order == tuple(range(len(shape)))


def _alike(view: View, leader: View) -> bool:
    """Return whether *view*, perhaps of fewer values, lies as *leader* does."""
    order = [one for one in leader.significant if one in view.significant]
    is_mixed = leader.axis in view.significant
    return order == list(view.significant) and (view.index == leader.index if is_mixed else view.axis is None)


def _placed(layout: Layout, view: View | None, leader: View, back: Places | None) -> int | None:
    """Return the tensor with the values of *view* where *leader* has its own; None where that is too much."""
    assert view is not None
    if back is not None and leader.axis is not None and view.shape[leader.axis] > 1:
        view = view.taken(leader.axis, back) or layout.exact(view).taken(leader.axis, back)
        if view is None:
            return None
    view = layout.exact(view)
    return layout.ordered(view, leader.order, [1 if one is None else view.shape[one] for one in leader.order])


def _like(leader: View, back: Places | None) -> Callable[[Array], Array]:
    """Return what lays the values of a constant as *leader* lies."""

    def change(values: Array) -> Array:
        if values.size == 1:
            return values.reshape(values.shape[: len(leader.order)])
        values = values.reshape(*[1] * (len(leader.shape) - values.ndim), *values.shape)
        if back is not None and leader.axis is not None and values.shape[leader.axis] > 1:
            values = values.take(back, axis=leader.axis)
        axes = [one for one in leader.order if one is not None]
        rest = [axis for axis in range(values.ndim) if axis not in axes]
        shape = [1 if one is None else values.shape[one] for one in leader.order]
        return values.transpose([*axes, *rest]).reshape(shape)

    return change


def _reduction(layout: Layout, operator: Any) -> bool:
    """Reduce the axes where they lie; in which order the values along one of them are does not count."""
    model = layout.model
    axes = model.constant(int(operator.inputs[1]))
    view = layout.view(_first(operator))
    if axes is None:
        return False
    reduced = {int(axis) % len(view.shape) for axis in axes.reshape(-1)}
    if _is_stored(view, view.shape) or not reduced <= set(view.order):
        return False
    if view.axis is not None:
        view = layout.collected(view)
        if view.axis in reduced and len(view.index) != view.sizes[0]:
            return False
    tensor = layout.shaped(view.sources[0], view.stored_shape())
    places = [place for place, one in enumerate(view.order) if one in reduced]
    keeps = bool(operator.builtinOptions.keepDims)
    left = [axis for axis in range(len(view.shape)) if axis not in reduced]
    new = {axis: number for number, axis in enumerate(range(len(view.shape)) if keeps else left)}
    order = tuple(None if one is None else new[one] for one in view.order if keeps or one not in reduced)
    has_index = view.axis is not None and view.axis not in reduced
    made = View(
        model.shape(_output(operator)),
        (-1,),
        order,
        new[view.axis] if view.axis is not None and has_index else None,
        view.index if has_index else (),
        view.sizes if has_index else (),
    )
    return layout.compute(operator, [tensor, layout.integers(places)], made)


def _pad(layout: Layout, operator: Any) -> bool:
    model = layout.model
    pads = model.constant(int(operator.inputs[1]))
    view = layout.view(_first(operator))
    if pads is None or _is_stored(view, view.shape):
        return False
    padded = {axis for axis, pair in enumerate(pads.tolist()) if any(pair)}
    if not padded <= set(view.order):
        return False
    if view.axis is not None:
        view = layout.collected(view, view.places if view.axis in padded else None)
    tensor = layout.shaped(view.sources[0], view.stored_shape())
    stored = np.asarray([[0, 0] if one is None else pads[one] for one in view.order])
    shape = model.shape(_output(operator))
    rest = [int(index) for index in operator.inputs[2:]]
    return layout.compute(operator, [tensor, layout.integers(stored), *rest], replace(view, shape=shape, sources=(-1,)))


def _over_last(layout: Layout, operator: Any) -> bool:
    """Compute over the last axis, if it is stored last: a softmax does not ask for an order."""
    view = layout.view(_first(operator))
    if _is_stored(view, view.shape) or not view.order or view.order[-1] != len(view.shape) - 1:
        return False
    if view.axis is not None:
        view = layout.collected(view)
    tensor = layout.shaped(view.sources[0], view.stored_shape())
    return layout.compute(operator, [tensor], replace(view, sources=(-1,)))


def _channelwise(layout: Layout, operator: Any) -> bool:
    """Compute each channel by itself, in whatever order they are."""
    shape = layout.model.shape(_output(operator))
    view = layout.along(layout.view(_first(operator)), 3)
    rest = [int(index) for index in operator.inputs[1:]]
    return layout.compute(operator, [view.sources[0], *rest], replace(view, shape=shape, sources=(-1,)))


def _convolution(layout: Layout, operator: Any) -> bool:
    """Convolve channels as they are mixed, with the weights mixed likewise; groups have their own channels each."""
    model = layout.model
    weights = model.constant(int(operator.inputs[1]))
    if weights is None:
        return False
    view = layout.view(_first(operator))
    channels = weights.shape[-1]
    groups = view.shape[-1] // channels
    filters = int(operator.inputs[1])
    if groups > 1 and view.axis is not None and len(weights) <= _TILE:
        filters = layout.changed(filters, lambda values: _ungrouped(values, groups), "ungrouped")
        channels, groups = channels * groups, 1
    if groups > 1 and _is_mixed(view):
        view = layout.collected(view, _by_group(view, groups))
    view = layout.along(view, len(view.shape) - 1)
    if view.axis is not None:
        local = np.argsort(view.places).reshape(groups, channels) % channels

        def mixed(values: Array) -> Array:
            parts = np.split(values, groups)
            return np.concatenate([part.take(order, axis=-1) for part, order in zip(parts, local, strict=True)])

        filters = layout.changed(filters, mixed, view.index)
    output = _output(operator)
    rest = [int(index) for index in operator.inputs[2:]]
    return layout.compute(operator, [view.sources[0], filters, *rest], View.of(-1, model.shape(output)))


def _is_mixed(view: View) -> bool:
    """Return whether the index of *view* is along the last axis, and takes no place twice."""
    return view.axis == len(view.shape) - 1 and len(set(view.index)) == len(view.index)


def _by_group(view: View, groups: int) -> Places:
    """Return the places of the index group by group, within a group in their order."""
    return np.sort(view.places.reshape(groups, -1), axis=1).reshape(-1)


def _ungrouped(weights: Array, groups: int) -> Array:
    """Return weights [O, kh, kw, I / groups] as [O, kh, kw, I], with zeros for the channels of other groups."""
    made = np.zeros((*weights.shape[:3], weights.shape[3] * groups), weights.dtype)
    filters, channels = len(weights) // groups, weights.shape[3]
    for group in range(groups):
        own = slice(group * filters, (group + 1) * filters)
        made[own, ..., group * channels : (group + 1) * channels] = weights[own]
    return made


def _for_groups(layout: Layout, tensor: int) -> View:
    """Return the view of *tensor*, collected first as a grouped convolution that reads it too asks for."""
    view = layout.view(tensor)
    for reader in layout.readers.get(tensor, ()):
        if layout.model.kind(reader) == "CONV_2D" and _first(reader) == tensor and _is_mixed(view):
            weights = layout.model.shape(int(reader.inputs[1]))
            groups = view.shape[-1] // weights[-1]
            if groups > 1 and weights[0] > _TILE:
                layout.collected(view, _by_group(view, groups))
    return view


def _linear(layout: Layout, operator: Any) -> bool:
    weights = layout.model.constant(int(operator.inputs[1]))
    if weights is None or weights.shape[-1] != layout.view(_first(operator)).shape[-1]:
        return False
    return _convolution(layout, operator)


def _depthwise(layout: Layout, operator: Any) -> bool:
    """Convolve each channel as it is mixed; the output is mixed in the same way."""
    model = layout.model
    places = [int(index) for index in operator.inputs[1:]]
    if any(index >= 0 and model.constant(index) is None for index in places):
        return False
    view = layout.along(_for_groups(layout, _first(operator)), 3)
    shape = model.shape(_output(operator))
    if view.axis is None:
        return layout.compute(operator, [view.sources[0], *places], View.of(-1, shape))
    times = shape[3] // view.shape[3]
    spread = np.arange(times)
    back = (np.argsort(view.places)[:, None] * times + spread).reshape(-1)
    index = (view.places[:, None] * times + spread).reshape(-1)
    mixed = [
        one if one < 0 else layout.changed(one, lambda values: values.take(back, axis=-1), view.index) for one in places
    ]
    made = View(shape, (-1,), (0, 1, 2, 3), 3, tuple(index.tolist()), (shape[3],))
    return layout.compute(operator, [view.sources[0], *mixed], made)


_ELEMENTWISE = (
    "ABS", "ADD", "CAST", "CEIL", "COS", "DIV", "ELU", "EQUAL", "EXP", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "GELU",
    "GREATER", "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS", "LESS_EQUAL", "LOG", "LOGICAL_AND", "LOGICAL_NOT",
    "LOGICAL_OR", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "NEG", "NOT_EQUAL", "POW", "PRELU", "RELU", "RELU6",
    "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SELECT_V2", "SIGN", "SIN", "SQRT", "SQUARE",
    "SQUARED_DIFFERENCE", "SUB", "TANH",
)  # fmt: skip
_REDUCTIONS = ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM")
_CHANNELWISE = ("AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(_CHANNELWISE, _channelwise),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    **dict.fromkeys(("MIRROR_PAD", "PAD", "PADV2"), _pad),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"), _over_last),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _linear,
    "GATHER": _gather,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE": _transpose,
}

#: Operators that only move values; a shape is no more than a name for them.
_MOVES = ("CONCATENATION", "GATHER", "SLICE", "SPLIT", "SPLIT_V", "STRIDED_SLICE", "TRANSPOSE")


@dataclass(frozen=True)
class Rearranged:
    """What became of a file."""

    content: bytes
    facts: Mapping[str, int] = field(
        default_factory=dict
    )  # operators and transposes, before and after; empty: as it was
    note: str | None = None  # why it is as it was, if something failed


def rearranged(content: bytes) -> Rearranged:
    """Return the float file *content* with fewer operators that only move values.

    It is kept as it was where that would move no fewer values, and where LiteRT does not compute the same from noise.

    Example:
        >>> rearranged(Path("shufflenet.tflite").read_bytes()).facts
        {'operators_before': 190, 'operators_after': 107, 'transposes_before': 49, 'transposes_after': 0}
    """
    model = TFLiteModel.read(content)
    before, work = _counts(model, "before"), _work(model)
    if not work[0] or len(model.model.subgraphs) > 1:
        return Rearranged(content)
    try:
        Layout(model, model.readers()).write(RULES)
        if _work(model) >= work:
            return Rearranged(content)
        made = model.to_bytes()
        if not are_same(_outputs_of_noise(content, model), _outputs_of_noise(made, model)):
            raise ValueError("it changed what the network computes")
    except Exception as error:  # the converter's file is good, whatever is in it that was not foreseen
        return Rearranged(content, note=f"transposes were not removed ({library_error(error)})")
    return Rearranged(made, {**before, **_counts(model, "after")})


def _counts(model: TFLiteModel, when: str) -> dict[str, int]:
    kinds = list(map(model.kind, model.operators))
    return {f"operators_{when}": len(kinds), f"transposes_{when}": kinds.count("TRANSPOSE")}


def _work(model: TFLiteModel) -> tuple[int, int]:
    """Return how many values are written by operators that only move them, and how many operators there are."""
    moved = (operator for operator in model.operators if model.kind(operator) in _MOVES)
    values = sum(prod(model.shape(int(index))) for operator in moved for index in operator.outputs)
    return values, len(model.operators)


def _outputs_of_noise(content: bytes, model: TFLiteModel) -> list[Array]:
    draw = np.random.default_rng(0)
    dtypes = {"FLOAT32": np.float32, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}
    sample: list[Array] = []
    for index in map(int, model.graph.inputs):
        shape, dtype = model.shape(index), model.dtype(index)
        values = draw.standard_normal(shape) if dtype == "FLOAT32" else np.zeros(shape)
        sample.append(values.astype(dtypes[dtype]))
    return open_content(content)(sample)
