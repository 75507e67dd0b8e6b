"""The end of a detector: the arithmetic that makes boxes in pixels, and concatenations of parts of different range.

In int8 all parts of a concatenation have one scale: beside boxes in pixels, scores between 0 and 1 are 0 or 1. And each
operator rounds: a sigmoid that is scaled to 64 pixels has steps of a quarter of one, differences of such edges more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecnn.formats.graph import Graph, Operator

_CONCATENATIONS = frozenset({"CONCATENATION", "Concat"})
_MOVES = _CONCATENATIONS | {
    "EXPAND_DIMS", "Flatten", "Identity", "RESHAPE", "Reshape", "SLICE", "SQUEEZE", "STRIDED_SLICE", "Slice",
    "Squeeze", "TRANSPOSE", "Transpose", "Unsqueeze",
}  # fmt: skip
#: What makes each value of several, or of a number and it; and what does so from one value, or along an axis. None has
#: weights.
_COMBINING = frozenset({"ADD", "Add", "DIV", "Div", "EXP", "Exp", "MUL", "Mul", "POW", "Pow", "SQUARE", "SUB", "Sub"})
_ARITHMETIC = _COMBINING | {
    "ABS", "Abs", "Clip", "GATHER", "GREATER", "Gather", "Greater", "LOG", "LOGISTIC", "Log", "MAXIMUM", "MINIMUM",
    "Max", "Min", "NEG", "Neg", "RELU", "RELU6", "RSQRT", "Relu", "SELECT", "SELECT_V2", "SOFTMAX", "SPLIT", "SPLIT_V",
    "SQRT", "Sigmoid", "Softmax", "Softplus", "Split", "Sqrt", "TANH", "Tanh", "Where",
}  # fmt: skip
_MOST_RATIO = 4.0  # of the largest values of two parts: the smaller keeps 6 of its 8 bits


def last_concatenations(graph: Graph) -> list[Operator]:
    """Return the concatenations that nothing but moves of values follows until the outputs."""
    return [operator for operator in _tail(graph) if operator.kind in _CONCATENATIONS]


def mixed_heads(graph: Graph, largest: Mapping[str, float]) -> list[Operator]:
    """Return the last concatenations with parts of different range, and what follows them, in the graph's order.

    Args:
        graph: of the fp32 file.
        largest: tensor name → its largest absolute value over the calibration samples.
    """
    mixed: list[Operator] = []
    written: set[int] = set()  # by those found so far
    for operator in _tail(graph):
        sizes = [size for index in operator.inputs if (size := largest.get(graph.tensors[index].name, 0.0)) > 0]
        is_mixed = operator.kind in _CONCATENATIONS and sizes and max(sizes) > _MOST_RATIO * min(sizes)
        if is_mixed or written.intersection(operator.inputs):
            mixed.append(operator)
            written.update(operator.outputs)
    return mixed


def heads_in_float(graph: Graph, mixed: Sequence[Operator]) -> list[Operator]:
    """Return what of an int8 file stays in float for the sake of its last concatenations, in no order.

    That are *mixed* ones with the arithmetic that leads to them alone. Where arithmetic combines values before any of
    the last concatenations, boxes are decoded, and all of these stay in float with what leads to them alone. It begins
    behind the last layers with weights, so it is little work.

    Args:
        graph: of the fp32 file.
        mixed: as `mixed_heads` returns them.
    """
    joined: list[Operator] = []
    for operator in _tail(graph):
        if operator.kind in _CONCATENATIONS or any(set(one.outputs) & set(operator.inputs) for one in joined):
            joined.append(operator)
    before = _before(graph, joined)
    if any(operator.kind in _COMBINING for operator in before):
        return [*before, *joined]
    return [*_before(graph, mixed), *mixed]


def _before(graph: Graph, ends: Sequence[Operator]) -> list[Operator]:
    """Return the operators without weights that lead to *ends* and to nothing else."""
    readers: dict[int, list[Operator]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)
    known = {operator.outputs for operator in ends}
    found = []
    for operator in reversed(graph.operators):
        reading = [reader.outputs for index in operator.outputs for reader in readers.get(index, ())]
        is_within = operator.kind in _ARITHMETIC | _MOVES and operator.outputs not in known
        if is_within and reading and known.issuperset(reading):
            found.append(operator)
            known.add(operator.outputs)
    return found


def _tail(graph: Graph) -> list[Operator]:
    """Return the operators that only move values, as do all that read theirs, until the outputs."""
    others: set[int] = set()  # tensors that something else reads
    tail = []
    for operator in reversed(graph.operators):
        if operator.kind in _MOVES and not others.intersection(operator.outputs):
            tail.append(operator)
        else:
            others.update(operator.inputs)
    return tail[::-1]


def mixed_note(heads: list[Operator], *, in_float: bool) -> tuple[str, ...]:
    """Return what a user is told of *heads*."""
    if not heads:
        return ()
    first = heads[0].name
    if in_float:
        return (
            f"{first} joins outputs of different range, which stay in float so that the small ones keep their values",
        )
    return (
        f"{first} joins outputs of different range in int8, which loses the small ones: return them as separate "
        "outputs, each of which has its own scale",
    )
