"""`Unit`: something in a network that can be cut, some filters of a layer, a layer whole, or a plain convolution."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgecnn.checkpoint import SUBSTITUTES
from edgecnn.compress import block_of, layer_of
from edgecnn.compress.channels import OUT, Slice
from edgecnn.errors import EdgecnnError, unknown_name

FILTERS, LAYER, SUBSTITUTION = "filters", "layer", "substitution"


@dataclass(frozen=True)
class Unit:
    """Something that can go, or give way to a smaller block."""

    name: str  # its first layer or block to run: "features.0", "layer2.3"; "features.0:ghost" for a block in its place
    kind: str  # FILTERS: some of its filters can go; LAYER: it can go whole; SUBSTITUTION: a block can take its place
    channels: int  # filters it has now (1 for a layer)
    members: tuple[str, ...]  # all layers that lose something with it, in the order in which they run
    slices: tuple[Slice, ...] = field(default=(), repr=False)

    @property
    def layer(self) -> str:
        """The layer or block it is a change of; all changes of one exclude each other."""
        return layer_of(self.name)

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
    unsubstituted: tuple[Fixed, ...] = ()  # "features.0", or "features.0:ghost" for one block

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
        if kind == SUBSTITUTION:
            raise self._no_substitution(name)
        what = "filters" if kind == FILTERS else "layer as a whole"
        for fixed in self.fixed if kind == FILTERS else self.whole:
            if fixed.name == name:
                raise EdgecnnError(f"{name}: its {what} cannot be cut: {fixed.reason}")
        for unit in units.values():
            if any(part.layer == name and part.side == OUT for part in unit.slices):
                raise EdgecnnError(f"{name}: its filters are tied to those of {unit.name}; name that one")
        layer, colon, block = name.rpartition(":")
        if colon and any(unit.name == layer for unit in self.units):
            SUBSTITUTES.where(block)
        if any(unit.name == name for unit in self.units):
            raise EdgecnnError(f"{name}: its {what} cannot be cut")
        raise unknown_name("unit", name, dict.fromkeys(unit.name for unit in self.units))

    def _no_substitution(self, name: str) -> EdgecnnError:
        layer, block = layer_of(name), block_of(name)
        reason = next((fixed.reason for fixed in self.unsubstituted if fixed.name in (layer, name)), None)
        if reason is not None:
            return EdgecnnError(f"{layer}: {block} cannot take its place: {reason}")
        return unknown_name("substitution", name, list(self.of_kind(SUBSTITUTION)))


def kind_of(name: str, ratio: float) -> str:
    """Return the kind of the unit that a cut is of, by its name and ratio.

    Example:
        >>> kind_of("features.0", 0.5), kind_of("features.0", 1), kind_of("features.0:ghost", 1)
        ('filters', 'layer', 'substitution')
    """
    if block_of(name):
        return SUBSTITUTION
    return LAYER if ratio == 1 else FILTERS
