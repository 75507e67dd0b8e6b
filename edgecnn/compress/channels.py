"""The filters that go together: a network's dependency graph, read once into plain indices.

torch-pruning follows a filter to all that must lose something with it. What it finds is kept as slices of named layers,
so that taking filters out, and setting them to zero, are the same selection on the weights and nothing else.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from edgecnn.checkpoint import load_weights, resize_to
from edgecnn.errors import EdgecnnError, require, told

OUT, IN = "out", "in"

LOST_TRACK = "torch-pruning loses track of its filters further on"

Convolution = nn.modules.conv._ConvNd
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


@dataclass(frozen=True)
class Slice:
    """What one layer loses with each atom: filters (`OUT`) or the inputs of its filters (`IN`)."""

    layer: str
    side: str
    indices: tuple[tuple[int, ...], ...]  # one entry an atom


@dataclass(frozen=True)
class Group:
    """Filters that hang together; an atom is the least of them that can go, a single filter most of the time."""

    root: str  # the first layer with weights to run that loses filters
    slices: tuple[Slice, ...]
    reason: str | None = None  # why none of them can go


@dataclass
class Run:
    """How a module ran: how often, and what it was given and gave the last time."""

    times: int = 0
    given: Any = None
    gave: Any = None


def runs_of(module: nn.Module, example: torch.Tensor) -> dict[str, Run]:
    """Return how each module runs on *example* [n, ...], by name, in the order in which they begin.

    Raises:
        EdgecnnError: the network's way depends on the values it computes, or it does not take the example.
    """
    runs: dict[str, Run] = {}

    def begin(name: str) -> Callable[..., None]:
        def note(_layer: nn.Module, _inputs: tuple[Any, ...]) -> None:
            runs.setdefault(name, Run())

        return note

    def end(name: str) -> Callable[..., None]:
        def note(_layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            runs[name].times += 1
            runs[name].given, runs[name].gave = inputs[0] if len(inputs) == 1 else inputs, output

        return note

    named = list(module.named_modules())
    hooks = [layer.register_forward_pre_hook(begin(name)) for name, layer in named]
    hooks += [layer.register_forward_hook(end(name)) for name, layer in named]
    try:
        with torch.no_grad(), _RefusingBranches():
            module(example)
    except EdgecnnError:
        raise
    except Exception as error:
        # The user's own code ran: whatever it raises is told, not passed on as ours.
        raise EdgecnnError(f"the network does not take inputs of shape {list(example.shape)}: {told(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    return runs


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it, torch-pruning's warnings of what it gives up to guess are not passed on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch_pruning\.")
        yield


@_quiet()
def find_groups(module: nn.Module, example: torch.Tensor) -> tuple[Group, ...]:
    """Return every filter of *module* in the group that it hangs together with, in the order in which they run.

    Raises:
        EdgecnnError: the network cannot be traced.
    """
    order = list(runs_of(module, example))
    graph = _trace(module, example)
    layers = dict(module.named_modules())
    names = {layer: name for name, layer in layers.items()}
    rank = {name: index for index, name in enumerate(order)}
    sharing = _sharing(layers)
    seen: dict[str, set[int]] = {}
    groups = []
    for name in order:
        layer = layers[name]
        if not isinstance(layer, (Convolution, nn.Linear)):
            continue
        free = [index for index in range(filters_of(layer)) if index not in seen.get(name, ())]
        if not free:
            continue
        if layer not in graph.module2node:
            groups.append(Group(name, (Slice(name, OUT, (tuple(free),)),), "its output is not used"))
            continue
        try:
            items = graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, free).items
        except Exception:
            # As in tracing: where an operation is not known to torch-pruning, its own code fails in some way.
            groups.append(Group(name, (Slice(name, OUT, (tuple(free),)),), LOST_TRACK))
            continue
        group = _read_group(name, items, names, rank)
        shared = next((part.layer for part in group.slices if part.layer in sharing), None)
        if group.reason is None and shared is not None:
            group = replace(group, reason=f"{shared} and {sharing[shared]} share their weights")
        for part in group.slices:
            if part.side == OUT:
                seen.setdefault(part.layer, set()).update(index for atom in part.indices for index in atom)
        groups.append(group)
    return tuple(groups)


def _sharing(layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Return each layer of *layers* that has a parameter of another one as well → the name of that one."""
    owners: dict[int, list[str]] = {}
    for name, layer in layers.items():
        for parameter in layer.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name or "the network itself")
    return {name: names[not index] for names in owners.values() if len(names) > 1 for index, name in enumerate(names)}


def filters_of(layer: nn.Module) -> int:
    """Return how many filters a convolution or linear layer has."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def is_depthwise(layer: nn.Module) -> bool:
    """Return whether each filter of *layer* sees a single channel of its own."""
    return isinstance(layer, Convolution) and layer.groups == layer.out_channels == layer.in_channels > 1


Removed = Mapping[tuple[str, str], Collection[int]]  # (layer, side) → indices


def without(module: nn.Module, removed: Removed) -> nn.Module:
    """Return a smaller copy of *module* that lacks the *removed* filters and inputs."""
    state = dict(module.state_dict())
    for name, tensor, dim, indices in _tensors(module, removed):
        gone = set(indices)
        kept = [index for index in range(tensor.shape[dim]) if index not in gone]
        state[name] = state[name].index_select(dim, torch.tensor(kept, dtype=torch.long, device=tensor.device))
    small = copy.deepcopy(module)
    resize_to(small, state)
    load_weights(small, state, "the smaller network")
    return small


def zeroed(module: nn.Module, removed: Removed) -> nn.Module:
    """Return a copy of *module* in which the weights of the *removed* filters and inputs are 0."""
    masked = copy.deepcopy(module)
    state = masked.state_dict()
    for name, tensor, dim, indices in _tensors(module, removed):
        state[name].index_fill_(dim, torch.tensor(sorted(indices), dtype=torch.long, device=tensor.device), 0)
    return masked


def _tensors(module: nn.Module, removed: Removed) -> Iterable[tuple[str, torch.Tensor, int, Collection[int]]]:
    """Yield each tensor that loses something: its name, itself, the dimension and the indices."""
    known = module.state_dict().keys()
    for (name, side), indices in removed.items():
        layer = module.get_submodule(name)
        out_dim = int(getattr(layer, "transposed", False))
        if side == IN:
            weight: Any = layer.weight
            # A filter of a grouped convolution sees its own group: all groups lose the same places.
            places = {index % weight.shape[1 - out_dim] for index in indices} if not out_dim else indices
            yield f"{name}.weight", weight, 1 - out_dim, places
            continue
        for own, tensor in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
            dim = out_dim if own == "weight" else 0
            # A layer may have tensors of its own beside, a learned scale say, which lose nothing.
            if f"{name}.{own}" in known and tensor.ndim and tensor.shape[dim] == _width_of(layer):
                yield f"{name}.{own}", tensor, dim, indices


def _width_of(layer: nn.Module) -> int:
    """Return of how many channels a layer with weights gives results."""
    names = ("out_channels", "out_features", "num_features", "num_parameters", "num_channels")
    return int(next(getattr(layer, name) for name in names if hasattr(layer, name)))


def _trace(module: nn.Module, example: torch.Tensor) -> Any:
    pruning = require("torch_pruning", "torch")
    graph = pruning.DependencyGraph()
    try:
        with torch.enable_grad():
            graph.build_dependency(module, [example], verbose=False)
    except Exception as error:
        # torch-pruning meets a network it cannot follow with whatever its own code happens to raise. Its last step is
        # to map channels by the widths that it guesses, some of which it does not find; they are mapped below.
        if not hasattr(graph, "module2node") or not isinstance(error, (ZeroDivisionError, TypeError)):
            raise EdgecnnError(
                f"torch-pruning cannot follow the channels of this network ({type(error).__name__}: {error})"
            ) from error
    # torch-pruning guesses widths from the layers around, and whatever comes between misleads it: what moves channels
    # is mapped by the shapes there are instead. Where they do not tell, channels are taken to stay: it is tried later.
    for node in graph.module2node.values():
        kind = _operation_of(node)
        for beginning, mapping in _MAPPINGS.items():
            if kind.startswith(beginning):
                _forget_guesses(node)
                node.type = pruning.ops.OPTYPE.ELEMENTWISE  # torch-pruning no longer maps it
                mapping(node)
    return graph


#: Operations that make channels of neighbouring ones or positions, as autograd names them.
_RESHAPES = ("View", "UnsafeView", "Reshape", "PixelShuffle", "PixelUnshuffle")


# Channels that go along an edge leave the node before it, and enter the one behind it: its mappings are applied in this
# order, on the way forth and, those turned round, on the way back.
_LEAVING, _ENTERING = 0, 1
_ENTERING_BACK, _LEAVING_BACK = 0, 1


def _map_padding(node: Any) -> None:
    """Have channels move by those put before them."""
    padding = _padding_of(node)
    if padding is not None:
        _map_inputs(node, _Shift(-padding.before, padding.channels), _Shift(padding.before, padding.width))


def _map_reshape(node: Any) -> None:
    """Map channels before a reshape to those behind it.

    A node stands for the longer of its two shapes, so that no two filters become one.
    """
    sizes = _reshape_of(node)
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
    widths = _parts_of(node)
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


def _reshape_of(node: Any) -> tuple[int, int] | None:
    """Return the channels before and after a reshape that puts some together or takes them apart; None: no such one."""
    if not _operation_of(node).startswith(_RESHAPES) or node.grad_fn.next_functions[0][0] is None:
        return None
    before, after = _shape_of(*node.grad_fn.next_functions[0]), _shape_of(node.grad_fn, 0)
    if min(len(before), len(after)) < 2 or before[0] != after[0]:
        return None
    shorter, longer = sorted((before[1], after[1]))
    return (before[1], after[1]) if longer % shorter == 0 else None


def _parts_of(node: Any) -> tuple[int, ...]:
    """Return how many channels each part of a split has; none where it is no split of channels."""
    if not _operation_of(node).startswith("Split"):
        return ()
    widths = tuple(int(part.shape[1]) for part in node.grad_fn._input_metadata)
    return widths if sum(widths) == _shape_of(*node.grad_fn.next_functions[0])[1] else ()


@dataclass(frozen=True)
class _Padding:
    """Channels of zeros put before and after those of an input."""

    before: int
    after: int
    width: int  # of all

    @property
    def channels(self) -> int:
        return self.width - self.before - self.after

    def ends(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return those of *pairs* (channel, …) that have a partner at the other end."""
        count = min(self.before, self.after)
        return [pair for pair in pairs if pair[0] < count or pair[0] >= self.width - count]

    def end(self, index: int) -> int:
        """Return the same number for a channel and its partner at the other end."""
        return min(index, self.width - 1 - index)


def _padding_of(node: Any) -> _Padding | None:
    if not _operation_of(node).startswith("ConstantPad") or len(node.grad_fn._saved_pad) < 6:
        return None
    before, after = node.grad_fn._saved_pad[4:6]
    return _Padding(int(before), int(after), int(node.grad_fn._input_metadata[0].shape[1]))


def _read_group(root: str, items: Iterable[Any], names: Mapping[Any, str], rank: Mapping[str, int]) -> Group:
    """Return what torch-pruning found for the filters of layer *root*."""
    found: list[tuple[str, str, list[tuple[int, int]]]] = []  # layer, side, (index, index of the root)
    atoms = _Atoms(items[0].idxs)  # type: ignore[index]
    reasons = []
    for item in items:
        node, layer = item.dep.target, item.dep.target.module
        side = OUT if item.dep.handler.__name__ == "prune_out_channels" else IN
        pairs = list(zip(item.idxs, item.root_idxs, strict=True))
        if (side == OUT or layer not in names) and not node.outputs:
            reasons.append("its filters are outputs of the network")
        if layer in names and isinstance(layer, (Convolution, nn.Linear, nn.PReLU, nn.GroupNorm, *NORMS)):
            if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
                continue
            found.append((names[layer], side, pairs))
            if isinstance(layer, Convolution) and layer.groups > 1 and not is_depthwise(layer):
                width = (layer.out_channels if side == OUT else layer.in_channels) // layer.groups
                if not atoms.join(pairs, width.__rmod__, layer.groups):
                    reasons.append(f"they are a part of what the grouped convolution {names[layer]} takes")
                if layer.transposed:
                    reasons.append(f"{names[layer]} is transposed and grouped")
            if isinstance(layer, nn.GroupNorm):
                width = layer.num_channels // layer.num_groups
                if not layer.affine or not atoms.join(pairs, width.__rfloordiv__, width):
                    reasons.append(f"they are a part of what {names[layer]}, a GroupNorm, norms together")
        elif isinstance(layer, nn.Parameter):
            shape = ", ".join(map(str, layer.shape))
            reasons.append(f"they meet a parameter of the network's own code, of shape [{shape}], which is not cut")
        elif layer in names:
            reasons.append(f"they meet {names[layer]}, a {type(layer).__name__}, which mixes them")
        padding = _padding_of(node)
        if padding is not None:
            # Code that pads for what is missing splits it evenly: it can lose channels at both ends together only.
            atoms.join(padding.ends(pairs), padding.end, 2)
        parts = set(_parts_of(node))
        # Parts of one width are what code gets that asks for so many of them: each has to lose as much as the others.
        if len(parts) == 1 and not atoms.join(pairs, min(parts).__rmod__, len(_parts_of(node))):
            reasons.append("they are a part of what is split into equal parts")
        sizes = _reshape_of(node)
        if sizes is not None:
            share = max(sizes) // min(sizes)
            atoms.join(pairs, share.__rfloordiv__, share)
    found.sort(key=lambda entry: rank[entry[0]])
    return Group(root, atoms.slices(found), reasons[0] if reasons else None)


class _Atoms:
    """Sets of the root's filters that can only go together."""

    def __init__(self, roots: Iterable[int]) -> None:
        self.first = {root: root for root in roots}  # a filter → one of its set, the first at the end of the chain

    def of(self, root: int) -> int:
        """Return the first filter of the set that *root* is in."""
        while self.first[root] != root:
            root = self.first[root]
        return root

    def join(self, pairs: Iterable[tuple[int, int]], key: Callable[[int], int], count: int) -> bool:
        """Put together the roots of *pairs* (index, root) whose index has the same key; False where any lack some."""
        sets: dict[int, list[int]] = {}
        for index, root in pairs:
            sets.setdefault(key(index), []).append(root)
        for roots in sets.values():
            first = min(self.of(root) for root in roots)
            for root in roots:
                self.first[self.of(root)] = first
        return all(len(roots) == count for roots in sets.values())

    def slices(self, found: Iterable[tuple[str, str, list[tuple[int, int]]]]) -> tuple[Slice, ...]:
        """Return what was found (layer, side, [(index, root)]) atom by atom."""
        number = {root: index for index, root in enumerate(sorted({self.of(root) for root in self.first}))}
        slices = []
        for layer, side, pairs in found:
            indices: list[list[int]] = [[] for _ in number]
            for index, root in pairs:
                indices[number[self.of(root)]].append(index)
            slices.append(Slice(layer, side, tuple(tuple(sorted(set(atom))) for atom in indices)))
        return tuple(slices)


class _RefusingBranches(TorchFunctionMode):
    """Refuses what would make the network's way depend on the values it computes."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _READ_VALUES:
            frame = sys._getframe(1)
            ours = (str(Path(torch.__file__).parent), __file__)
            while frame.f_back is not None and frame.f_code.co_filename.startswith(ours):
                frame = frame.f_back
            raise EdgecnnError(
                f"{frame.f_code.co_filename}:{frame.f_lineno}: the network's way depends on the values it computes "
                f"({func.__name__.strip('_')} of a tensor), so that its filters cannot be followed; "
                "make the choice by shapes, or outside of forward"
            )
        return func(*args, **(kwargs or {}))


_READ_VALUES = frozenset(("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "nonzero")) | {
    "argwhere",
    "is_nonzero",
    "equal",
    "allclose",
    "masked_select",
}
