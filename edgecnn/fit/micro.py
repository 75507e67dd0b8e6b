"""The arena of TFLite Micro: the head, which tensors share over time, and the tail, which stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgecnn.fit.call import Call
from edgecnn.fit.micro_kernels import KERNELS, Kernel, is_modelled, persistent_bytes, scratch_bytes
from edgecnn.fit.plan import Buffer, align, live_bytes, plan_greedy, planned_bytes
from edgecnn.formats import Graph, Tensor

ALIGNMENT = 16  # MicroArenaBufferAlignment()
CORE_FLASH_BYTES = 16 * 1024
CORE_FLASH_SOURCE = "https://www.tensorflow.org/lite/microcontrollers, on a Cortex-M3"

_NEVER = -1  # kUninitializedLifetime: of what the first subgraph does not reach
_SPARE_REQUESTS = 12  # kMaxScratchBuffersPerOp: room that is kept for the next operator's
#: Kernels that describe each tensor once while they are prepared; the others may do it again at the same time, in the
#: function that works out their parameters.
_DESCRIBED_ONCE = frozenset(["ADD", "MUL", "RESHAPE", "SUB", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"])
_PLANNED_BYTES = 40  # GreedyMemoryPlanner::per_buffer_size()


@dataclass(frozen=True)
class Structs:
    """Sizes of the structures TFLite Micro keeps, for one pointer size."""

    pointer: int
    eval_tensor: int  # TfLiteEvalTensor
    tensor: int  # TfLiteTensor, one for each input and output
    node: int  # NodeAndRegistration
    quantization: int  # TfLiteAffineQuantization
    fixed: int  # the allocators, the planner and the list of subgraphs
    subgraph: int  # SubgraphAllocations, of each subgraph but the first
    request: int  # ScratchBufferRequest, while operators are prepared
    allocation: int  # AllocationInfo of a tensor or scratch buffer, while they are laid out
    variable: int  # MicroResourceVariable
    variables: int  # MicroResourceVariables


#: Pointer size in bytes → structures. 8: measured with the interpreter of the package `tflite-micro` (whose allocator
#: records, so its fixed part is larger than a plain one). 4: counted from the declarations in
#: `tensorflow/lite/c/common.h` and `tensorflow/lite/micro/*.h`, not measured on a microcontroller.
STRUCTS = {
    8: Structs(8, 24, 64, 64, 24, 488, 24, 16, 32, 40, 16),
    4: Structs(4, 12, 40, 32, 12, 176, 12, 12, 24, 20, 12),
}


@dataclass(frozen=True)
class MicroArena:
    """One network in TFLite Micro's arena."""

    pointer_bytes: int
    buffers: tuple[Buffer, ...]  # of the head
    offsets: tuple[int, ...]
    tail: Mapping[str, int]  # part → bytes
    steps: tuple[int, ...]  # of the operators of the first subgraph, as the lifetimes of buffers count them
    setup_bytes: int  # the most that is needed before the first run: to prepare the operators and to lay out the head
    not_modelled: tuple[str, ...]  # operators of which it is not known what they take

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
        return max(self.head_bytes + self.tail_bytes, self.setup_bytes)

    @property
    def live_bytes(self) -> tuple[int, ...]:
        """For each operator the bytes of the tensors and scratch buffers that live while it runs."""
        live = live_bytes(self.buffers, max(self.steps, default=0) + 1, ALIGNMENT)
        return tuple(live[step] for step in self.steps)


Scratch = Callable[[Call], tuple[int, ...]]


def plan_micro(graph: Graph, pointer_bytes: int = 4, scratch: Scratch = scratch_bytes) -> MicroArena:
    """Lay out *graph* as TFLite Micro does; *scratch* says what the kernels ask for (the reference kernels).

    Args:
        graph: of a .tflite file.
        pointer_bytes: 4 on a microcontroller, 8 on a PC.
        scratch: gives the scratch buffers of one operator, in bytes, in the order in which its kernel asks for them.
    """
    subgraphs = (graph, *graph.further)
    times = _Times.of(subgraphs)
    requests = tuple(
        Buffer(f"scratch of {operator.kind}", size, *times.operators[number][step])
        for number, subgraph in enumerate(subgraphs)
        for step, operator in enumerate(subgraph.operators)
        for size in scratch(Call.of(subgraph, operator))
    )
    buffers = (*_tensor_buffers(subgraphs, times), *requests)
    structs = STRUCTS[pointer_bytes]
    tail, setup_bytes = _tail(subgraphs, structs, len(requests), len(buffers))
    kinds = {operator.kind for subgraph in subgraphs for operator in subgraph.operators}
    return MicroArena(
        pointer_bytes,
        buffers,
        plan_greedy(buffers, ALIGNMENT),
        tail,
        tuple(first for first, _ in times.operators[0]),
        setup_bytes,
        tuple(sorted(kind for kind in kinds if not is_modelled(kind))),
    )


@dataclass(frozen=True)
class _Times:
    """When tensors and operators of each subgraph live, (first, last), in steps of a run of the first subgraph.

    Source: AllocationInfoBuilder in `tensorflow/lite/micro/micro_allocation_info.cc`. A tensor that nothing makes keeps
    the lifetime [-1, -1], and its place; so does all of a subgraph that the first one does not call.
    """

    tensors: list[dict[int, tuple[int, int]]]
    operators: list[list[tuple[int, int]]]

    @classmethod
    def of(cls, subgraphs: Sequence[Graph]) -> _Times:
        times = cls([{} for _ in subgraphs], [[(_NEVER, _NEVER)] * len(graph.operators) for graph in subgraphs])
        times._run(subgraphs, 0, 0)
        return times

    def _run(self, subgraphs: Sequence[Graph], number: int, step: int) -> int:
        """Note what one run of subgraph *number* from *step* on needs, and return the step it ends in."""
        graph, tensors = subgraphs[number], self.tensors[number]
        tensors.update(dict.fromkeys((*graph.inputs, *graph.outputs), (step, step)))
        for place, operator in enumerate(graph.operators):
            step += 1
            start = step
            tensors.update(dict.fromkeys(operator.outputs, (step, step)))
            called = operator.options.get("init_subgraph", 0)
            if operator.kind == "CALL_ONCE" and number == 0 < called < len(subgraphs):
                step = self._run(subgraphs, called, step + 1)
            for index in (*operator.inputs, *operator.outputs):
                tensors[index] = (tensors.get(index, (_NEVER, 0))[0], step)
            self.operators[number][place] = (start, step)
        for index in graph.outputs:
            tensors[index] = (tensors[index][0], step)
        return step


def _tensor_buffers(subgraphs: Sequence[Graph], times: _Times) -> tuple[Buffer, ...]:
    """Return the buffers of the tensors, in the order of the file."""
    return tuple(
        Buffer(tensor.name, tensor.size_bytes, *lifetimes.get(index, (_NEVER, _NEVER)))
        for graph, lifetimes in zip(subgraphs, times.tensors, strict=True)
        for index, tensor in enumerate(graph.tensors)
        if not tensor.constant and not tensor.variable and tensor.size_bytes > 0
    )


class _Tail:
    """What grows down from the end of the arena, part by part."""

    def __init__(self) -> None:
        self.parts: dict[str, int] = {}
        self.used = 0

    def take(self, part: str, size: int, alignment: int) -> None:
        end = align(self.used + size, alignment)
        self.parts[part] = self.parts.get(part, 0) + end - self.used
        self.used = end


def _tail(subgraphs: Sequence[Graph], structs: Structs, requests: int, planned: int) -> tuple[dict[str, int], int]:
    """Return the tail, in the order of its allocations, and what the arena must have before the first run."""
    tail, word = _Tail(), structs.pointer
    calls = [Call.of(graph, operator) for graph in subgraphs for operator in graph.operators]
    variables = _resource_variables(subgraphs)
    if variables:
        tail.take("variables", structs.variable * len(variables), ALIGNMENT)
        tail.take("variables", structs.variables, ALIGNMENT)
    tail.take("interpreter", structs.fixed + structs.subgraph * (len(subgraphs) - 1), word)
    for graph in subgraphs:
        tail.take("tensor structures", structs.eval_tensor * len(graph.tensors), word)
    tail.take("operator structures", structs.node * len(calls), word)
    for call in calls:
        kernel = KERNELS.get(call.kind, Kernel())
        tail.take("operator options", kernel.builtin_bytes, kernel.builtin_alignment(word))
    for call in calls:
        for piece in persistent_bytes(call, word):
            tail.take("kernel data", piece, ALIGNMENT)
    for size in variables.values():
        tail.take("variables", size, ALIGNMENT)
    prepared = tail.used + max((_prepare_bytes(call, structs) for call in calls), default=0)
    for graph in subgraphs:
        tail.take("scratch handles", word * requests, word)  # anew for each subgraph
        for tensor in graph.tensors:
            if tensor.variable:
                tail.take("variables", tensor.size_bytes, ALIGNMENT)
    setup = max(
        prepared + structs.request * requests,
        align(tail.used, ALIGNMENT) + _layout_bytes(subgraphs, structs, requests, planned),
    )
    _take_ends(tail, subgraphs[0], structs)
    return tail.parts, align(setup, ALIGNMENT)


def _resource_variables(subgraphs: Sequence[Graph]) -> dict[str, int]:
    """Return the resource variables of a file and their sizes: each has a name, which VAR_HANDLE gives it."""
    sizes: dict[str, int] = {}
    for graph in subgraphs:
        names = {op.outputs[0]: op.name for op in graph.operators if op.kind == "VAR_HANDLE" and op.outputs}
        sizes |= {name: sizes.get(name, 0) for name in names.values()}
        for operator in graph.operators:
            if operator.kind == "ASSIGN_VARIABLE" and len(operator.inputs) > 1:
                handle, value = operator.inputs[:2]
                sizes[names.get(handle, "")] = graph.tensors[value].size_bytes
    return sizes


def _take_ends(tail: _Tail, graph: Graph, structs: Structs) -> None:
    """Take what the interpreter keeps of the inputs and outputs of the first subgraph."""
    for indices in (graph.inputs, graph.outputs):
        tail.take("inputs and outputs", structs.pointer * len(indices), ALIGNMENT)
        for index in indices:
            tail.take("inputs and outputs", structs.tensor, structs.pointer)
            quant = graph.tensors[index].quant
            if quant is not None:
                tail.take("inputs and outputs", structs.quantization, structs.pointer)
                tail.take("inputs and outputs", 4 + 4 * len(quant.scale), 4)
    tail.take("inputs and outputs", 0, ALIGNMENT)


def _layout_bytes(subgraphs: Sequence[Graph], structs: Structs, requests: int, planned: int) -> int:
    """Return what MicroAllocator::CommitStaticMemoryPlan needs beside the tail while it lays out the head."""
    infos = sum(len(graph.tensors) for graph in subgraphs) + requests
    before = (
        structs.request * (requests + _SPARE_REQUESTS) + structs.pointer * len(subgraphs) + structs.allocation * infos
    )
    return align(before, ALIGNMENT) + align(_PLANNED_BYTES * planned, ALIGNMENT)


def _prepare_bytes(call: Call, structs: Structs) -> int:
    """Return the most that one operator's kernel describes its tensors in, for a moment, while it is prepared."""
    tensors = (*call.given, *call.outputs)
    times = 1 if call.kind in _DESCRIBED_ONCE else 2
    return structs.request * _SPARE_REQUESTS + times * sum(_described_bytes(tensor, structs) for tensor in tensors)


def _described_bytes(tensor: Tensor, structs: Structs) -> int:
    quant = tensor.quant
    return structs.tensor + (0 if quant is None else structs.quantization + 8 + 4 * len(quant.scale))
