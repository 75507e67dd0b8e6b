"""Layers of torch written with the few that TFLite has: transposed convolutions and pools, exactly.

Each function stands for one operator of torch (`aten`), with its arguments in its order, and is exact but for the
order of sums. TFLite's TRANSPOSE_CONV has neither dilation nor groups nor free padding, and its pools pad as `SAME` or
not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgecnn.errors import require

aten: Any = torch.ops.aten
Sizes = Sequence[int]


@contextmanager
def rewriting() -> Iterator[None]:
    """Within it, litert-torch takes each operator of `TABLE` apart as its function does."""
    decompositions = require("litert_torch", "torch").fx_infra.decomp
    table = decompositions._pre_convert_decomp
    saved = dict(table)
    table.update(TABLE)
    try:
        yield
    finally:
        table.clear()
        table.update(saved)


def _spread(values: Sequence[int] | int, count: int) -> list[int]:
    """Return one value for each of *count* axes."""
    values = [values] if isinstance(values, int) else list(values)
    return values * count if len(values) == 1 else values


def conv_transpose(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sizes = (1,),
    padding: Sizes = (0,),
    output_padding: Sizes = (0,),
    groups: int = 1,
    dilation: Sizes = (1,),
) -> torch.Tensor:
    """Map [N, C, ...] to [N, O, ...] as `torch.nn.functional.conv_transpose2d`, of one or two axes.

    - Stride 1: a convolution with the filters turned round.
    - One group, no dilation: TRANSPOSE_CONV without padding, cropped or padded.
    - Else: a convolution over the input with zeros between its values.

    Args:
        x: [N, C, H, W] or [N, C, W].
        weight: [C, O / groups, kernel...].
        bias: [O].
        stride: of each axis, or one for all.
        padding: zeros that the output is less by at each side, likewise.
        output_padding: values more at the end, likewise.
        groups: of channels.
        dilation: of the kernel, likewise.
    """
    axes = x.ndim - 2
    if axes == 1:
        steps, gaps = [1, *_spread(stride, 1)], [1, *_spread(dilation, 1)]
        less, more = [0, *_spread(padding, 1)], [0, *_spread(output_padding, 1)]
        return conv_transpose(x.unsqueeze(2), weight.unsqueeze(2), bias, steps, less, more, groups, gaps).squeeze(2)
    stride, padding, dilation = (_spread(values, axes) for values in (stride, padding, dilation))
    output_padding = _spread(output_padding, axes)
    kernel = list(weight.shape[2:])
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if groups == 1 and dilation == [1] * axes and stride != [1] * axes:
        return _cropped(x, weight, bias, stride, padding, output_padding)
    if stride != [1] * axes:
        x = _stuffed(x, stride)
    # The zeros behind the last value of a stuffed input count as padding.
    low = [r - p for r, p in zip(reach, padding, strict=True)]
    high = [side + o - (s - 1) for side, o, s in zip(low, output_padding, stride, strict=True)]
    x = _resized(x, low, high)
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    turned = weight.flip(list(range(2, weight.ndim))).reshape(groups, inputs, outputs, *kernel).transpose(1, 2)
    turned = turned.reshape(groups * outputs, inputs, *kernel)
    return functional.conv2d(x, turned, bias, dilation=dilation, groups=groups)


def _cropped(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Sizes, padding: Sizes, more: Sizes
) -> torch.Tensor:
    """Return a transposed convolution as one without padding, less *padding* at each side, plus *more* at the end."""
    kernel = weight.shape[2:]
    if not any(more) and (not any(padding) or _is_same(kernel, stride, padding)):
        return _transposed(x, weight, bias, stride, padding)
    beyond = any(m > p for m, p in zip(more, padding, strict=True))
    y = _transposed(x, weight, None if beyond else bias, stride, [0] * len(stride))
    y = _resized(y, [-p for p in padding], [m - p for m, p in zip(more, padding, strict=True)])
    return y + bias.reshape(1, -1, *[1] * len(stride)) if beyond and bias is not None else y


def _is_same(kernel: Sizes, stride: Sizes, padding: Sizes) -> bool:
    """Return whether an output is as many times as large as the input as the stride says: padding SAME."""
    return all(k - s == 2 * p for k, s, p in zip(kernel, stride, padding, strict=True))


def _transposed(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Sizes, padding: Sizes
) -> torch.Tensor:
    ones, zeros = [1] * len(stride), [0] * len(stride)
    y: torch.Tensor = aten.convolution(x, weight, bias, list(stride), list(padding), ones, True, zeros, 1)
    return y


def _stuffed(x: torch.Tensor, stride: Sizes) -> torch.Tensor:
    """Return [N, C, H, W] as [N, C, H * sh, W * sw]: each value followed by zeros."""
    y = functional.interpolate(x, size=[length * s for length, s in zip(x.shape[2:], stride, strict=True)])
    for axis, s in enumerate(stride, start=2):
        if s > 1:
            y = y * _along(axis, [float(place % s == 0) for place in range(y.shape[axis])], x)
    return y


def _along(axis: int, values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """Return *values* along an *axis* of four, written so that the converter makes one constant of them."""
    sizes = {axis: 1}
    made: dict[tuple[float, int], torch.Tensor] = {}
    parts = []
    for value, same in groupby(values):
        run = (value, len(list(same)))
        sizes[axis] = run[1]
        shape = [sizes.get(other, 1) for other in range(4)]
        made.setdefault(run, like.new_full(shape, value))
        parts.append(made[run])
    return torch.cat(parts, axis) if len(parts) > 1 else parts[0]


def _resized(x: torch.Tensor, low: Sizes, high: Sizes) -> torch.Tensor:
    """Return *x* [N, C, ...] with so many zeros more at each end of the last axes, or values less."""
    for axis, (before, after) in enumerate(zip(low, high, strict=True), start=2):
        length = x.shape[axis]
        if before < 0 or after < 0:
            x = x.narrow(axis, max(-before, 0), length - max(-before, 0) - max(-after, 0))
    pads = [max(side, 0) for pair in zip(reversed(low), reversed(high), strict=True) for side in pair]
    return functional.pad(x, pads) if any(pads) else x


def avg_pool2d(
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    """Map [N, C, H, W] to [N, C, H', W'] as `torch.nn.functional.avg_pool2d`.

    The mean of the input with zeros around it, times a constant for each place: kernel / values that count there.
    """
    kernel, padding = _spread(kernel, 2), _spread(padding, 2)
    stride = _spread(stride, 2) if stride else kernel
    spans = [
        _spans(length, k, s, p, ceil_mode) for length, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True)
    ]
    after = [span[-1][0] + k - length for span, k, length in zip(spans, kernel, x.shape[2:], strict=True)]
    padded = _resized(x, padding, [max(side, 0) for side in after])
    y: torch.Tensor = aten.avg_pool2d(padded, kernel, stride)
    counts = []
    for span, length, p in zip(spans, x.shape[2:], padding, strict=True):
        ends = (-p, length + p) if count_include_pad else (0, length)
        counts.append([min(end, ends[1]) - max(start, ends[0]) for start, end in span])
    for axis, (k, values) in enumerate(zip(kernel, counts, strict=True), start=2):
        factors = [k / value for value in values]
        if divisor_override is None and any(factor != 1 for factor in factors):
            y = y * _along(axis, factors, y)
    return y if divisor_override is None else y * (prod(kernel) / divisor_override)


def _spans(length: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> list[tuple[int, int]]:
    """Return first and last-plus-one place of each window of a pool; places outside 0 to *length* are padding."""
    room = length + 2 * padding - kernel
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= length + padding:
        count -= 1  # a window begins within the input or in the padding before it
    return [(index * stride - padding, index * stride - padding + kernel) for index in range(count)]


def max_pool2d(
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = (0,),
    dilation: Sizes = (1,),
    ceil_mode: bool = False,
) -> torch.Tensor:
    """Map [N, C, H, W] to [N, C, H', W'] as `torch.nn.functional.max_pool2d`, of no dilation.

    The border is repeated where torch pads with minus infinity, of which int8 has none: a window that reaches over the
    border has the value at the border in it.
    """
    kernel, padding = _spread(kernel, 2), _spread(padding, 2)
    stride = _spread(stride, 2) if stride else kernel
    sides = []
    for length, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True):
        last = _spans(length, k, s, p, ceil_mode)[-1][0]
        sides.append((p, max(last + k - length, 0)))
    for axis, (before, after) in enumerate(sides, start=2):
        if before or after:
            first, end = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat([first] * before + [x] + [end] * after, axis)
    y: torch.Tensor = aten.max_pool2d_with_indices(x, kernel, stride)[0]
    return y


def over_volume(pool: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a pool over [N, C, D, H, W] made of *pool*, one over images: height and width first, then depth."""

    def volume(x: torch.Tensor, kernel: Sizes, stride: Sizes = (), padding: Sizes = (0,), *rest: Any) -> torch.Tensor:
        sizes = [_spread(values, 3) for values in (kernel, stride or kernel, padding)]
        n, c, d, h, w = x.shape
        y = pool(x.reshape(n, c * d, h, w), *(values[1:] for values in sizes), *rest)
        h, w = y.shape[2:]
        deep = [[values[0], one] for values, one in zip(sizes, (1, 1, 0), strict=True)]
        y = pool(y.reshape(n, c, d, h * w), *deep, *rest)
        return y.reshape(n, c, y.shape[2], h, w)

    return volume


def adaptive_avg_pool2d(x: torch.Tensor, output_size: Sizes) -> torch.Tensor:
    """Map [N, C, H, W] to [N, C, *output_size] as `torch.nn.functional.adaptive_avg_pool2d`."""
    pool = _as_pool(x.shape[2:], output_size)
    return functional.avg_pool2d(x, *pool) if pool else _by_slices(x, output_size, torch.mean)


def adaptive_max_pool2d(x: torch.Tensor, output_size: Sizes) -> torch.Tensor:
    """Map [N, C, H, W] to [N, C, *output_size] as `torch.nn.functional.adaptive_max_pool2d`."""
    pool = _as_pool(x.shape[2:], output_size)
    return max_pool2d(x, *pool) if pool else _by_slices(x, output_size, torch.amax)


def _windows(length: int, size: int) -> list[tuple[int, int]]:
    """Return first and last-plus-one place of each window of an adaptive pool."""
    return [(index * length // size, -(-(index + 1) * length // size)) for index in range(size)]


def _as_pool(lengths: Sizes, sizes: Sizes) -> tuple[list[int], list[int]] | None:
    """Return kernel and stride of the pool whose windows are those of an adaptive one; None where there is none."""
    kernel, stride = [], []
    for length, size in zip(lengths, sizes, strict=True):
        windows = _windows(length, size)
        steps = {after[0] - before[0] for before, after in pairwise(windows)} or {length}
        spans = {end - start for start, end in windows}
        if len(steps) > 1 or len(spans) > 1:
            return None
        kernel.append(spans.pop())
        stride.append(steps.pop())
    return kernel, stride


def _by_slices(x: torch.Tensor, sizes: Sizes, reduce: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Return the pool of unequal windows as what *reduce* makes of each, one axis after the other."""
    for axis, size in enumerate(sizes, start=2):
        parts = [
            reduce(x.narrow(axis, start, end - start), axis, keepdim=True)
            for start, end in _windows(x.shape[axis], size)
        ]
        x = torch.cat(parts, axis) if len(parts) > 1 else parts[0]
    return x


def elu(x: torch.Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> torch.Tensor:
    """Map each value as `torch.nn.functional.elu`, `celu` and `selu` do."""
    return torch.where(x > 0, x * scale, torch.expm1(x * input_scale) * (alpha * scale))


def _convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
) -> Any:
    """Take a transposed convolution apart, where it is none that the converter takes as it is."""
    axes = x.ndim - 2
    taken = not any(_spread(padding, axes)) or _is_same(weight.shape[2:], stride, padding)
    plain = groups == 1 and not any(output_padding) and set(dilation) == {1} and taken and set(stride) != {1}
    if not transposed or axes == 3 or (axes == 2 and plain):
        return NotImplemented
    return conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)


def _avg_pool2d(x: torch.Tensor, kernel: Sizes, stride: Sizes = (), padding: Sizes = (0,), *rest: Any) -> Any:
    given = [*rest, *(False, True, None)[len(rest) :]]
    ceil_mode, divisor = given[0], given[2]
    if not any(padding) and not ceil_mode and divisor is None:
        return NotImplemented
    return avg_pool2d(x, kernel, stride, padding, *rest)


def _max_pool2d(
    x: torch.Tensor, kernel: Sizes, stride: Sizes = (), padding: Sizes = (0,), dilation: Sizes = (1,), *ceil: bool
) -> torch.Tensor:
    """Leave a pool whose windows end within its padding to the converter, which pads by one operator."""
    if any(ceil) and set(dilation) == {1}:
        return max_pool2d(x, kernel, stride, padding, dilation, True)
    sizes = (_spread(values, 2) for values in (kernel, stride or kernel, padding, dilation))
    y: torch.Tensor = aten.max_pool2d_with_indices(x, *sizes, *ceil)[0]
    return y


def _max_pool3d(
    x: torch.Tensor, kernel: Sizes, stride: Sizes = (), padding: Sizes = (0,), dilation: Sizes = (1,), *ceil: bool
) -> torch.Tensor:
    if set(dilation) == {1}:
        return over_volume(max_pool2d)(x, kernel, stride, padding, [1], *ceil)
    sizes = (_spread(values, 3) for values in (kernel, stride or kernel, padding, dilation))
    y: torch.Tensor = aten.max_pool3d_with_indices(x, *sizes, *ceil)[0]
    return y


def _adaptive_avg_pool2d(x: torch.Tensor, output_size: Sizes) -> Any:
    divides = all(length % size == 0 for length, size in zip(x.shape[-2:], output_size, strict=True))
    return NotImplemented if divides else adaptive_avg_pool2d(x, output_size)


def _adaptive_max_pool2d(x: torch.Tensor, output_size: Sizes) -> Any:
    y = adaptive_max_pool2d(x, output_size)
    return y, torch.zeros_like(y, dtype=torch.int64)  # the places of the maxima, which nobody reads


def pixel_unshuffle(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Map [N, C, H, W] to [N, C * factor^2, H / factor, W / factor] as `torch.nn.functional.pixel_unshuffle`."""
    n, c, h, w = x.shape
    h, w = h // factor, w // factor
    return x.reshape(n * c, h, factor, w, factor).permute(0, 2, 4, 1, 3).reshape(n, c * factor**2, h, w)


#: Operator of torch → the function that takes it apart; one that returns `NotImplemented` leaves it as it is.
TABLE: Mapping[Any, Callable[..., Any]] = {
    aten._adaptive_avg_pool2d.default: _adaptive_avg_pool2d,
    aten.adaptive_max_pool2d.default: _adaptive_max_pool2d,
    aten.avg_pool2d.default: _avg_pool2d,
    aten.convolution.default: _convolution,
    aten.elu.default: elu,
    aten.avg_pool3d.default: over_volume(avg_pool2d),
    aten.max_pool2d.default: _max_pool2d,
    aten.pixel_unshuffle.default: pixel_unshuffle,
    aten.max_pool3d.default: _max_pool3d,
}


def with_plain_pools(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
    """Return *module* as a program without the pools that torch's ONNX exporter gets wrong; as it is without such.

    It leaves out the divisor of an average pool, has no adaptive maximum, and onnxruntime averages windows over the
    border wrongly in int8.
    """

    def is_wrong(part: nn.Module) -> bool:
        own_divisor = isinstance(part, nn.AvgPool2d) and bool(part.divisor_override or part.ceil_mode)
        return own_divisor or isinstance(part, nn.AdaptiveMaxPool2d)

    if not any(map(is_wrong, module.modules())):
        return module
    wrong = (aten.avg_pool2d.default, aten.adaptive_max_pool2d.default)
    return torch.export.export(module, inputs, strict=False).run_decompositions({one: TABLE[one] for one in wrong})
