"""A module of several inputs as one of a single input, so that everything but the exporters sees one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import nn

from edgecnn.errors import EdgecnnError
from edgecnn.nets.outputs import input_names


class SeveralInputs(nn.Module):
    """A module that takes rows, the values of its inputs one after the other, and calls *module* with these.

    Args:
        module: takes as many tensors.
        shapes: the name of each input → its shape without the batch, in the order in which the module takes them.

    Example:
        >>> SeveralInputs(nn.Bilinear(2, 3, 4), {"a": (2,), "b": (3,)})(torch.zeros(7, 5)).shape
        torch.Size([7, 4])
    """

    def __init__(self, module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.module = module
        self.shapes = dict(shapes)

    def forward(self, x: torch.Tensor) -> Any:
        """Map [N, values] to what the module gives."""
        sizes = [prod(shape) for shape in self.shapes.values()]
        parts = torch.split(x, sizes, 1)
        return self.module(*(part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes.values(), strict=True)))


def example_of(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Return what is exported of *module*, and zeros as its inputs by name: one of *input_shape*, or several."""
    if isinstance(module, SeveralInputs):
        return module.module, {name: torch.zeros(1, *shape) for name, shape in module.shapes.items()}
    return module, {input_names(module)[0]: torch.zeros(1, *input_shape)}


def shapes_by_name(names: list[str], shapes: Sequence[tuple[int, ...]], network: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of each input of a *network*.

    Raises:
        EdgecnnError: it takes another number of them.
    """
    if len(names) != len(shapes):
        raise EdgecnnError(
            f"network {network} takes {len(names)} inputs ({', '.join(names)}), but {len(shapes)} were given; give "
            "--input for each, or arrays x0, x1, … in the npz file"
        )
    return dict(zip(names, shapes, strict=True))
