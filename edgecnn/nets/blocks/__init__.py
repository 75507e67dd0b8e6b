"""Building blocks of small networks, each of use alone: shapes in, shapes out, and the paper that it is from."""

from __future__ import annotations

from edgecnn.nets.blocks.convolutions import (
    ChannelShuffle,
    convolution,
    depthwise,
    depthwise_separable,
    grouped_pointwise,
    nx1_1xn,
)
from edgecnn.nets.blocks.dice import Dice, StridedDice
from edgecnn.nets.blocks.fire import Fire, depthwise_fire, dice_fire, ghost_fire, grouped_fire, plain_fire
from edgecnn.nets.blocks.ghost import Ghost, GhostConvolution
from edgecnn.nets.blocks.residual import (
    Residual,
    bottleneck,
    dense,
    dice_residual,
    ghost_bottleneck,
    grouped_bottleneck,
    inverted_residual,
    projection,
    residual_fire,
)
from edgecnn.nets.blocks.squeeze_excite import SqueezeExcite
from edgecnn.nets.blocks.unused import Unused

__all__ = [
    "ChannelShuffle",
    "Dice",
    "Fire",
    "Ghost",
    "GhostConvolution",
    "Residual",
    "SqueezeExcite",
    "StridedDice",
    "Unused",
    "bottleneck",
    "convolution",
    "dense",
    "depthwise",
    "depthwise_fire",
    "depthwise_separable",
    "dice_fire",
    "dice_residual",
    "ghost_bottleneck",
    "ghost_fire",
    "grouped_bottleneck",
    "grouped_fire",
    "grouped_pointwise",
    "inverted_residual",
    "nx1_1xn",
    "plain_fire",
    "projection",
    "residual_fire",
]
