"""Fire modules: a narrow squeeze, then two parallel expansions whose channels stand side by side."""

from __future__ import annotations

from math import gcd

import torch
from torch import nn

from edgecnn.nets.blocks.convolutions import ChannelShuffle, convolution
from edgecnn.nets.blocks.dice import Dice
from edgecnn.nets.blocks.ghost import Ghost
from edgecnn.nets.blocks.unused import Unused


class Fire(nn.Module):
    """Squeeze to few channels, expand by two branches side by side (Iandola et al. 2016, arXiv:1602.07360).

    Args:
        squeeze: [N, in, H, W] to [N, q, H, W].
        pointwise: one branch, [N, q, H, W] to [N, e, H, W].
        spatial: the other, likewise.
        after: what both together, [N, 2 e, H, W], pass through.

    Example:
        >>> Fire(convolution(8, 2), convolution(2, 4), convolution(2, 4, 3))(torch.zeros(1, 8, 5, 5)).shape
        torch.Size([1, 8, 5, 5])
    """

    def __init__(
        self, squeeze: nn.Module, pointwise: nn.Module, spatial: nn.Module, after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.pointwise = pointwise
        self.spatial = spatial
        self.after = nn.Identity() if after is None else after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, in, H, W] to [N, 2 e, H, W], strided where both branches are."""
        x = self.squeeze(x)
        return self.after(torch.cat([self.pointwise(x), self.spatial(x)], 1))  # type: ignore[no-any-return]


def plain_fire(in_channels: int, squeezed: int, expanded: int, faithful: bool = True) -> Fire:
    """Return a Fire module with dense branches of 1x1 and 3x3, each with batch norm and ReLU; all with bias.

    Quirk (*faithful*): the batch norm of the squeeze is there and never used, and no activation follows the squeeze,
    so that squeeze and expansion are linear together. Mended, batch norm and ReLU follow the squeeze.
    """
    squeeze = convolution(in_channels, squeezed, bias=True)
    norm = nn.BatchNorm2d(squeezed)
    return Fire(
        nn.Sequential(squeeze, Unused(norm)) if faithful else nn.Sequential(squeeze, norm, nn.ReLU()),
        _normed(convolution(squeezed, expanded, bias=True), expanded, nn.ReLU()),
        _normed(convolution(squeezed, expanded, 3, bias=True), expanded, nn.ReLU()),
    )


def depthwise_fire(in_channels: int, squeezed: int, expanded: int) -> Fire:
    """Return a Fire module whose spatial branch is a depthwise 3x3 with *expanded* / *squeezed* filters a channel."""
    return Fire(
        _normed(convolution(in_channels, squeezed, bias=True), squeezed, nn.ReLU()),
        _normed(convolution(squeezed, expanded, bias=True), expanded),
        _normed(convolution(squeezed, expanded, 3, groups=squeezed), expanded),
        nn.ReLU(),
    )


def grouped_fire(in_channels: int, squeezed: int, expanded: int, faithful: bool = True) -> Fire:
    """Return a depthwise Fire module whose pointwise convolutions are in 4 groups where they have over 24 inputs.

    The squeeze's groups are shuffled by 4, the output by 8; the pointwise branch is not shuffled, and no convolution
    has a bias.

    Quirk (*faithful*): the batch norm of the spatial branch is there and never used. Mended, it is applied.
    """
    groups = _groups(in_channels)
    squeeze = convolution(in_channels, squeezed, groups=groups)
    shuffle = [ChannelShuffle(groups)] if groups > 1 else []
    pointwise = convolution(squeezed, expanded, groups=_groups(squeezed))
    spatial = convolution(squeezed, expanded, 3, groups=squeezed)
    norm = nn.BatchNorm2d(expanded)
    return Fire(
        _normed(squeeze, squeezed, nn.ReLU(), *shuffle),
        _normed(pointwise, expanded),
        nn.Sequential(spatial, Unused(norm) if faithful else norm),
        nn.Sequential(ChannelShuffle(8), nn.ReLU()),
    )


def ghost_fire(in_channels: int, squeezed: int, expanded: int, grouped: bool = False) -> Fire:
    """Return a Fire module of `Ghost` modules: the squeeze and the spatial branch.

    Where *grouped*, the spatial branch's pointwise convolution is in 4 shuffled groups if it has over 24 inputs.
    """
    return Fire(
        Ghost(in_channels, squeezed),
        _normed(convolution(squeezed, expanded), expanded),
        Ghost(squeezed, expanded, activation=False, groups=_groups(squeezed) if grouped else 1),
        nn.ReLU(),
    )


def dice_fire(in_channels: int, squeezed: int, expanded: int, size: tuple[int, int]) -> Fire:
    """Return a Fire module whose spatial branch is a `Dice` unit for maps of one *size*.

    The squeeze is in *squeezed* groups, which divide its inputs, behind the network's first layer.
    """
    squeeze = convolution(in_channels, squeezed, groups=gcd(in_channels, squeezed))
    return Fire(
        _normed(squeeze, squeezed, nn.ReLU()),
        _normed(convolution(squeezed, expanded), expanded),
        Dice(squeezed, expanded, size),
        nn.ReLU(),
    )


def _groups(channels: int) -> int:
    return 4 if channels > 24 else 1


def _normed(layer: nn.Module, channels: int, *after: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(channels), *after)
