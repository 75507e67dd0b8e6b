"""Widen those ranges of a TFLite file that no integers can be computed with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import require
from edgecnn.formats.graph import Graph, Operator
from edgecnn.formats.weighted import WEIGHTED

#: Tensor name → its smallest and largest value, `min` and `max`, as the quantizer takes them from a calibration.
Ranges = dict[str, Any]
Constant = Callable[[int], "npt.NDArray[np.float32] | None"]

_NOTHING = 1e-9  # the quantizer takes every narrower range to be as wide as this
#: Precision → steps from the smallest to the largest value of an activation.
_STEPS = {"w8a8": 255, "w8a16": 65534}
_LARGEST_WEIGHT = 127
_LARGEST_BIAS = 2**30  # half of int32; the other half is for the products that are added to it
_FINEST = 128  # steps of an output in one unit of the sum that it is rounded from: XNNPACK refuses 256


def widen_degenerate_ranges(graph: Graph, content: bytes, ranges: Ranges, precision: str = "w8a8") -> Ranges:
    """Return *ranges*, the activations' of the fp32 file *content*, wider where a scale would be too fine.

    Of `w8a16` the biases have 64 bits, but the quantizer fills 32 of them.

    A layer that is always 0 has no range, nor has a filter whose weights are all 0. The quantizer gives either a scale
    of about 1e-11. XNNPACK then refuses to run the layer, and biases, whose scale is that of the input times that of
    the weights, do not fit into int32: other values come out. Therefore:

    - A tensor that is always 0 gets the scale of the widest tensor it is computed from.
    - An output gets no scale far finer than that of the sums it is rounded from, where there is nothing to tell apart.
    - A filter's weights get a scale coarse enough for its bias, as in TensorFlow's own converter; their range is among
      those returned. Beside such a bias the products are so small that their digits do not count.
    """
    constant, buffer_of = _constants(content)
    ranges, count = dict(ranges), _STEPS[precision]
    for index in graph.inputs:
        name = graph.tensors[index].name
        if name in ranges and _is_nothing(ranges[name]):
            ranges[name] = _between_zero_and(1.0)
    coarser: dict[int, npt.NDArray[np.float32]] = {}  # buffer → largest weights; the quantizer does not do one twice
    for operator in graph.operators:  # in the order they run, so the inputs' ranges are final
        names = [graph.tensors[index].name for index in operator.inputs if index >= 0]
        steps = [_step(ranges[name], count) for name in names if name in ranges]
        finest = 0.0
        largest = _largest_weights(operator, constant)
        if largest is not None:
            image, weights, bias, _ = (_input(operator, place) for place in WEIGHTED[operator.kind])
            name = graph.tensors[image].name
            if name in ranges:
                step = _step(ranges[name], count)
                needed = _needed_for_bias(largest, constant(bias), step)
                if (needed > np.maximum(largest, _NOTHING)).any():
                    known = coarser.get(buffer_of(weights), needed)
                    coarser[buffer_of(weights)] = largest = np.maximum(known, needed)
                finest = step * float(largest.max()) / _LARGEST_WEIGHT / _FINEST
        for index in operator.outputs:
            name = graph.tensors[index].name
            if name in ranges:
                ranges[name] = _widened(ranges[name], finest, max(steps, default=1 / count), count)
    for operator in graph.operators:
        if operator.kind in WEIGHTED:
            weights = _input(operator, WEIGHTED[operator.kind].weights)
            bound = coarser.get(buffer_of(weights))
            if bound is not None:
                ranges[graph.tensors[weights].name] = {"min": -bound, "max": bound}
    return ranges


def _input(operator: Operator, place: int) -> int:
    """Return the tensor at *place* among the inputs, -1 where none is."""
    return operator.inputs[place] if place < len(operator.inputs) else -1


def _largest_weights(operator: Operator, constant: Constant) -> npt.NDArray[np.float32] | None:
    """Return the largest weight of each filter, of as many axes as the weights; None without constant weights."""
    if operator.kind not in WEIGHTED:
        return None
    _, place, _, axis = WEIGHTED[operator.kind]
    weights = constant(_input(operator, place))
    if weights is None:
        return None
    others = tuple(other for other in range(weights.ndim) if other != axis)
    return np.max(np.abs(weights), axis=others, keepdims=True)  # type: ignore[no-any-return]


def _needed_for_bias(
    largest: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None, step: float
) -> npt.NDArray[np.float32]:
    """Return *largest*, more where the bias in units of *step* times the weights' scale would be too large."""
    if bias is None:
        return largest
    scales = np.abs(bias.astype(np.float64)) / (step * _LARGEST_BIAS)
    return np.maximum(largest, (scales * _LARGEST_WEIGHT).astype(np.float32).reshape(largest.shape))


def _widened(bounds: Any, finest: float, usual: float, count: int) -> Any:
    """Return *bounds*, *count* steps, none finer than *finest*, or, where they hold nothing but 0, of *usual* too."""
    if _is_nothing(bounds):
        return _between_zero_and(count * max(finest, usual))
    step = _step(bounds, count)
    if step >= finest:
        return bounds
    # By the same factor on both sides, so that the zero point stays.
    return {side: np.asarray(bounds[side], np.float32) * np.float32(finest / step) for side in ("min", "max")}


def _between_zero_and(largest: float) -> dict[str, npt.NDArray[np.float32]]:
    return {"min": np.zeros((1,), np.float32), "max": np.full((1,), largest, np.float32)}


def _width(bounds: Any) -> float:
    """Return how wide a range is with 0 in it."""
    return max(float(np.max(bounds["max"])), 0.0) - min(float(np.min(bounds["min"])), 0.0)


def _is_nothing(bounds: Any) -> bool:
    return _width(bounds) <= _NOTHING


def _step(bounds: Any, count: int) -> float:
    return max(_width(bounds), _NOTHING) / count


def _constants(content: bytes) -> tuple[Constant, Callable[[int], int]]:
    """Return two functions of a tensor's number: its float32 values, None if not such a constant; and its buffer."""
    schema = require("ai_edge_litert.schema_py_generated", "torch")
    model = schema.Model.GetRootAs(content)
    subgraph = model.Subgraphs(0)

    def constant(index: int) -> npt.NDArray[np.float32] | None:
        tensor = subgraph.Tensors(index) if index >= 0 else None
        if tensor is None or tensor.Type() != schema.TensorType.FLOAT32:
            return None
        buffer = model.Buffers(tensor.Buffer())
        if not buffer.DataLength():
            return None
        return np.frombuffer(buffer.DataAsNumpy(), np.float32).reshape(tensor.ShapeAsNumpy())

    return constant, lambda index: subgraph.Tensors(index).Buffer()
