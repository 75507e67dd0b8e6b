"""Concatenations at the end of a network whose parts have different ranges: the boxes and scores of a detector.

In int8 all parts of a concatenation have one scale. Beside boxes in pixels, scores between 0 and 1 are 0 or 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgecnn.formats.graph import Graph, Operator

_CONCATENATIONS = frozenset({"CONCATENATION", "Concat"})
_MOVES = _CONCATENATIONS | {
    "EXPAND_DIMS", "Flatten", "Identity", "RESHAPE", "Reshape", "SLICE", "SQUEEZE", "STRIDED_SLICE", "Slice",
    "Squeeze", "TRANSPOSE", "Transpose", "Unsqueeze",
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
