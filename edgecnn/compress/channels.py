"""The filters that go together: a network's dependency graph, read once into plain indices.

torch-pruning follows a filter to all that must lose something with it. What it finds is kept as slices of named layers,
so that taking filters out, and setting them to zero, are the same selection on the weights and nothing else.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from edgecnn.checkpoint import load_weights, resize_to
from edgecnn.compress.mappings import map_channels, padding_of, parts_of, reshape_of
from edgecnn.errors import EdgecnnError, format_error, require

OUT, IN = "out", "in"

LOST_TRACK = "torch-pruning cannot follow its filters through the next layers"

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
        EdgecnnError: the network branches on computed values, or it does not take the example.
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
        # The user's own code ran: what it raises is reported as theirs, in one line.
        raise EdgecnnError(
            f"the network does not take inputs of shape {list(example.shape)}: {format_error(error)}"
        ) from error
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
    shared_layers = sharing(layers)
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
        shared = next((part.layer for part in group.slices if part.layer in shared_layers), None)
        if group.reason is None and shared is not None:
            group = replace(group, reason=f"{shared} and {shared_layers[shared]} share their weights")
        for part in group.slices:
            if part.side == OUT:
                seen.setdefault(part.layer, set()).update(index for atom in part.indices for index in atom)
        groups.append(group)
    return tuple(groups)


def sharing(layers: Mapping[str, nn.Module]) -> dict[str, str]:
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


def without_channels(module: nn.Module, removed: Removed) -> nn.Module:
    """Return a smaller copy of *module* that lacks the *removed* filters and inputs."""
    state = dict(module.state_dict())
    for name, tensor, dim, indices in _tensors(module, removed):
        removed_indices = set(indices)
        kept = [index for index in range(tensor.shape[dim]) if index not in removed_indices]
        state[name] = state[name].index_select(dim, torch.tensor(kept, dtype=torch.long, device=tensor.device))
    small = copy.deepcopy(module)
    resize_to(small, state)
    load_weights(small, state, "the smaller network")
    return small


def masked_channels(module: nn.Module, removed: Removed) -> nn.Module:
    """Return a copy of *module* in which the weights of the *removed* filters and inputs are 0."""
    masked = copy.deepcopy(module)
    state = masked.state_dict()
    for name, tensor, dim, indices in _tensors(module, removed):
        state[name].index_fill_(dim, torch.tensor(sorted(indices), dtype=torch.long, device=tensor.device), 0)
    return masked


def reordered_channels(module: nn.Module, slices: Iterable[Slice], order: Sequence[int]) -> nn.Module:
    """Return a copy of *module* in which atom i of *slices* is what atom order[i] was."""
    made = copy.deepcopy(module)
    state = made.state_dict()
    for part in slices:
        to = [index for atom in part.indices for index in atom]
        taken = [index for atom in order for index in part.indices[atom]]
        for name, tensor, dim, _ in _tensors(module, {(part.layer, part.side): to}):
            whole = torch.arange(tensor.shape[dim])
            whole[to] = torch.tensor(taken)
            state[name].copy_(state[name].index_select(dim, whole.to(tensor.device)))
    return made


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
            if f"{name}.{own}" in known and tensor.ndim and tensor.shape[dim] == width_of(layer):
                yield f"{name}.{own}", tensor, dim, indices


def width_of(layer: nn.Module) -> int:
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
        # to map channels by the widths that it guesses, some of which it does not find; they are mapped by shapes.
        if not hasattr(graph, "module2node") or not isinstance(error, (ZeroDivisionError, TypeError)):
            raise EdgecnnError(
                f"torch-pruning cannot follow the channels of this network ({type(error).__name__}: {error})"
            ) from error
    map_channels(graph)
    return graph


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
                    reasons.append(f"they are part of the input of the grouped convolution {names[layer]} takes")
                if layer.transposed:
                    reasons.append(f"{names[layer]} is transposed and grouped")
            if isinstance(layer, nn.GroupNorm):
                width = layer.num_channels // layer.num_groups
                if not layer.affine or not atoms.join(pairs, width.__rfloordiv__, width):
                    reasons.append(f"they are a part of what {names[layer]}, a GroupNorm, normalizes together")
        elif isinstance(layer, nn.Parameter):
            shape = ", ".join(map(str, layer.shape))
            reasons.append(f"they are combined with a parameter of your own code, of shape [{shape}], which is not cut")
        elif layer in names:
            reasons.append(f"they meet {names[layer]}, a {type(layer).__name__}, which mixes them")
        padding = padding_of(node)
        if padding is not None:
            # Code that pads for what is missing splits it evenly: it can lose channels at both ends together only.
            atoms.join(padding.ends(pairs), padding.end, 2)
        parts = set(parts_of(node))
        # Parts of one width are what code gets that asks for so many of them: each has to lose as much as the others.
        if len(parts) == 1 and not atoms.join(pairs, min(parts).__rmod__, len(parts_of(node))):
            reasons.append("they are part of a tensor that is split into equal parts")
        sizes = reshape_of(node)
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
    """Refuses branches on values that the network computes: tracing would follow only one of them."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _READ_VALUES:
            frame = sys._getframe(1)
            ours = (str(Path(torch.__file__).parent), __file__)
            while frame.f_back is not None and frame.f_code.co_filename.startswith(ours):
                frame = frame.f_back
            raise EdgecnnError(
                f"{frame.f_code.co_filename}:{frame.f_lineno}: the network branches on computed values "
                f"({func.__name__.strip('_')} of a tensor), so its filters cannot be followed; branch on shapes, or "
                f"outside of forward"
            )
        return func(*args, **(kwargs or {}))


_READ_VALUES = frozenset(("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "nonzero")) | {
    "argwhere",
    "is_nonzero",
    "equal",
    "allclose",
    "masked_select",
}
