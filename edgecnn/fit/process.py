"""The RAM of a process that runs one file on an operating system with LiteRT or onnxruntime.

The factors were set by the peak resident memory (VmHWM) of Python processes with one thread on x86-64, LiteRT 2.3.0 and
onnxruntime 1.31.1, for ResNet-18/20/56 and MobileNetV2 in float and int8; see `tests/fit/test_process.py`.
"""

from __future__ import annotations

from math import prod

from edgecnn.fit.plan import Buffer
from edgecnn.formats import FORMATS, Graph
from edgecnn.formats.weighted import WEIGHTED

ALIGNMENT = 64  # kDefaultTensorAlignment of LiteRT's arena; onnxruntime's allocator takes 64 (256 on a GPU) as well
MIB = 2**20

_LITERT_FIXED = round(3.5 * MIB)  # the interpreter, XNNPACK and its threads, before any weight
_ORT_FIXED = round(10.5 * MIB)  # the session, its allocators and the optimizer
#: onnxruntime holds the parsed file, the initializers taken from it, and the layout its kernels want (with remains).
_ORT_COPIES = 2.25
#: Bytes for each weight that is stored in this type and unpacked when the file is loaded. Half precision is laid out as
#: floats; int8 becomes floats, which are laid out once more; int4 becomes int8 and floats, used as they are.
_UNPACKED_BYTES = {"float16": 4, "int8": 8, "int4": 5}
_POINTER_BYTES = 8


def runtime_of(graph: Graph) -> str:
    """Return the runtime that reads the file, as a device profile names it."""
    return FORMATS[graph.format].runtime


def memory_parts(graph: Graph, arena_bytes: int) -> dict[str, int]:
    """Return what the process takes beyond the runtime's own base, by part.

    Args:
        graph: of either format.
        arena_bytes: of the activations, laid out.
    """
    if graph.format == "onnx":
        return {
            "model file": graph.size_bytes,
            "weights, copied and packed": round(_ORT_COPIES * graph.weights_bytes),
            "activations": arena_bytes,
            "session": _ORT_FIXED,
        }
    return {
        "model file, mapped": graph.size_bytes,
        "weights, packed": _packed_bytes(graph),
        "activations": arena_bytes,
        "indirection buffers": _indirection_bytes(graph),
        "interpreter": _LITERT_FIXED,
    }


def activation_buffers(graph: Graph) -> tuple[Buffer, ...]:
    """Return the buffers of the values that the runtime keeps; step s is operator s."""
    skipped, fused = _never_stored(graph), _fused_activations(graph)
    first = {index: lifetime[0] for index, lifetime in enumerate(graph.lifetimes) if lifetime is not None}
    within = set(fused.values())
    return tuple(
        Buffer(tensor.name, tensor.size_bytes, min(first[fused.get(index, index)], lifetime[1]), lifetime[1])
        for index, (tensor, lifetime) in enumerate(zip(graph.tensors, graph.lifetimes, strict=True))
        if lifetime is not None and tensor.size_bytes > 0 and index not in skipped and index not in within
    )


def _fused_activations(graph: Graph) -> dict[int, int]:
    """Return output → input of the activations that onnxruntime computes in the operator before, in its buffer."""
    readers: dict[int, int] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers[index] = readers.get(index, 0) + 1
    kept = {*graph.inputs, *graph.outputs}
    return {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if operator.kind in ("Clip", "Relu") and readers[operator.inputs[0]] == 1 and operator.inputs[0] not in kept
    }


def _never_stored(graph: Graph) -> set[int]:
    """Return the values that kernels fuse away: real values between integer ones, and weights unpacked to float."""
    skipped: set[int] = set()
    for operator in graph.operators:
        source = operator.inputs[0] if operator.inputs else -1
        if operator.kind == "DequantizeLinear" or (
            operator.kind == "DEQUANTIZE" and source >= 0 and graph.tensors[source].constant
        ):
            skipped.update(operator.outputs)
        if operator.kind == "QuantizeLinear":
            skipped.add(source)
    return skipped - {*graph.inputs, *graph.outputs}


def _packed_bytes(graph: Graph) -> int:
    """Return the copies of the weights: what XNNPACK lays out for its kernels, and what it is unpacked to before."""
    unpacked = {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if operator.kind == "DEQUANTIZE" and operator.inputs and operator.outputs
    }
    total = 0
    for operator in graph.operators:
        places = WEIGHTED.get(operator.kind)
        if places is None or len(operator.inputs) <= places.weights or operator.inputs[places.weights] < 0:
            continue
        index = operator.inputs[places.weights]
        weights = graph.tensors[unpacked.get(index, index)]
        each = _UNPACKED_BYTES.get(weights.dtype) if index in unpacked else None
        total += weights.size_bytes if each is None else each * prod(weights.shape)
    return total


def _indirection_bytes(graph: Graph) -> int:
    """Return XNNPACK's indirection buffers: one pointer for each output pixel and kernel element, 1x1 needs none."""
    total = 0
    for operator in graph.operators:
        if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D") or not operator.outputs:
            continue
        kernel = prod(graph.tensors[operator.inputs[1]].shape[1:3])
        if kernel > 1:
            total += _POINTER_BYTES * kernel * prod(graph.tensors[operator.outputs[0]].shape[1:3])
    return total
