"""A cut must give what the mask gives: the network without some filters, and the same with those filters at zero.

The dependency graph is read on the network as it is. Code that computes with the number of channels as it runs, such
as `x[:, : x.shape[1] // 4]`, takes another part once some are removed, without an error. So every cut is run beside
its mask, in double precision, where no wrong wiring passes as rounding.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from edgecnn.compress.channels import LOST_TRACK, Removed, masked_channels, without_channels
from edgecnn.errors import EdgecnnError, format_error

_TOLERANCE = 1e-10  # of the largest value, in double precision


class MaskMismatchError(EdgecnnError):
    """A cut that does not give what its mask gives; *units* has each that is to blame, and why."""

    def __init__(self, units: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name} cannot be cut like this: {reason}" for name, reason in units.items()))
        self.units = dict(units)


def differing(
    module: nn.Module, example: torch.Tensor, removals: Mapping[str, Removed], *, with_line: bool = False
) -> dict[str, str]:
    """Return the names of *removals* without which the rest gives what its mask gives, and why each is among them.

    Halves are tried on top of what is known to be right: n removals of which one is wrong take about 2 log2(n) passes.

    Args:
        module: the network in double precision.
        example: an input [1, ...] of it, likewise.
        removals: name → what it removes.
        with_line: whether the reason names the line of the network's code that gives something else.
    """
    right: list[Removed] = []
    wrong: dict[str, str] = {}

    def try_all(names: list[str]) -> None:
        tried = union([*right, *(removals[name] for name in names)])
        reason = disagreement(module, example, tried)
        if reason is None:
            right.extend(removals[name] for name in names)
        elif len(names) == 1:
            wrong[names[0]] = _with_line(module, example, tried, reason) if with_line else reason
        else:
            middle = len(names) // 2
            try_all(names[:middle])
            try_all(names[middle:])

    if removals:
        try_all(list(removals))
    return wrong


def union(parts: Iterable[Removed]) -> dict[tuple[str, str], set[int]]:
    """Return all that *parts* remove."""
    together: dict[tuple[str, str], set[int]] = {}
    for part in parts:
        for key, indices in part.items():
            together.setdefault(key, set()).update(indices)
    return together


def disagreement(module: nn.Module, example: torch.Tensor, removed: Removed) -> str | None:
    """Return why the network without what is *removed* does not give what it gives with that at zero; None: it does."""
    with torch.no_grad():
        try:
            # A network may write over its input.
            expected = tree_leaves(masked_channels(module, removed)(example.clone()))
            smaller = without_channels(module, removed)
        except Exception:
            # Filters that a layer does not have cannot be set to zero.
            return LOST_TRACK
        try:
            given = tree_leaves(smaller(example.clone()))
        except Exception as error:
            # Layers that do not fit each other raise whatever the network's own code raises.
            return f"the network does not run without some of them: {format_error(error)}"
    return None if _alike(given, expected) else LOST_TRACK


def agrees(module: nn.Module, other: nn.Module, example: torch.Tensor) -> bool:
    """Return whether *other* gives for *example* what *module* gives, both in double precision."""
    with torch.no_grad():
        return _alike(tree_leaves(other(example.clone())), tree_leaves(module(example.clone())))


def _alike(given: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return len(given) == len(expected) and all(
        a.shape == b.shape and bool((a - b).abs().max() <= _TOLERANCE * b.abs().max())
        for a, b in zip(given, expected, strict=True)
    )


def _with_line(module: nn.Module, example: torch.Tensor, removed: Removed, reason: str) -> str:
    """Return *reason*, or where the first line of the network's code is found that gives something else, that line."""
    two = torch.cat([example, example.flip(tuple(range(1, example.ndim))) + 0.5])
    try:
        runs = [
            _Results.of(network, two)
            for network in (masked_channels(module, removed), without_channels(module, removed))
        ]
    except Exception:
        # Whatever the network's own code raises: it does not run without them, or takes a single sample alone.
        return reason
    for masked, cut in itertools.zip_longest(*runs):
        place = (masked or cut)[0]
        if masked and cut and masked[1] == cut[1] and _goes_with(masked[2], cut[2]):
            continue
        return (
            f"{place}: this slice depends on the number of channels, so it would select other channels after the cut; "
            f"select them by fixed numbers"
        )
    return reason


class _Results(TorchFunctionMode):
    """Keeps what each call of torch gives, and the line of the network's code that it was made in."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str, list[torch.Tensor]]] = []  # line, function, results

    @classmethod
    def of(cls, module: nn.Module, x: torch.Tensor) -> list[tuple[str, str, list[torch.Tensor]]]:
        """Return the calls that *module* makes for *x* [n, ...]."""
        seen = cls()
        with torch.no_grad(), seen:
            module(x.clone())
        return seen.calls

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf.clone() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if tensors:
            self.calls.append((_line(), getattr(func, "__name__", ""), tensors))
        return result


def _line() -> str:
    """Return the nearest line of code that is neither torch's nor in this folder, as "net.py:13"."""
    frame = sys._getframe(1)
    others = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    while frame.f_back is not None and frame.f_code.co_filename.startswith(others):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _goes_with(masked: list[torch.Tensor], cut: list[torch.Tensor]) -> bool:
    """Return whether what a call gives in the cut network is what it gives in the masked one, less what is dead.

    Where the sizes differ along one dimension, its rows are those of the masked network in their order, and the others
    of the masked one bear a single value, whatever the input. Sizes that differ along several are not compared.
    """
    if len(masked) != len(cut):
        return False
    return all(_rows_go_with(a, b) for a, b in zip(masked, cut, strict=True))


def _rows_go_with(masked: torch.Tensor, cut: torch.Tensor) -> bool:
    if not masked.is_floating_point() or masked.ndim != cut.ndim or not masked.numel() or not cut.numel():
        return True
    tolerance = 1e3 * _TOLERANCE * float(masked.abs().max())
    changed = [dim for dim in range(masked.ndim) if masked.shape[dim] != cut.shape[dim]]
    if not changed:
        return bool((masked - cut).abs().max() <= tolerance)
    if len(changed) > 1:
        return True
    rows, kept = (tensor.movedim(changed[0], 0).flatten(1) for tensor in (masked, cut))
    place = 0
    for row in rows:
        if place < len(kept) and bool((row - kept[place]).abs().max() <= tolerance):
            place += 1
        elif float(row.max() - row.min()) > tolerance:
            return False
    return place == len(kept)
