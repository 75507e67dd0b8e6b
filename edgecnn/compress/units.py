"""What can be cut in a network: some filters of a layer, a layer whole, or a plain convolution for a smaller block."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

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
from edgecnn.compress.substitution import find_substitutions
from edgecnn.compress.unit import FILTERS, LAYER, Fixed, Unit, Units
from edgecnn.errors import EdgecnnError


def find_units(module: nn.Module, input_shape: tuple[int, ...], substitutes: Sequence[str] = ()) -> Units:
    """Return what can be cut in *module*, in the order in which it runs.

    Every group of filters is tried: without some of them it must give what it gives with those set to zero.

    Args:
        module: a network with one input.
        input_shape: (C, H, W).
        substitutes: blocks that may take the place of plain convolutions, names in `SUBSTITUTES`.

    Raises:
        EdgecnnError: the network cannot be traced; where the reason is a branch on values, its file and line. Or a
            block there is not.
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
    blocks, unsubstituted = find_substitutions(work, example, runs, filters, fixed, substitutes)
    order = {name: index for index, name in enumerate(runs)}
    units = sorted((*filters, *whole, *blocks), key=lambda unit: order[unit.layer])
    return Units(tuple(units), fixed, tuple(Fixed(name, reason) for name, reason in reasons.items()), unsubstituted)


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
