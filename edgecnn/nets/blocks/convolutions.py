"""Convolutions in parts: one row and one column, one per channel and one across channels, groups that are shuffled.

Every convolution here keeps the map's size at stride 1 and has no bias unless it is asked for.
"""

from __future__ import annotations

import torch
from torch import nn


def convolution(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int] = 1,
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Return a 2-D convolution of an odd *kernel*, padded by half of it.

    Example:
        >>> convolution(3, 8, (3, 1)).padding
        (1, 0)
    """
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (height // 2, width // 2)
    return nn.Conv2d(in_channels, out_channels, (height, width), stride, padding, groups=groups, bias=bias)


def depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a depthwise 3x3 convolution, [N, C, H, W] to [N, C, H / stride, W / stride].

    Example:
        >>> depthwise(8).weight.shape
        torch.Size([8, 1, 3, 3])
    """
    return convolution(channels, channels, 3, stride, groups=channels)


def depthwise_separable(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Return a depthwise 3x3 and a pointwise convolution (Howard et al. 2017, arXiv:1704.04861), nothing between.

    Example:
        >>> depthwise_separable(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """
    return nn.Sequential(depthwise(in_channels, stride), convolution(in_channels, out_channels))


def nx1_1xn(in_channels: int, out_channels: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Return a column convolution and then a row convolution (Szegedy et al. 2016, arXiv:1512.00567), nothing between.

    The first keeps the number of channels, the second changes it; each strides along its own axis.

    Example:
        >>> nx1_1xn(4, 8)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 6, 6])
    """
    return nn.Sequential(
        convolution(in_channels, in_channels, (kernel, 1), (stride, 1)),
        convolution(in_channels, out_channels, (1, kernel), (1, stride)),
    )


class ChannelShuffle(nn.Module):
    """Deals out the channels of each group in turn (Zhang et al. 2018, arXiv:1707.01083).

    With n channels in g groups, output channel j * g + i is input channel i * (n / g) + j.

    Example:
        >>> ChannelShuffle(2)(torch.arange(6.0).reshape(1, 6, 1, 1)).flatten().tolist()
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to the same shape."""
        n, channels, height, width = x.shape
        parts = x.reshape(n, self.groups, channels // self.groups, height, width)
        return parts.transpose(1, 2).reshape(n, channels, height, width)

    def extra_repr(self) -> str:
        """Return what the module's repr shows between the parentheses."""
        return f"groups={self.groups}"


def grouped_pointwise(in_channels: int, out_channels: int, groups: int, bias: bool = False) -> nn.Sequential:
    """Return a pointwise convolution in *groups*, then their shuffle; one group is a plain pointwise convolution.

    Example:
        >>> grouped_pointwise(8, 4, groups=4)[0].weight.shape
        torch.Size([4, 2, 1, 1])
    """
    pointwise = convolution(in_channels, out_channels, groups=groups, bias=bias)
    return nn.Sequential(pointwise, *([ChannelShuffle(groups)] if groups > 1 else []))
