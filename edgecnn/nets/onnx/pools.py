"""Pools of ONNX, which pad each end of an axis by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgecnn.nets.onnx.node import Built, Node, UnreadableError
from edgecnn.nets.onnx.padding import Ends, ends_of, sizes_of, torch_pads

_MAX: Mapping[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_MEAN: Mapping[int, Any] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _windows(node: Node) -> tuple[list[int], list[int], list[int], Ends]:
    """Return kernel, stride and dilation, and the pads with which no window reaches beyond them."""
    kernel = list(node.attribute("kernel_shape", ()))
    axes = len(node.shape()) - 2
    if len(kernel) != axes or axes not in _MAX:
        raise UnreadableError(f"pools {axes} axes by a kernel of {len(kernel)}")
    stride, dilation = sizes_of(node, "strides", axes), sizes_of(node, "dilations", axes)
    begin, end = ends_of(node, kernel, stride, dilation)
    if node.attribute("ceil_mode", 0):
        for axis, (length, k, s, d) in enumerate(zip(node.shape()[2:], kernel, stride, dilation, strict=True)):
            reach = d * (k - 1) + 1
            count = -(-(length + begin[axis] + end[axis] - reach) // s) + 1
            if (count - 1) * s >= length + begin[axis]:
                count -= 1  # a window begins within the input or in the padding before it
            end[axis] = max((count - 1) * s + reach - length - begin[axis], 0)
    return kernel, stride, dilation, (begin, end)


def max_pool(node: Node) -> Built:
    """Read MaxPool.

    Where the pads differ, or are more than torch takes, the values at the border are repeated: each window that reaches
    over the border has the value there in it.
    """
    if len(node.outputs) > 1 and node.outputs[1]:
        raise UnreadableError("gives the places of the maxima")
    kernel, stride, dilation, (begin, end) = _windows(node)
    axes = len(kernel)
    pool = _MAX[axes](kernel, stride, 0, dilation)
    if begin == end and all(2 * pad <= k for pad, k in zip(begin, kernel, strict=True)):
        return _MAX[axes](kernel, stride, begin, dilation)  # type: ignore[no-any-return]
    if set(dilation) != {1}:
        pads = torch_pads(begin, end)
        return [lambda x: functional.pad(x, pads, value=float("-inf")), pool]
    return [lambda x: _repeated(x, begin, end), pool]


def _repeated(x: torch.Tensor, begin: list[int], end: list[int]) -> torch.Tensor:
    """Return *x* [N, C, ...] with the values at its border repeated."""
    for axis, (before, after) in enumerate(zip(begin, end, strict=True), start=2):
        if before or after:
            first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat([first] * before + [x] + [last] * after, axis)
    return x


def average_pool(node: Node) -> Built:
    """Read AveragePool: the mean of the input with zeros around it, times kernel / values that count in each window."""
    kernel, stride, dilation, (begin, end) = _windows(node)
    if set(dilation) != {1}:
        raise UnreadableError("is a mean with dilations")
    pool, pads = _MEAN[len(kernel)], torch_pads(begin, end)
    if not any(pads):
        return lambda x: pool(x, kernel, stride)
    stated = ends_of(node, kernel, stride, dilation)
    lengths = node.shape()[2:]
    include = bool(node.attribute("count_include_pad", 0))
    if (
        include
        and stated == (begin, end)
        and begin == end
        and all(2 * p <= k for p, k in zip(begin, kernel, strict=True))
    ):
        return lambda x: pool(x, kernel, stride, begin)
    ones = torch.ones(1, 1, *lengths)
    if include:
        # What ceil_mode adds beyond the pads never counts.
        ones = functional.pad(ones, torch_pads(*stated), value=1.0)
        extra = [have - told for have, told in zip(end, stated[1], strict=True)]
        ones = functional.pad(ones, torch_pads([0] * len(extra), extra))
    else:
        ones = functional.pad(ones, pads)
    factor = 1 / pool(ones, kernel, stride)

    def mean(x: torch.Tensor) -> Any:
        return pool(functional.pad(x, pads), kernel, stride) * factor.to(x)

    return mean


def global_average(node: Node) -> Built:
    """Read GlobalAveragePool."""
    axes = len(node.shape()) - 2
    if axes == 2:
        return lambda x: functional.adaptive_avg_pool2d(x, 1)
    return lambda x: x.mean(list(range(2, 2 + axes)), keepdim=True)


def global_max(node: Node) -> Built:
    """Read GlobalMaxPool."""
    axes = list(range(2, len(node.shape())))
    return lambda x: x.amax(axes, keepdim=True)
