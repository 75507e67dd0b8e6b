"""A network's graph after a change: int8 throughout, int8 input and output, a smaller input.

What such a graph takes of a memory is then worked out as for any file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import prod

from edgecnn.formats import FORMATS, Graph, Operator, QuantParams, Tensor
from edgecnn.formats.weighted import WEIGHTED

_QUANT = QuantParams((1.0,), (0,))  # that there is one counts, not which
_WIDTHS = {"float32": 4, "float16": 2}
_PARAMS_BYTES = 2 * (4 + 8)  # of a channel in a .tflite file: scale and zero point, of its weights and of its bias
_TENSOR_BYTES = 40  # of the tables that a quantized tensor adds to the file
_PADS = frozenset(["Pad", "PAD", "PADV2", "MIRROR_PAD"])
#: These have padding of their own.
_PADDING_KERNELS = frozenset(["CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D"])
#: These move height and width elsewhere: what follows them keeps its size here, which is never too small.
_REARRANGING = frozenset(["Reshape", "RESHAPE", "Transpose", "TRANSPOSE"])


def with_quantized_io(graph: Graph) -> Graph:
    """Return *graph* without the conversions from a float input and to a float output; itself where it has none."""
    read = Counter(index for operator in graph.operators for index in operator.inputs)
    starts, ends = set(graph.inputs), set(graph.outputs)
    replaced: dict[int, int] = {}
    dropped: set[int] = set()
    for step, operator in enumerate(graph.operators):
        if operator.kind not in ("QUANTIZE", "DEQUANTIZE"):
            continue
        source, result = operator.inputs[0], operator.outputs[0]
        if operator.kind == "QUANTIZE" and _is_float(graph.tensors[source]):
            end, inner = source, result
            is_end = source in starts and read[source] == 1
        else:
            end, inner = result, source
            is_end = result in ends and not read[result] and not graph.tensors[source].constant
        if is_end and _is_float(graph.tensors[end]):
            replaced[end] = inner
            dropped.add(step)
    return _without(graph, dropped, replaced)


def in_int8(graph: Graph) -> Graph:
    """Return *graph* with int8 weights and activations and int32 biases, its inputs and outputs among them."""
    replaced: dict[int, int] = {}
    dropped: set[int] = set()
    for step, operator in enumerate(graph.operators):
        # Weights unpacked to float before they are used: int8 ones are not.
        if operator.kind == "DEQUANTIZE" and graph.tensors[operator.inputs[0]].constant:
            replaced[operator.outputs[0]] = operator.inputs[0]
            dropped.add(step)
    tensors = tuple(_in_int8(tensor) for tensor in graph.tensors)
    saved = sum(
        old.size_bytes - new.size_bytes for old, new in zip(graph.tensors, tensors, strict=True) if old.constant
    )
    channels = sum(
        max(graph.tensors[operator.outputs[0]].shape[-1:], default=0)
        for operator in graph.operators
        if operator.kind in WEIGHTED and operator.outputs and _is_float(graph.tensors[operator.outputs[0]])
    )
    size_bytes = graph.size_bytes - saved + _PARAMS_BYTES * channels + _TENSOR_BYTES * len(tensors)
    return _without(replace(graph, tensors=tensors, size_bytes=size_bytes), dropped, replaced)


def without_copies(graph: Graph, kind: str) -> Graph:
    """Return *graph* without the operators of *kind* that only move what a convolution or pooling could read in place.

    A padding counts where convolutions and poolings alone read it; itself where there is no such operator.

    Args:
        graph: of either format.
        kind: `PAD`, `TRANSPOSE`, ..., as the file names it.
    """
    readers: dict[int, set[str]] = {index: {"output"} for index in graph.outputs}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(index, set()).add(operator.kind)
    replaced: dict[int, int] = {}
    dropped: set[int] = set()
    for step, operator in enumerate(graph.operators):
        if operator.kind != kind or graph.tensors[operator.inputs[0]].constant:
            continue
        read_by = readers.get(operator.outputs[0], set())
        if "output" in read_by or (kind in _PADS and not read_by <= _PADDING_KERNELS):
            continue
        replaced[operator.outputs[0]] = replaced.get(operator.inputs[0], operator.inputs[0])
        dropped.add(step)
    return _without(graph, dropped, replaced)


def with_input(graph: Graph, height: int, width: int) -> Graph:
    """Return *graph* as if its first input, a batch of images, had this height and width, smaller than its own.

    Every height and width between input and output shrinks as its operator's input does, rounded up; padding stays.

    Args:
        graph: its first input is [N, H, W, C] in TFLite, [N, C, H, W] in ONNX.
        height: in pixels.
        width: in pixels.
    """
    axes = image_axes(graph)
    sides: dict[int, tuple[int, ...]] = {graph.inputs[0]: (height, width)}
    for operator in graph.operators:
        sources = [index for index in operator.inputs if index in sides]
        if not sources or operator.kind in _REARRANGING:
            continue
        for output in operator.outputs:
            if len(graph.tensors[output].shape) == 4:
                sides[output] = tuple(
                    _side(graph, operator, output, axis, {index: sides[index][place] for index in sources})
                    for place, axis in enumerate(axes)
                )
    tensors = tuple(
        _resized(tensor, dict(zip(axes, sides[index], strict=True))) if index in sides else tensor
        for index, tensor in enumerate(graph.tensors)
    )
    return replace(graph, tensors=tensors)


def follows_input(graph: Graph) -> bool:
    """Return whether `with_input` shrinks all that a smaller input would; else it takes too much, never too little."""
    return not any(
        operator.kind in _REARRANGING and len(graph.tensors[output].shape) > 2
        for operator in graph.operators
        for output in operator.outputs
    )


def image_axes(graph: Graph) -> tuple[int, int]:
    """Return which axes of an image are its height and width, by the custom of the format."""
    return FORMATS[graph.format].image_axes


def _side(graph: Graph, operator: Operator, output: int, axis: int, sources: Mapping[int, int]) -> int:
    """Return the new size of *axis* of *output*; *sources*: input → its new size there."""
    source = max(sources, key=lambda index: graph.tensors[index].shape[axis])
    before, after, made = graph.tensors[source].shape[axis], sources[source], graph.tensors[output].shape[axis]
    if operator.kind in _PADS:
        return after + made - before
    return -(-made * after // max(before, 1))


def _resized(tensor: Tensor, sizes: Mapping[int, int]) -> Tensor:
    shape = tuple(sizes.get(axis, size) for axis, size in enumerate(tensor.shape))
    return replace(tensor, shape=shape, size_bytes=-(-tensor.size_bytes * prod(shape) // max(prod(tensor.shape), 1)))


def _is_float(tensor: Tensor) -> bool:
    return tensor.dtype in _WIDTHS


def _in_int8(tensor: Tensor) -> Tensor:
    width = _WIDTHS.get(tensor.dtype)
    if width is None:
        return tensor
    if tensor.constant and len(tensor.shape) < 2:
        return replace(tensor, dtype="int32", quant=_QUANT, size_bytes=tensor.size_bytes * 4 // width)
    return replace(tensor, dtype="int8", quant=_QUANT, size_bytes=tensor.size_bytes // width)


def _without(graph: Graph, dropped: set[int], replaced: Mapping[int, int]) -> Graph:
    """Return *graph* without the operators *dropped*; each tensor in *replaced* is replaced by another and removed."""
    if not dropped:
        return graph
    kept = [index for index in range(len(graph.tensors)) if index not in replaced]
    place = {-1: -1, **{index: number for number, index in enumerate(kept)}}

    def moved(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place[replaced.get(index, index)] for index in indices)

    return replace(
        graph,
        tensors=tuple(graph.tensors[index] for index in kept),
        operators=tuple(
            replace(operator, inputs=moved(operator.inputs), outputs=moved(operator.outputs))
            for step, operator in enumerate(graph.operators)
            if step not in dropped
        ),
        inputs=moved(graph.inputs),
        outputs=moved(graph.outputs),
    )
