"""Smaller blocks in place of plain convolutions: which fit where, and the network with one in its place.

A block is put in with weights fitted to the convolution's (`edgecnn.nets.substitutes`), so it can be judged like any
other cut, before any training. Some blocks give their filters in an order of their own: the order of channels between
layers is free, so the layers around follow it, and nothing has to sort channels when the network runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgecnn.checkpoint import SUBSTITUTES, substitute_
from edgecnn.compress import block_of
from edgecnn.compress.channels import NORMS, OUT, Convolution, Run, Slice, reordered_channels, sharing, width_of
from edgecnn.compress.counting import counted
from edgecnn.compress.criteria import Criterion, scores_of
from edgecnn.compress.masking import agrees
from edgecnn.compress.settings import CRITERION
from edgecnn.compress.unit import SUBSTITUTION, Fixed, Unit
from edgecnn.errors import EdgecnnError
from edgecnn.nets.substitutes import Substitute, not_plain


@dataclass(frozen=True)
class Substituted:
    """A copy of a network with blocks in place of convolutions."""

    module: nn.Module
    blocks: Mapping[str, str]  # convolution → the block in its place
    reordered: Mapping[str, Sequence[int]]  # norm → where each of its channels was before


def find_substitutions(
    module: nn.Module,
    example: torch.Tensor,
    runs: Mapping[str, Run],
    filters: Sequence[Unit],
    fixed: Sequence[Fixed],
    blocks: Sequence[str],
) -> tuple[tuple[Unit, ...], tuple[Fixed, ...]]:
    """Return which of *blocks* fit in the place of which convolutions of *module*, and why the others do not.

    Args:
        module: the network in double precision.
        example: an input [1, ...] of it.
        runs: what `runs_of` gave for these.
        filters: the units of filters; where a block has an order of its own, the layers of its unit follow.
        fixed: the layers whose filters must stay, and why.
        blocks: names in `SUBSTITUTES`.

    Raises:
        EdgecnnError: an unknown block.
    """
    kinds: dict[str, Substitute] = {block: SUBSTITUTES.load(block) for block in blocks}
    if not kinds:
        return (), ()
    units, reasons = [], {}
    names: dict[int, list[str]] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        names.setdefault(id(layer), []).append(name)
    shared = sharing(dict(module.named_modules()))
    orders = _orders(module, example, filters) if any(kind.reorders for kind in kinds.values()) else {}
    why_fixed = {one.name: one.reason for one in fixed}
    for name, layer in module.named_modules():
        if not isinstance(layer, Convolution):
            continue
        reason = _why_not(layer, name, runs, names[id(layer)], shared)
        if reason is not None:
            reasons[name] = reason
            continue
        assert isinstance(layer, nn.Conv2d)
        for block, kind in kinds.items():
            found = orders.get(name) if kind.reorders else ()
            reason = kind.refusal(layer)
            if reason is None and found is None:
                reason = f"its filters cannot change places: {why_fixed.get(name, 'they only go together')}"
            reason = reason or _why_no_gain(kind, layer, runs[name])
            if reason is None and found is not None:
                units.append(Unit(f"{name}:{block}", SUBSTITUTION, 1, (name,), found))
            elif reason is not None:
                reasons[f"{name}:{block}"] = reason
    wrong = _failing(module, example, units)
    units = [unit for unit in units if unit.name not in wrong]
    return tuple(units), tuple(Fixed(name, reason) for name, reason in (reasons | wrong).items())


def substituted(module: nn.Module, units: Iterable[Unit], criterion: str | Criterion = CRITERION) -> Substituted:
    """Return a copy of *module* with the blocks of *units* in place of their convolutions.

    Args:
        module: the network.
        units: of the kind `SUBSTITUTION`, each of another layer.
        criterion: which filters count as the strongest, for blocks that keep some of them.

    Raises:
        EdgecnnError: two of them reorder the same channels, or weights that are no numbers.
    """
    chosen = {unit.members[0]: (block_of(unit.name), unit) for unit in units}
    if not chosen:
        return Substituted(module, {}, {})
    for name in chosen:
        if not all(bool(torch.isfinite(tensor).all()) for tensor in module.get_submodule(name).parameters()):
            raise EdgecnnError(f"{name}: its weights contain NaN or infinite values, so no block can be fitted to them")
    made = module
    reordered: dict[str, list[int]] = {}
    owners: dict[Slice, str] = {}
    for name, (block, unit) in chosen.items():
        if not unit.slices:
            continue
        if unit.slices[0] in owners:
            raise EdgecnnError(f"{unit.name} reorders the filters that {owners[unit.slices[0]]} does; cut it alone")
        owners[unit.slices[0]] = unit.name
        order = _order(module, unit, name, SUBSTITUTES.load(block), criterion)
        made = reordered_channels(made, unit.slices, order)
        for part in unit.slices:
            norm = module.get_submodule(part.layer)
            if part.side == OUT and isinstance(norm, NORMS):
                places = reordered.setdefault(part.layer, list(range(width_of(norm))))
                for atom, other in zip(part.indices, order, strict=True):
                    for to, source in zip(atom, part.indices[other], strict=True):
                        places[to] = source
    made = copy.deepcopy(made)
    with torch.no_grad():
        for name, (block, _) in chosen.items():
            layer: Any = made.get_submodule(name)
            SUBSTITUTES.load(block).fit_(substitute_(made, name, block), layer)
    return Substituted(made, {name: block for name, (block, _) in chosen.items()}, reordered)


def _order(module: nn.Module, unit: Unit, name: str, kind: Substitute, criterion: str | Criterion) -> list[int]:
    """Return the atoms of *unit* in the order in which the block has them best."""
    layer: Any = module.get_submodule(name)
    own = [atom[0] for atom in next(part for part in unit.slices if part.layer == name and part.side == OUT).indices]
    place = {filter_: atom for atom, filter_ in enumerate(own)}
    scores = torch.empty(len(own))
    scores[own] = scores_of(module, unit, criterion)
    order = [0] * len(own)
    with torch.no_grad():
        for target, source in enumerate(kind.order(layer, scores)):
            order[place[target]] = place[source]
    return order


def _orders(module: nn.Module, example: torch.Tensor, filters: Sequence[Unit]) -> dict[str, tuple[Slice, ...]]:
    """Return the slices to reorder with each layer whose filters can change places, tried by one change each."""
    single = {
        unit.name: [
            part.layer
            for part in unit.slices
            if part.side == OUT
            and len(part.indices[0]) == 1
            and width_of(module.get_submodule(part.layer)) == unit.atoms
        ]
        for unit in filters
    }
    # Parts that are of several channels somewhere have as many there each.
    alike = [
        unit
        for unit in filters
        if single[unit.name] and all(len({len(atom) for atom in part.indices}) == 1 for part in unit.slices)
    ]

    def turned(units: Sequence[Unit]) -> nn.Module:
        made = module
        for unit in units:
            made = reordered_channels(made, unit.slices, [*range(1, unit.atoms), 0])
        return made

    kept = _without_wrong(alike, lambda units: agrees(module, turned(units), example))
    return {layer: unit.slices for unit in kept for layer in single[unit.name]}


def _why_not(
    layer: nn.Module, name: str, runs: Mapping[str, Run], names: Sequence[str], shared: Mapping[str, str]
) -> str | None:
    """Return why no block can take the place of *layer*; None where one may."""
    reason = not_plain(layer)
    if reason is None and name in shared:
        reason = f"it shares its weights with {shared[name]}"
    if reason is None and len(names) > 1:
        reason = f"it is {names[1]} as well"
    run = runs.get(name)
    if reason is None and (run is None or not isinstance(run.given, torch.Tensor) or run.given.ndim != 4):
        reason = "the network does not run it as a layer of one input"
    return reason


def _why_no_gain(kind: Substitute, layer: nn.Conv2d, run: Run) -> str | None:
    """Return why there is no use in the block; None where it gives the same shape with fewer MACs and parameters."""
    given = torch.zeros(run.given.shape, device="meta")
    block = kind.build(layer).to("meta")
    if block(given).shape != run.gave.shape:
        return "its output would have another shape"
    plain = copy.deepcopy(layer).float().to("meta")
    after, before = (counted(one, given) for one in (block, plain))
    for what, now, was in (("parameters", after.params, before.params), ("MACs", after.macs, before.macs)):
        if now >= was:
            return f"it would have no fewer {what}"
    return None


def _failing(module: nn.Module, example: torch.Tensor, units: Sequence[Unit]) -> dict[str, str]:
    """Return the units with whose blocks the network does not run, and that reason: its code may use the layers."""
    one_each = {unit.members[0]: unit for unit in units}
    shapes = copy.deepcopy(module).to("meta")

    def runs(chosen: Sequence[Unit]) -> bool:
        made = copy.deepcopy(shapes)
        with torch.no_grad(), torch.device("meta"):
            try:
                for unit in chosen:
                    substitute_(made, unit.members[0], block_of(unit.name))
                made(example.to("meta"))
            except Exception:
                # The network's own code raises whatever it raises.
                return False
        return True

    kept = {unit.members[0] for unit in _without_wrong(list(one_each.values()), runs)}
    wrong = [unit.name for unit in units if unit.members[0] not in kept]
    return dict.fromkeys(wrong, "the network does not run with a block in its place")


def _without_wrong(units: Sequence[Unit], right: Callable[[Sequence[Unit]], bool]) -> list[Unit]:
    """Return those of *units* that are right together; each that is not is found by halves."""
    kept: list[Unit] = []

    def try_all(some: Sequence[Unit]) -> None:
        if not some:
            return
        if right([*kept, *some]):
            kept.extend(some)
        elif len(some) > 1:
            middle = len(some) // 2
            try_all(some[:middle])
            try_all(some[middle:])

    try_all(units)
    return kept
