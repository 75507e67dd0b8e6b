"""How channels move where no layer moves them: concats, splits, reshapes, pixel shuffles and padding.

torch-pruning guesses the widths there from the layers around, and whatever comes between misleads it. Here they are
read off the shapes that autograd has noted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgecnn.errors import require


def map_channels(graph: Any) -> None:
    """Have the dependency graph of torch-pruning follow channels through these operations by the shapes there are.

    Where they do not tell, channels are taken to stay: whether that is so is tried later.
    """
    elementwise = require("torch_pruning", "torch").ops.OPTYPE.ELEMENTWISE
    for node in graph.module2node.values():
        kind = _operation_of(node)
        for beginning, mapping in _MAPPINGS.items():
            if kind.startswith(beginning):
                _forget_guesses(node)
                node.type = elementwise  # torch-pruning no longer maps it
                mapping(node)


#: Operations that make channels of neighbouring ones or positions, as autograd names them.
_RESHAPES = ("View", "UnsafeView", "Reshape", "PixelShuffle", "PixelUnshuffle")


# Channels that go along an edge leave the node before it, and enter the one behind it: its mappings are applied in this
# order, on the way forth and, those turned round, on the way back.
_LEAVING, _ENTERING = 0, 1
_ENTERING_BACK, _LEAVING_BACK = 0, 1


def _map_padding(node: Any) -> None:
    """Have channels move by those put before them."""
    padding = padding_of(node)
    if padding is not None:
        _map_inputs(node, _Shift(-padding.before, padding.channels), _Shift(padding.before, padding.width))


def _map_reshape(node: Any) -> None:
    """Map channels before a reshape to those behind it.

    A node stands for the longer of its two shapes, so that no two filters become one.
    """
    sizes = reshape_of(node)
    if sizes is None:
        return
    before, after = sizes
    longer = max(before, after)
    _map_inputs(node, _Scale(1, longer // before, before), _Scale(longer // before, 1, longer))
    down, up = _Scale(1, longer // after, after), _Scale(longer // after, 1, longer)
    for target in node.outputs:
        for edge in _edges(node, target):
            edge.index_mapping[_LEAVING] = down
        for edge in _edges(target, node):
            edge.index_mapping[_LEAVING_BACK] = up


def _map_concat(node: Any) -> None:
    """Have the channels of each input move by those of the inputs before it."""
    functions = node.grad_fn.next_functions
    total = _channels_of(node.grad_fn, 0)
    known = sum(_channels_of(source, number) for source, number in functions if source is not None)
    unseen = len(functions) - len(node.inputs)  # what no weights have a part in, the network's input say
    if unseen > 1 or known > total or (known < total and not unseen):
        return
    sources = iter(node.inputs)
    taken: dict[Any, int] = {}
    offset = 0
    for function, number in functions:
        width = total - known
        if function is not None:
            width = _channels_of(function, number)
            source = next(sources)
            nth = taken[source] = taken.get(source, -1) + 1
            _edges(source, node)[nth].index_mapping[_ENTERING] = _Shift(offset, total)
            _edges(node, source)[nth].index_mapping[_ENTERING_BACK] = _Shift(-offset, width)
        offset += width


def _map_split(node: Any) -> None:
    """Have the channels of each part move back by those of the parts before it."""
    widths = parts_of(node)
    numbers = {
        target: [number for source, number in target.grad_fn.next_functions if source is node.grad_fn]
        for target in node.outputs
    }
    if not widths or any(len(_edges(node, target)) != len(taken) for target, taken in numbers.items()):
        return
    for target, taken in numbers.items():
        for nth, number in enumerate(taken):
            offset = sum(widths[:number])
            _edges(node, target)[nth].index_mapping[_LEAVING] = _Shift(-offset, widths[number])
            _edges(target, node)[nth].index_mapping[_LEAVING_BACK] = _Shift(offset, sum(widths))


#: How channels move in operations, by the names that autograd has for them.
_MAPPINGS: Mapping[str | tuple[str, ...], Callable[[Any], None]] = {
    "ConstantPad": _map_padding,
    _RESHAPES: _map_reshape,
    "Cat": _map_concat,
    "Split": _map_split,
}


def _forget_guesses(node: Any) -> None:
    """Take torch-pruning's mappings off the edges of *node*; those of the nodes around it are made anew when needed."""
    around = (*node.dependencies, *(edge for near in (*node.inputs, *node.outputs) for edge in _edges(near, node)))
    for edge in around:
        for slot, mapping in enumerate(edge.index_mapping):
            if type(mapping).__module__ != __name__:
                edge.index_mapping[slot] = None


def _map_inputs(node: Any, back: Any, forth: Any) -> None:
    """Set how channels of *node* become those of its inputs, and those become its own."""
    for source in node.inputs:
        for edge in _edges(node, source):
            edge.index_mapping[_ENTERING_BACK] = back
        for edge in _edges(source, node):
            edge.index_mapping[_ENTERING] = forth


def _edges(source: Any, target: Any) -> list[Any]:
    """Return the edges from one node to another, one for each time that what one gives is taken by the other."""
    return [edge for edge in source.dependencies if edge.target is target]


def _operation_of(node: Any) -> str:
    """Return the operation that a node stands for, as autograd names it; "" where it stands for a layer."""
    # The last operation of a linear layer with positions is a reshape, which is its own.
    return type(node.grad_fn).__name__ if type(node.module).__module__.startswith("torch_pruning.") else ""


def _channels_of(function: Any, number: int) -> int:
    shape = _shape_of(function, number)
    return shape[1] if len(shape) > 1 else 1


def _shape_of(function: Any, number: int) -> tuple[int, ...]:
    """Return the shape of the result with that number of an operation that autograd has noted."""
    return tuple(int(size) for size in function._input_metadata[number].shape)


@dataclass(frozen=True)
class _Shift:
    """Moves channels by an offset, and drops those that land outside."""

    offset: int
    width: int

    def __call__(self, entries: list[Any]) -> list[Any]:
        moved = (entry._replace(idx=entry.idx + self.offset) for entry in entries)
        return [entry for entry in moved if 0 <= entry.idx < self.width]


@dataclass(frozen=True)
class _Scale:
    """Makes a channel `times` as many, or every `share` channels one, and drops those that land outside.

    Where torch-pruning takes positions for channels, behind a transposition, they would grow at each turn of a loop.
    Channels that become one can only go together: one of their roots stands for all, or ways back and forth would make
    each root reach each channel.
    """

    times: int
    share: int
    width: int

    def __call__(self, entries: list[Any]) -> list[Any]:
        scaled = (
            entry._replace(idx=entry.idx // self.share * self.times + part)
            for entry in entries
            for part in range(self.times)
        )
        kept: dict[Any, Any] = {}
        for entry in scaled:
            if entry.idx < self.width:
                kept.setdefault(entry.idx if self.share > 1 else entry, entry)
        return list(kept.values())


def reshape_of(node: Any) -> tuple[int, int] | None:
    """Return the channels before and after a reshape that puts some together or takes them apart; None: no such one."""
    if not _operation_of(node).startswith(_RESHAPES) or node.grad_fn.next_functions[0][0] is None:
        return None
    before, after = _shape_of(*node.grad_fn.next_functions[0]), _shape_of(node.grad_fn, 0)
    if min(len(before), len(after)) < 2 or before[0] != after[0]:
        return None
    shorter, longer = sorted((before[1], after[1]))
    return (before[1], after[1]) if longer % shorter == 0 else None


def parts_of(node: Any) -> tuple[int, ...]:
    """Return how many channels each part of a split has; none where it is no split of channels."""
    if not _operation_of(node).startswith("Split"):
        return ()
    widths = tuple(int(part.shape[1]) for part in node.grad_fn._input_metadata)
    return widths if sum(widths) == _shape_of(*node.grad_fn.next_functions[0])[1] else ()


@dataclass(frozen=True)
class Padding:
    """Channels of zeros put before and after those of an input."""

    before: int
    after: int
    width: int  # of all

    @property
    def channels(self) -> int:
        """How many there are between them."""
        return self.width - self.before - self.after

    def ends(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return those of *pairs* (channel, …) that have a partner at the other end."""
        count = min(self.before, self.after)
        return [pair for pair in pairs if pair[0] < count or pair[0] >= self.width - count]

    def end(self, index: int) -> int:
        """Return the same number for a channel and its partner at the other end."""
        return min(index, self.width - 1 - index)


def padding_of(node: Any) -> Padding | None:
    """Return the channels that an operation puts around its input's; None where it pads none."""
    if not _operation_of(node).startswith("ConstantPad") or len(node.grad_fn._saved_pad) < 6:
        return None
    before, after = node.grad_fn._saved_pad[4:6]
    return Padding(int(before), int(after), int(node.grad_fn._input_metadata[0].shape[1]))
