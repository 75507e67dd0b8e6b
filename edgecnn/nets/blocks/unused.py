"""Layers that are there and never run."""

from __future__ import annotations

import torch
from torch import nn


class Unused(nn.Module):
    """Holds layers that never run: parameters that a published count includes, and that never influence the output.

    Example:
        >>> Unused(nn.BatchNorm2d(4))(torch.ones(1, 2)).tolist()
        [[1.0, 1.0]]
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return *x* as it is."""
        return x
