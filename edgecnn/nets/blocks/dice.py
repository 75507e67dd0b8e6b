"""DiCE units: depthwise convolutions along all three axes of a map, and their fusion."""

from __future__ import annotations

from math import gcd

import torch
from torch import nn

from edgecnn.nets.blocks.convolutions import ChannelShuffle, convolution, depthwise


class Dice(nn.Module):
    """Dimension-wise convolution and fusion (Mehta et al. 2020, arXiv:1906.03516), on maps of one size.

    1. Three depthwise 3x3 convolutions: over (H, W) for each channel, over (C, W) for each row, over (H, C) for each
       column; their results [N, 3 * in, H, W] are shuffled so that the three views of a channel stand together.
    2. Each three become one channel again: a pointwise convolution in groups, with padding 1, [N, in, H + 2, W + 2].
    3. A 3x3 convolution without padding, in gcd(in, out) groups, brings [N, out, H, W], and each of its channels is
       scaled by a weight that the means of step 2 decide on.

    Example:
        >>> Dice(8, 12, (6, 5))(torch.zeros(1, 8, 6, 5)).shape
        torch.Size([1, 12, 6, 5])
    """

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        height, width = size
        self.over_channels = depthwise(in_channels)
        self.over_rows = depthwise(height)
        self.over_columns = depthwise(width)
        self.bn = nn.BatchNorm2d(3 * in_channels)
        self.shuffle = ChannelShuffle(3)
        self.fuse = nn.Sequential(
            nn.Conv2d(3 * in_channels, in_channels, 1, padding=1, groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
        )
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            convolution(in_channels, in_channels // 4),
            nn.ReLU(),
            convolution(in_channels // 4, out_channels),
            nn.Sigmoid(),
        )
        self.project = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, groups=gcd(in_channels, out_channels), bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, in, H, W] to [N, out, H, W]."""
        rows = self.over_rows(x.transpose(1, 2)).transpose(1, 2)
        columns = self.over_columns(x.transpose(1, 3)).transpose(1, 3)
        views = torch.relu(self.bn(torch.cat([self.over_channels(x), rows, columns], 1)))
        fused = self.fuse(self.shuffle(views))
        return self.project(fused) * self.weights(fused)  # type: ignore[no-any-return]


class StridedDice(nn.Module):
    """Halves the map: a depthwise separable path beside a `Dice` of the averaged map, shuffled.

    Each path brings round(out / 2) channels.

    Args:
        in_channels: C of the input.
        out_channels: C of the output, even.
        size: height and width of the output.

    Example:
        >>> StridedDice(8, 12, (3, 3))(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 12, 3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        half = out_channels // 2
        self.left = nn.Sequential(
            depthwise(in_channels, stride=2),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            convolution(in_channels, half),
            nn.BatchNorm2d(half),
            nn.ReLU(),
        )
        self.right = nn.Sequential(nn.AvgPool2d(3, stride=2, padding=1), Dice(in_channels, half, size))
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, in, 2 H, 2 W] to [N, out, H, W]."""
        return self.shuffle(torch.cat([self.left(x), self.right(x)], 1))  # type: ignore[no-any-return]
