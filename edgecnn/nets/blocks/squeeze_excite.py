"""Squeeze and excite: each channel is scaled by a weight that all channels together decide on."""

from __future__ import annotations

import torch
from torch import nn


class SqueezeExcite(nn.Module):
    """Means over the map, two linear layers without bias, a sigmoid (Hu et al. 2018, arXiv:1709.01507).

    Parameters: 2 * channels * floor(channels / ratio).

    Example:
        >>> SqueezeExcite(8)(torch.zeros(2, 8, 4, 4)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(self, channels: int, ratio: int = 4) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.weights = nn.Sequential(
            nn.Linear(channels, channels // ratio, bias=False),
            nn.ReLU(),
            nn.Linear(channels // ratio, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to the same shape."""
        weights: torch.Tensor = self.weights(self.mean(x).flatten(1))
        return x * weights[:, :, None, None]
