"""How many values ONNX puts before and after each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from edgecnn.nets.onnx.node import Node, UnreadableError

Ends: TypeAlias = tuple[list[int], list[int]]  # before and after each axis behind the channels


def sizes_of(node: Node, name: str, axes: int) -> list[int]:
    """Return an attribute with one size for each axis, by default 1."""
    sizes = [int(size) for size in node.attribute(name, [1] * axes)]
    if len(sizes) != axes or min(sizes) < 1:
        raise UnreadableError(f"has {name} {sizes} for {axes} axes")
    return sizes


def ends_of(node: Node, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Ends:
    """Return the pads of a convolution or a pool, as `pads` or `auto_pad` say."""
    axes, rule = len(kernel), node.attribute("auto_pad", "NOTSET")
    if rule in ("NOTSET", ""):
        pads = [int(pad) for pad in node.attribute("pads", [0] * (2 * axes))]
        if len(pads) != 2 * axes or min(pads) < 0:
            raise UnreadableError(f"has pads {pads} for {axes} axes")
        return pads[:axes], pads[axes:]
    if rule == "VALID":
        return [0] * axes, [0] * axes
    if rule not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnreadableError(f"has auto_pad {rule!r}")
    begin, end = [], []
    for length, k, s, d in zip(node.shape()[2:], kernel, stride, dilation, strict=True):
        total = max((-(-length // s) - 1) * s + d * (k - 1) + 1 - length, 0)
        less, more = total // 2, total - total // 2
        begin.append(less if rule == "SAME_UPPER" else more)
        end.append(more if rule == "SAME_UPPER" else less)
    return begin, end


def torch_pads(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """Return the pads in torch's order: the last axis first, before and after."""
    return [side for pair in zip(reversed(begin), reversed(end), strict=True) for side in pair]
