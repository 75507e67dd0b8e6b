"""The arena of TFLite Micro: the head, which tensors share over time, and the tail, which stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgecnn.fit.micro_kernels import KERNELS, Kernel, persistent_bytes, scratch_bytes
from edgecnn.fit.plan import Buffer, align, live_bytes, plan_greedy, planned_bytes
from edgecnn.formats import Graph, Operator, Tensor

ALIGNMENT = 16  # MicroArenaBufferAlignment()
CORE_FLASH_BYTES = 16 * 1024
CORE_FLASH_SOURCE = "https://www.tensorflow.org/lite/microcontrollers, on a Cortex-M3"


@dataclass(frozen=True)
class Structs:
    """Sizes of the structures TFLite Micro keeps, for one pointer size."""

    pointer: int
    eval_tensor: int  # TfLiteEvalTensor
    tensor: int  # TfLiteTensor, one for each input and output
    node: int  # NodeAndRegistration
    quantization: int  # TfLiteAffineQuantization
    fixed: int  # the allocators, the planner and the list of subgraphs


#: Pointer size in bytes → structures. 8: measured with the interpreter of the package `tflite-micro` (whose allocator
#: records, so its fixed part is larger than a plain one). 4: counted from the declarations in
#: `tensorflow/lite/c/common.h` and `tensorflow/lite/micro/*.h`, not measured on a microcontroller.
STRUCTS = {8: Structs(8, 24, 64, 64, 24, 488), 4: Structs(4, 12, 40, 32, 12, 176)}


@dataclass(frozen=True)
class MicroArena:
    """One network in TFLite Micro's arena."""

    pointer_bytes: int
    buffers: tuple[Buffer, ...]  # of the head; step s is the operator s - 1, and 0 is before the first
    offsets: tuple[int, ...]
    tail: Mapping[str, int]  # part → bytes
    steps: int

    @property
    def head_bytes(self) -> int:
        """What tensors and scratch buffers take, laid out."""
        return planned_bytes(self.buffers, self.offsets, ALIGNMENT)

    @property
    def tail_bytes(self) -> int:
        """What stays for good."""
        return sum(self.tail.values())

    @property
    def total_bytes(self) -> int:
        """The smallest arena this network runs in."""
        return self.head_bytes + self.tail_bytes

    @property
    def live_bytes(self) -> tuple[int, ...]:
        """For each operator the bytes of the tensors and scratch buffers that live while it runs."""
        return live_bytes(self.buffers, self.steps + 1, ALIGNMENT)[1:]


Scratch = Callable[[Graph, Operator], tuple[int, ...]]


def plan_micro(graph: Graph, pointer_bytes: int = 4, scratch: Scratch = scratch_bytes) -> MicroArena:
    """Lay out *graph* as TFLite Micro does; *scratch* says what the kernels ask for (the reference kernels)."""
    requests = [(step, size) for step, operator in enumerate(graph.operators, 1) for size in scratch(graph, operator)]
    buffers = (
        *_tensor_buffers(graph),
        *(Buffer(f"scratch of {graph.operators[step - 1].kind}", size, step, step) for step, size in requests),
    )
    tail = _tail(graph, STRUCTS[pointer_bytes], len(requests))
    return MicroArena(pointer_bytes, buffers, plan_greedy(buffers, ALIGNMENT), tail, len(graph.operators))


def _tensor_buffers(graph: Graph) -> tuple[Buffer, ...]:
    """Return the buffers of the tensors, in the order of the file.

    Source: AllocationInfoBuilder in `tensorflow/lite/micro/micro_allocation_info.cc`. A tensor that nothing makes keeps
    the lifetime [-1, -1], and its place.
    """
    first: dict[int, int] = dict.fromkeys((*graph.inputs, *graph.outputs), 0)
    last = dict(first)
    for step, operator in enumerate(graph.operators, 1):
        first.update(dict.fromkeys(operator.outputs, step))
        last.update(dict.fromkeys((*operator.inputs, *operator.outputs), step))
    last.update(dict.fromkeys(graph.outputs, len(graph.operators)))
    return tuple(
        Buffer(tensor.name, tensor.size_bytes, first.get(index, -1), last.get(index, -1))
        for index, tensor in enumerate(graph.tensors)
        if not tensor.constant and not tensor.variable and tensor.size_bytes > 0
    )


def _tail(graph: Graph, structs: Structs, scratch_count: int) -> dict[str, int]:
    """Return what grows down from the end of the arena, part by part, in the order of the allocations."""
    parts: dict[str, int] = {}
    used = 0

    def take(part: str, size: int, alignment: int) -> None:
        nonlocal used
        end = align(used + size, alignment)
        parts[part] = parts.get(part, 0) + end - used
        used = end

    word = structs.pointer
    take("interpreter", structs.fixed, word)
    take("tensor structures", structs.eval_tensor * len(graph.tensors), word)
    take("operator structures", structs.node * len(graph.operators), word)
    for operator in graph.operators:
        builtin_bytes = KERNELS.get(operator.kind, Kernel()).builtin_bytes
        take("operator options", builtin_bytes, 4 if builtin_bytes >= 4 else 1)
    for operator in graph.operators:
        for piece in persistent_bytes(graph, operator, word):
            take("kernel data", piece, ALIGNMENT)
    take("scratch handles", word * scratch_count, word)
    for tensor in graph.tensors:
        if tensor.variable:
            take("variables", tensor.size_bytes, ALIGNMENT)
    for indices in (graph.inputs, graph.outputs):
        take("inputs and outputs", word * len(indices), ALIGNMENT)
        for index in indices:
            take("inputs and outputs", structs.tensor, word)
            _take_quantization(graph.tensors[index], structs, take)
    take("inputs and outputs", 0, ALIGNMENT)
    return parts


def _take_quantization(tensor: Tensor, structs: Structs, take: Callable[[str, int, int], None]) -> None:
    if tensor.quant is not None:
        take("inputs and outputs", structs.quantization, structs.pointer)
        take("inputs and outputs", 4 + 4 * len(tensor.quant.scale), 4)
