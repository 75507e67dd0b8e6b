"""What can be taken out of a network: some filters of a layer, or a layer whole."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from edgecnn.compress.channels import (
    OUT,
    Convolution,
    Group,
    Slice,
    find_groups,
    runs_of,
)
from edgecnn.compress.layers import Link, find_blocks, links_of, without_layer
from edgecnn.compress.masking import differing
from edgecnn.errors import EdgecnnError, unknown_name

FILTERS, LAYER = "filters", "layer"


@dataclass(frozen=True)
class Unit:
    """Something that can go."""

    name: str  # its first layer or block to run: "features.0", "layer2.3"
    kind: str  # FILTERS: some of its filters can go; LAYER: it can go whole
    channels: int  # filters it has now (1 for a layer)
    members: tuple[str, ...]  # all layers that lose something with it, in the order in which they run
    slices: tuple[Slice, ...] = field(default=(), repr=False)

    @property
    def atoms(self) -> int:
        """How many parts it can lose one by one: its filters, or fewer where some can only go together."""
        return len(self.slices[0].indices) if self.slices else 1


@dataclass(frozen=True)
class Fixed:
    """A layer whose filters must stay."""

    name: str
    reason: str


@dataclass(frozen=True)
class Units:
    """All that can go, in the order in which it runs, and what must stay."""

    units: tuple[Unit, ...]
    fixed: tuple[Fixed, ...]  # whose filters must stay
    whole: tuple[Fixed, ...] = ()  # that cannot go whole

    def of_kind(self, kind: str) -> dict[str, Unit]:
        """Return the units of one kind by name."""
        return {unit.name: unit for unit in self.units if unit.kind == kind}

    def find(self, name: str, kind: str) -> Unit:
        """Return the unit of that name and kind.

        Raises:
            EdgecnnError: there is none; the message gives the reason, or the near match and the known names.
        """
        units = self.of_kind(kind)
        if name in units:
            return units[name]
        what = "filters" if kind == FILTERS else "layer as a whole"
        for fixed in self.fixed if kind == FILTERS else self.whole:
            if fixed.name == name:
                raise EdgecnnError(f"{name}: its {what} cannot be cut: {fixed.reason}")
        for unit in units.values():
            if any(part.layer == name and part.side == OUT for part in unit.slices):
                raise EdgecnnError(f"{name}: its filters are tied to those of {unit.name}; name that one")
        if any(unit.name == name for unit in self.units):
            raise EdgecnnError(f"{name}: its {what} cannot be cut")
        raise unknown_name("unit", name, dict.fromkeys(unit.name for unit in self.units))


def find_units(module: nn.Module, input_shape: tuple[int, ...]) -> Units:
    """Return what can be taken out of *module*, in the order in which it runs.

    Every group of filters is tried: without some of them it must give what it gives with those set to zero.

    Args:
        module: a network with one input.
        input_shape: (C, H, W).

    Raises:
        EdgecnnError: the network cannot be traced; where the reason is a branch on values, its file and line.
    """
    work, example = double_of(module, input_shape)
    groups = find_groups(work, example)
    filters, fixed = _filter_units(work, example, groups)
    runs = runs_of(work, example)
    links, reasons = links_of(work, runs, groups)
    whole = [Unit(name, LAYER, 1, (name,)) for name in find_blocks(work, runs)]
    shapes = copy.deepcopy(work).to("meta")
    for name, link in links.items():
        if not _runs(shapes, link, example.to("meta")):
            reasons[name] = "the network does not run without it"
            continue
        members = (*link.removed_layers, link.following.layer, *((link.following_norm,) if link.following_norm else ()))
        whole.append(Unit(name, LAYER, 1, members))
    order = {name: index for index, name in enumerate(runs)}
    units = sorted((*filters, *whole), key=lambda unit: order[unit.name])
    return Units(tuple(units), fixed, tuple(Fixed(name, reason) for name, reason in reasons.items()))


def _runs(module: nn.Module, link: Link, example: torch.Tensor) -> bool:
    """Return whether the network, of which the shapes are enough, runs without a layer of a chain."""
    with torch.no_grad(), torch.device("meta"):
        try:
            without_layer(module, link)(example)
        except Exception:
            # Layers that do not fit each other raise whatever the network's own code raises.
            return False
    return True


def _filter_units(
    module: nn.Module, example: torch.Tensor, groups: Iterable[Group]
) -> tuple[tuple[Unit, ...], tuple[Fixed, ...]]:
    """Return the units of filters, and the layers whose filters must stay."""
    layers = dict(module.named_modules())
    units: list[Unit] = []
    reasons: dict[str, str] = {}
    for group in groups:
        weighted = [part for part in group.slices if part.side == OUT and _has_filters(layers[part.layer])]
        reason = group.reason or (
            "they cannot be removed one by one"
            if len(group.slices[0].indices) < 2 and _width(weighted[0]) > 1
            else None
        )
        reason = reason or ("it has a single filter" if len(group.slices[0].indices) < 2 else None)
        if reason is not None:
            reasons |= {part.layer: reason for part in weighted}
            continue
        members = tuple(dict.fromkeys(part.layer for part in group.slices))
        units.append(Unit(group.root, FILTERS, _width(_slice_of(group.root, group.slices)), members, group.slices))
    lost = differing(module, example, {unit.name: removed_by(unit, _some(unit.atoms)) for unit in units})
    for name, reason in lost.items():
        slices = next(unit.slices for unit in units if unit.name == name)
        names = [part.layer for part in slices if part.side == OUT and _has_filters(layers[part.layer])]
        reasons |= dict.fromkeys(names, reason)
    kept = tuple(unit for unit in units if unit.name not in lost)
    prunable = {part.layer for unit in kept for part in unit.slices if part.side == OUT}
    fixed = tuple(Fixed(name, reason) for name, reason in reasons.items() if name not in prunable)
    return kept, fixed


def filter_units(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[Unit, ...]:
    """Return the units of filters alone, in the order in which they run.

    Raises:
        EdgecnnError: the network cannot be traced.
    """
    work, example = double_of(module, input_shape)
    return _filter_units(work, example, find_groups(work, example))[0]


def double_of(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[nn.Module, torch.Tensor]:
    """Return a copy of *module* and an input [1, ...] in double precision, where no wrong wiring passes as rounding."""
    for name, layer in module.named_modules():
        # Parametrizations keep other tensors than `weight`, older ones none that can be copied.
        if _has_filters(layer) and "weight" not in layer._parameters:
            raise EdgecnnError(
                f"{name}: its weights are computed from others (weight_norm, spectral_norm, torch.nn.utils.prune); "
                "make them plain parameters first, for example with torch.nn.utils.parametrize.remove_parametrizations"
            )
    example = torch.rand(1, *input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return copy.deepcopy(module).double().eval().requires_grad_(True), example


def removed_by(unit: Unit, atoms: Iterable[int]) -> dict[tuple[str, str], set[int]]:
    """Return what the layers lose with some *atoms* of a unit, by (layer, side)."""
    chosen = list(atoms)
    removed: dict[tuple[str, str], set[int]] = {}
    for part in unit.slices:
        removed.setdefault((part.layer, part.side), set()).update(i for atom in chosen for i in part.indices[atom])
    return {key: indices for key, indices in removed.items() if indices}


def _some(atoms: int) -> range:
    """Return about half of the parts of a unit, every other one, that are never all of some pairs, triples, and so on.

    Where two filters are in truth one part, taking out neither or both of each would not show it: as many go as have no
    divisor in common with all.
    """
    count = next(count for count in range(atoms // 2, 0, -1) if math.gcd(count, atoms) == 1)
    return range(0, 2 * count, 2)


def _has_filters(layer: nn.Module) -> bool:
    return isinstance(layer, (Convolution, nn.Linear))


def _slice_of(layer: str, slices: Iterable[Slice]) -> Slice:
    return next(part for part in slices if part.layer == layer and part.side == OUT)


def _width(part: Slice) -> int:
    return sum(len(atom) for atom in part.indices)
