"""Ghost modules: half of the channels are convolved, the other half are cheap copies of them."""

from __future__ import annotations

import torch
from torch import nn

from edgecnn.nets.blocks.convolutions import depthwise, grouped_pointwise


class Ghost(nn.Module):
    """Pointwise to half of the channels, the others depthwise from those (Han et al. 2020, arXiv:1911.11907).

    The cheap half comes first in the output, unlike in the paper's own code; one batch norm is over both halves, and
    nothing is between the two convolutions. With *groups* the pointwise convolution is grouped and shuffled.

    Example:
        >>> Ghost(4, 8)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 6, 6])
    """

    def __init__(self, in_channels: int, out_channels: int, activation: bool = True, groups: int = 1) -> None:
        super().__init__()
        self.primary = grouped_pointwise(in_channels, out_channels // 2, groups)
        self.cheap = depthwise(out_channels // 2)
        self.bn = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU6() if activation else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, in, H, W] to [N, out, H, W]."""
        primary = self.primary(x)
        return self.activation(self.bn(torch.cat([self.cheap(primary), primary], 1)))  # type: ignore[no-any-return]


class GhostConvolution(nn.Module):
    """A convolution of half of the channels, and a depthwise one of those for the others, which come last.

    Example:
        >>> GhostConvolution(nn.Conv2d(4, 6, 3, padding=1), depthwise(6))(torch.zeros(1, 4, 5, 5)).shape
        torch.Size([1, 12, 5, 5])
    """

    def __init__(self, primary: nn.Conv2d, cheap: nn.Conv2d) -> None:
        super().__init__()
        self.primary = primary
        self.cheap = cheap

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, in, H, W] to [N, out, H', W'], by the stride and the padding of the first convolution."""
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], 1)
