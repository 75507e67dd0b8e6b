"""Structured pruning: filters go with the input channels of what follows, layers go whole, or give way to blocks."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from edgecnn.compress import block_of
from edgecnn.compress.channels import Removed, masked_channels, without_channels
from edgecnn.compress.counting import Size, counted
from edgecnn.compress.criteria import Criterion, scores_of
from edgecnn.compress.layers import find_links, remove_layer_, without_layer
from edgecnn.compress.masking import MaskMismatchError, differing, union
from edgecnn.compress.settings import CRITERION, Uniform
from edgecnn.compress.substitution import substituted
from edgecnn.compress.unit import FILTERS, LAYER, SUBSTITUTION, Unit, Units, kind_of
from edgecnn.compress.units import double_of, filter_units, find_units, removed_by
from edgecnn.errors import EdgecnnError


@dataclass(frozen=True)
class Cut:
    """A smaller copy of a network, and what went: layers whole, by name, and filters of those that stay."""

    module: nn.Module
    removed: tuple[str, ...] = ()
    removed_channels: Removed = field(default_factory=dict)
    substituted: Mapping[str, str] = field(default_factory=dict)  # convolution → the block in its place
    reordered: Mapping[str, Sequence[int]] = field(default_factory=dict)  # norm → where each channel was before


def prune(module: nn.Module, input_shape: tuple[int, ...], how: Uniform) -> nn.Module:
    """Return a smaller copy of *module*: the same share of every unit's filters removed; the output stays whole.

    A unit without whose filters the network does not give what it gives with them at zero stays, with a warning.

    Args:
        module: a network with one input (C, H, W).
        input_shape: (C, H, W).
        how: ratio, criterion, rounding.

    Raises:
        EdgecnnError: the network cannot be traced, or the criterion is not known.

    Example:
        >>> module = edgecnn.build("edgecnn:digits-cnn").module
        >>> small = edgecnn.prune(module, (1, 8, 8), edgecnn.Uniform(0.5))
        >>> count = lambda net: sum(p.numel() for p in net.parameters())
        >>> count(small) < 0.4 * count(module)
        True
    """
    units = find_units(module, input_shape)
    cuts = dict.fromkeys(units.of_kind(FILTERS), how.pruning_ratio)

    def pruned() -> nn.Module:
        return cut(module, input_shape, cuts, criterion=how.criterion, round_to=how.round_to, units=units).module

    try:
        return pruned()
    except MaskMismatchError as error:
        warnings.warn(str(error), stacklevel=2)
        cuts = {name: ratio for name, ratio in cuts.items() if name not in error.units}
        return pruned()


def cut(
    module: nn.Module,
    input_shape: tuple[int, ...],
    cuts: Mapping[str, float],
    *,
    criterion: str | Criterion = CRITERION,
    round_to: int = 1,
    scores: Mapping[str, torch.Tensor] | None = None,
    units: Units | None = None,
    verify: bool = True,
) -> Cut:
    """Return a smaller copy of *module*; what is not named stays as it is.

    Args:
        module: a network with one input.
        input_shape: (C, H, W).
        cuts: unit → the share of its filters that goes, those of the least score first; 1: the layer goes whole, or
            with a name `LAYER:BLOCK` the block takes its place.
        criterion: how much each filter matters; see `CRITERIA`.
        round_to: the filters a unit keeps become a multiple of it; never more go than asked.
        scores: unit → the score of each of its atoms, in place of the criterion.
        units: what `find_units` gave for this module, where it is known.
        verify: whether to see that without the filters the network gives what it gives with them at zero.

    Raises:
        MaskMismatchError: it does not.
        EdgecnnError: a ratio outside [0, 1], a unit there is not, or one that cannot go.
    """
    named = {name: kind_of(name, ratio) for name, ratio in cuts.items()}
    blocks = {block_of(name): None for name, kind in named.items() if kind == SUBSTITUTION}
    units = units or find_units(module, input_shape, tuple(blocks))
    shares = {name: ratio for name, ratio in cuts.items() if named[name] == FILTERS}
    chosen = _chosen(module, units, shares, criterion, round_to, scores or {})
    swapped = substituted(module, [units.find(n, SUBSTITUTION) for n in cuts if named[n] == SUBSTITUTION], criterion)
    layers = [units.find(name, LAYER) for name in cuts if named[name] == LAYER]
    shorter, removed = _without_layers(swapped.module, input_shape, layers)
    if (removed or swapped.blocks) and chosen:
        # What the filters meet further on is another layer now; the filters themselves are the same.
        units = Units(filter_units(shorter, input_shape), ())
    removals = {name: removed_by(units.find(name, FILTERS), atoms) for name, atoms in chosen.items()}
    if verify and removals:
        wrong = differing(*double_of(shorter, input_shape), removals, with_line=True)
        if wrong:
            raise MaskMismatchError(wrong)
    removed_channels = union(removals.values())
    small = without_channels(shorter, removed_channels).eval()
    return Cut(small, removed, removed_channels, swapped.blocks, swapped.reordered)


def _without_layers(
    module: nn.Module, input_shape: tuple[int, ...], layers: Iterable[Unit]
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return a copy of *module* without whole *layers*, and the names of all that went with them."""
    removed: list[str] = []
    for unit in reversed(list(layers)):
        if any(unit.name.startswith(f"{name}.") for name in removed):
            continue  # its block went
        if len(unit.members) == 1:
            removed_channels: tuple[str, ...] = unit.members
            module = copy.deepcopy(module)
            remove_layer_(module, removed_channels)
        else:
            link = find_links(module, input_shape).get(unit.name)
            if link is None:
                raise EdgecnnError(f"{unit.name} cannot be removed together with the other layers; cut it alone")
            module, removed_channels = without_layer(module, link), link.removed_layers
        removed += removed_channels
    return module, tuple(removed)


def masked(
    module: nn.Module,
    input_shape: tuple[int, ...],
    unit: Unit | str,
    ratio: float,
    *,
    criterion: str | Criterion = CRITERION,
    round_to: int = 1,
    scores: Mapping[str, torch.Tensor] | None = None,
    units: Units | None = None,
) -> nn.Module:
    """Return a copy of *module* of the same shapes in which what `cut` would take out is 0: equal outputs.

    Raises:
        EdgecnnError: as `cut`, for filters alone.
    """
    units = units or find_units(module, input_shape)
    name = unit if isinstance(unit, str) else unit.name
    chosen = _chosen(module, units, {name: ratio}, criterion, round_to, scores or {})
    removed = union(removed_by(units.find(name, FILTERS), atoms) for name, atoms in chosen.items())
    return masked_channels(module, removed).eval()


def _chosen(
    module: nn.Module,
    units: Units,
    cuts: Mapping[str, float],
    criterion: str | Criterion,
    round_to: int,
    scores: Mapping[str, torch.Tensor],
) -> dict[str, list[int]]:
    """Return the atoms of each unit that go: those of the least score."""
    chosen = {}
    for name, ratio in cuts.items():
        unit = units.find(name, FILTERS)
        count = count_to_go(unit, ratio, round_to)
        if count:
            score = scores[name] if name in scores else scores_of(module, unit, criterion)
            if len(score) != unit.atoms:
                raise EdgecnnError(f"{name}: {len(score)} scores for {unit.atoms} removable parts")
            chosen[name] = score.argsort(stable=True)[:count].tolist()
    return chosen


def count_to_go(unit: Unit, ratio: float, round_to: int = 1) -> int:
    """Return how many atoms of *unit* a ratio takes: never more than asked, so that a multiple of *round_to* is left.

    Raises:
        EdgecnnError: a ratio outside [0, 1).
    """
    if not 0 <= ratio < 1:
        raise EdgecnnError(f"{unit.name}: a fraction of its filters is at least 0 and less than 1, not {ratio:g}")
    count = int(ratio * unit.atoms + 1e-9)
    each = unit.channels // unit.atoms
    while count and (unit.channels - count * each) % round_to:
        count -= 1
    return count


def size_of(module: nn.Module, input_shape: tuple[int, ...]) -> Size:
    """Return parameters, MACs, activations and operators, counted on the physical network; see `counting`."""
    return counted(module, torch.zeros(1, *input_shape))
