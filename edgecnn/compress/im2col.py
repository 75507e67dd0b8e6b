"""Convolutions of many filters over few positions, computed as products of matrices.

The CPU's convolution kernels lay the weights out anew in every step. Deep in a classifier, where images are 4 pixels
wide and filters are 512, that costs several times the arithmetic: a training step of VGG16 spends half its time so.
Copying the images into columns (im2col: Chellapilla et al. 2006) is cheap just there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

#: Columns pay where the filters are at least this share of the positions: 3 times faster for 512 of them over 4x4
#: pixels of 128 images, as fast for 96 over 2x2, half as fast for 96 over 4x4.
FILTERS_PER_POSITION = 1 / 8


class Columns(TorchFunctionMode):
    """While it is entered, functional.conv2d in bfloat16 on the CPU goes by columns where they are faster."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Return what *func* gives."""
        if func is functional.conv2d and not kwargs and _pays(*args):
            x, weight, bias = args[:3]
            return _Convolution.apply(x.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16())
        return func(*args, **(kwargs or {}))


def _pays(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    """Return whether this is a dense convolution that keeps the image's size, with many filters for its positions."""
    if x.ndim != 4 or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    height, width = weight.shape[2:]
    return (
        groups == 1
        and _pair(stride) == _pair(dilation) == (1, 1)
        and _pair(padding) == (height // 2, width // 2)
        and height % 2 == width % 2 == 1
        and weight.shape[0] >= FILTERS_PER_POSITION * x.shape[0] * x.shape[2] * x.shape[3]
    )


def _pair(value: Any) -> tuple[Any, ...]:
    return (value, value) if isinstance(value, (int, str)) else tuple(value)


class _Convolution(torch.autograd.Function):
    """x [N, C, H, W] * weight [F, C, kh, kw] -> [N, F, H, W]; both gradients are products of columns as well."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        # A view that a function of our own gives could not be written over, as an activation in place does.
        return _images(functional.linear(_columns(x, weight), _matrix(weight), bias), x).data

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        filters, channels, height, width = weight.shape
        # A gradient flows back as a convolution with the filters turned round, inputs and outputs exchanged.
        turned = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(-1, channels)
        to_x = _images(_columns(gradient, weight) @ turned, x)
        by_position = gradient.permute(0, 2, 3, 1).reshape(-1, filters)
        to_weight = (by_position.t() @ _columns(x, weight)).view(filters, height, width, channels).permute(0, 3, 1, 2)
        return to_x, to_weight, by_position.sum(0) if ctx.has_bias else None


def _columns(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return what each position of the images [N, C, H, W] sees through the filters: [N * H * W, kh * kw * C]."""
    height, width = weight.shape[2:]
    # Channels innermost, as the images lie in memory: each copy is then of whole rows.
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, width // 2, width // 2, height // 2, height // 2))
    seen = padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)
    return seen.reshape(x.shape[0] * x.shape[2] * x.shape[3], -1)


def _matrix(weight: torch.Tensor) -> torch.Tensor:
    return weight.permute(0, 2, 3, 1).flatten(1)


def _images(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    n, _, height, width = like.shape
    return rows.view(n, height, width, -1).permute(0, 3, 1, 2)
