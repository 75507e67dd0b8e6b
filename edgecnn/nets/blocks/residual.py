"""Residual blocks: what a body of layers makes is added to a shortcut."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from edgecnn.nets.blocks.convolutions import ChannelShuffle, convolution, depthwise
from edgecnn.nets.blocks.dice import Dice, StridedDice
from edgecnn.nets.blocks.fire import Fire
from edgecnn.nets.blocks.ghost import Ghost
from edgecnn.nets.blocks.squeeze_excite import SqueezeExcite
from edgecnn.nets.blocks.unused import Unused

#: `(in_channels, out_channels, stride)` → a layer that looks at a pixel's neighbours.
Spatial = Callable[[int, int, int], nn.Module]


class Residual(nn.Module):
    """Adds what *body* makes of the input to what *shortcut* makes of it (He et al. 2016, arXiv:1512.03385).

    Args:
        body: [N, in, H, W] to [N, out, H / stride, W / stride].
        shortcut: likewise; None: the input itself.
        activation: of the sum; None: none.

    Example:
        >>> Residual(nn.Identity())(torch.ones(1, 1, 2, 2)).unique().tolist()
        [2.0]
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, in, H, W] to [N, out, H / stride, W / stride]."""
        return self.activation(self.body(x) + self.shortcut(x))  # type: ignore[no-any-return]


def projection(in_channels: int, out_channels: int, stride: int, bias: bool = False) -> nn.Sequential:
    """Return a shortcut that changes the number of channels: a pointwise convolution and batch norm."""
    return nn.Sequential(convolution(in_channels, out_channels, stride=stride, bias=bias), nn.BatchNorm2d(out_channels))


def dense(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a plain 3x3 convolution with weights as `bottleneck` draws them."""
    return _he(convolution(in_channels, out_channels, 3, stride))


def bottleneck(
    in_channels: int, mid: int, out: int, stride: int = 1, project: bool = False, spatial: Spatial = dense
) -> Residual:
    """Return a bottleneck: pointwise, *spatial*, pointwise, each with batch norm, ReLU between and after the sum.

    The stride is in the spatial layer (torchvision's "v1.5"). Pointwise weights are drawn as torchvision draws them:
    normal, by the number of outputs (He et al. 2015, arXiv:1502.01852).

    Example:
        >>> bottleneck(8, 4, 16, stride=2, project=True)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 16, 3, 3])
    """
    body = nn.Sequential(
        *(_he(convolution(in_channels, mid)), nn.BatchNorm2d(mid), nn.ReLU()),
        *(spatial(mid, mid, stride), nn.BatchNorm2d(mid), nn.ReLU()),
        *(_he(convolution(mid, out)), nn.BatchNorm2d(out)),
    )
    if not project:
        return Residual(body, None, nn.ReLU())
    shortcut = nn.Sequential(_he(convolution(in_channels, out, stride=stride)), nn.BatchNorm2d(out))
    return Residual(body, shortcut, nn.ReLU())


def grouped_bottleneck(
    in_channels: int, mid: int, out: int, stride: int = 1, project: bool = False, groups: int = 4
) -> Residual:
    """Return ShuffleNet's bottleneck with a sum: grouped pointwise, shuffle, depthwise, and again (arXiv:1707.01083).

    The second group convolution is shuffled too, and the projection is dense.

    Example:
        >>> grouped_bottleneck(8, 8, 8)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 8, 6, 6])
    """
    body = nn.Sequential(
        *(convolution(in_channels, mid, groups=groups), nn.BatchNorm2d(mid), nn.ReLU(), ChannelShuffle(groups)),
        *(depthwise(mid, stride), nn.BatchNorm2d(mid)),
        *(convolution(mid, out, groups=groups), nn.BatchNorm2d(out), ChannelShuffle(groups)),
    )
    return Residual(body, projection(in_channels, out, stride) if project else None, nn.ReLU())


def inverted_residual(in_channels: int, mid: int, out: int, stride: int = 1, project: bool = False) -> Residual:
    """Return MobileNetV2's block: pointwise, depthwise, linear pointwise (Sandler et al. 2018, arXiv:1801.04381).

    Every block has a shortcut, also where it changes the shape, unlike in the paper.

    Example:
        >>> inverted_residual(4, 16, 8, stride=2, project=True)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """
    body = nn.Sequential(
        *(convolution(in_channels, mid), nn.BatchNorm2d(mid), nn.ReLU6()),
        *(depthwise(mid, stride), nn.BatchNorm2d(mid), nn.ReLU6()),
        *(convolution(mid, out), nn.BatchNorm2d(out)),
    )
    return Residual(body, projection(in_channels, out, stride) if project else None)


def ghost_bottleneck(
    in_channels: int,
    mid: int,
    out: int,
    stride: int = 1,
    project: bool = False,
    groups: int = 1,
    excite: bool = False,
) -> Residual:
    """Return GhostNet's bottleneck: a ghost module, perhaps a depthwise convolution, a linear ghost module.

    Without *groups*, the depthwise convolution is in every block that projects, whether it strides or not; with them
    only where it strides (Han et al. 2020, arXiv:1911.11907, has it where it strides).

    Args:
        in_channels: C of the input.
        mid: channels between the ghost modules.
        out: C of the output.
        stride: of the depthwise convolution.
        project: whether the shortcut is a pointwise convolution with batch norm.
        groups: of the ghost modules' pointwise convolutions, whose outputs are shuffled.
        excite: whether squeeze and excite scales the channels before the second ghost module.

    Example:
        >>> ghost_bottleneck(8, 16, 8, groups=4, excite=True)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 8, 6, 6])
    """
    layers: list[nn.Module] = [Ghost(in_channels, mid, groups=groups)]
    if stride > 1 or (project and groups == 1):
        layers += [depthwise(mid, stride), nn.BatchNorm2d(mid)]
    if excite:
        layers.append(SqueezeExcite(mid))
    layers.append(Ghost(mid, out, activation=False, groups=groups))
    return Residual(nn.Sequential(*layers), projection(in_channels, out, stride) if project else None)


def residual_fire(in_channels: int, squeezed: int, out: int, stride: int = 1, project: bool = False) -> Residual:
    """Return a Fire module with a shortcut: no batch norm in the body, no activation after the sum, biases everywhere.

    Both branches stride, the squeeze does not.

    Example:
        >>> residual_fire(8, 4, 16, stride=2, project=True)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 16, 3, 3])
    """
    half = out // 2
    body = Fire(
        nn.Sequential(convolution(in_channels, squeezed, bias=True), nn.ReLU()),
        nn.Sequential(convolution(squeezed, half, stride=stride, bias=True), nn.ReLU()),
        nn.Sequential(convolution(squeezed, half, 3, stride, bias=True), nn.ReLU()),
    )
    return Residual(body, projection(in_channels, out, stride, bias=True) if project else None)


def dice_residual(
    in_channels: int,
    mid: int,
    out: int,
    stride: int = 1,
    project: bool = False,
    *,
    size: tuple[int, int],
    faithful: bool = True,
) -> Residual:
    """Return a pointwise convolution and a DiCE unit with a shortcut, for outputs of one *size* (height, width).

    Quirk (*faithful*): a block that projects holds a depthwise convolution with batch norm that never runs. Mended,
    it is left out.

    Example:
        >>> dice_residual(4, 8, 6, stride=2, project=True, size=(3, 3))(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 6, 3, 3])
    """
    body = nn.Sequential(
        *(convolution(in_channels, mid), nn.BatchNorm2d(mid), nn.ReLU()),
        *([Unused(depthwise(mid, stride), nn.BatchNorm2d(mid))] if project and faithful else []),
        StridedDice(mid, out, size) if stride > 1 else Dice(mid, out, size),
    )
    return Residual(body, projection(in_channels, out, stride) if project else None)


def _he(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
