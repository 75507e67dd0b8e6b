"""Batch norm of a number of channels that the CPU's kernels are slow for, computed on several positions as one.

Channels lie innermost in memory. Where they are no multiple of the processor's vectors, as pruning leaves them, torch's
kernels are slow: backwards, 7 channels of 128 images of 32 pixels take at least nine times as long as 16. Sixteen
neighbouring positions taken for one of sixteen times the channels fit any vector; the statistics of a channel are those
of its sixteen together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

POSITIONS = 16  # that become one; any number of channels times it fills whole vectors
_WORTH_IT = 2**18  # values, from which a fold takes less time than it costs


class Folded(TorchFunctionMode):
    """While it is entered, functional.batch_norm in training on the CPU goes by folds where they are faster."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Return what *func* gives."""
        if func is functional.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    x: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    if not training or weight is None or bias is None or not _pays(x):
        return functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    y, mean, var = _BatchNorm.apply(x, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        n = x.numel() // x.shape[1]
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (n / max(1, n - 1)), momentum)
    return y  # type: ignore[no-any-return]


def _pays(x: torch.Tensor) -> bool:
    """Return whether these are images on the CPU whose channels, innermost, are no multiple of a vector."""
    return (
        x.ndim == 4
        and x.device.type == "cpu"
        and x.shape[1] % POSITIONS != 0
        and x.numel() >= _WORTH_IT
        and (x.shape[0] * x.shape[2] * x.shape[3]) % POSITIONS == 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()
    )


class _BatchNorm(torch.autograd.Function):
    """x [N, C, H, W], weight and bias [C] -> y like x, and the mean and the variance of each channel [C]."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # As gradients of a norm, the kernel gives the sums of x * (x - near) and of x, in float32. Little is lost where
        # the mean is taken off, if what is near to it has been before.
        near = x[0].float().mean((1, 2))
        products, values = _sums(x, x, near, torch.ones_like(near))
        n = x.numel() // x.shape[1]
        mean = values / n
        var = (products / n - mean * (mean - near)).clamp_min(0)
        inverse = (var + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, var)
        return _scaled(x, weight, bias, mean, inverse), mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        x, weight, mean, inverse = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        to_weight, to_bias = _sums(gradient, x, mean, inverse)
        # weight * inverse * (gradient - mean of the gradient - normalized x * mean of the gradient times normalized x);
        # all but the gradient's own part in float32, where what is nearly the same cancels.
        n, scale = x.numel() // x.shape[1], (weight * inverse).to(x.dtype)  # rounded alike for both parts: they cancel
        rest = _scaled(x, -scale * to_weight / n, -scale * to_bias / n, mean, inverse)
        to_x = torch.addcmul(_rows(rest), _rows(gradient), _tile(scale))
        return _images(to_x, x), to_weight, to_bias, None


def _scaled(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, inverse: torch.Tensor
) -> torch.Tensor:
    """Return weight * (x - mean) * inverse + bias."""
    variance = inverse.square().reciprocal()
    tiled = map(_tile, (weight, bias, mean, variance))
    return _images(torch.ops.aten.native_batch_norm(_fold(x), *tiled, *(False, 0.0, 0.0))[0], x)


def _sums(
    gradient: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, inverse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sums over all positions of gradient * (x - mean) * inverse, and of the gradient [C]."""
    _, weighted, plain = torch.ops.aten.native_batch_norm_backward(
        *(_fold(gradient), _fold(x), _tile(inverse), None, None, _tile(mean), _tile(inverse)),
        *(True, 0.0, [False, True, True]),
    )
    return weighted.view(POSITIONS, -1).sum(0), plain.view(POSITIONS, -1).sum(0)


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1).reshape(-1, POSITIONS * x.shape[1])


def _fold(x: torch.Tensor) -> torch.Tensor:
    """Return images [N, C, H, W] as [N * H * W / 16, 16 * C, 1, 1], in the same memory."""
    return _rows(x)[:, :, None, None]


def _images(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return what rows or folds hold as images of the shape of *like*, in the same memory."""
    n, channels, height, width = like.shape
    return rows.reshape(n, height, width, channels).permute(0, 3, 1, 2)


def _tile(of_channels: torch.Tensor) -> torch.Tensor:
    return of_channels.repeat(POSITIONS)
