"""Smaller blocks in place of a plain convolution, with weights that come nearest to its own.

A plain convolution is an `nn.Conv2d` without groups and dilation that pads with zeros. Each block takes its input
[N, in, H, W] and gives its output [N, out, H', W']; nothing but convolutions stands in it, so that it can do what the
convolution did: its weights are the least squares fit to the convolution's, as far as its shape allows. Squeeze-excite
only adds work, inverted residuals widen, and DiCE has activations and a map of fixed size inside: none of them can be
begun from a convolution's weights, so they are not among these.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgecnn.nets.blocks import ChannelShuffle, Fire, GhostConvolution

Size = tuple[int, int]  # height, width


class Substitute:
    """A kind of block that takes a convolution's place.

    `build` goes by the convolution's settings alone and not by its weights: a checkpoint rebuilds the block by it, and
    gives each layer the size of its stored weights.
    """

    reorders = False  # whether it gives its output in the order that `order` tells

    def refusal(self, layer: nn.Conv2d) -> str | None:
        """Return why the block cannot take the place of *layer*, a plain convolution; None where it can."""
        raise NotImplementedError

    def build(self, layer: nn.Conv2d) -> nn.Module:
        """Return the block, its weights as torch draws them."""
        raise NotImplementedError

    def order(self, layer: nn.Conv2d, scores: torch.Tensor) -> list[int]:
        """Return the filters of *layer* in the order in which the block can have them best.

        Args:
            layer: the convolution.
            scores: how much each filter matters, [out].
        """
        raise NotImplementedError

    def fit_(self, block: Any, layer: nn.Conv2d) -> None:
        """Give the *block* the weights that come nearest to those of *layer*, whose filters are in `order`."""
        raise NotImplementedError


class _Depthwise(Substitute):
    """One depthwise and one pointwise convolution (Howard et al. 2017, arXiv:1704.04861)."""

    def refusal(self, layer: nn.Conv2d) -> str | None:
        return "its kernel is 1x1" if layer.kernel_size == (1, 1) else None

    def build(self, layer: nn.Conv2d) -> nn.Module:
        n = _inputs(layer)
        depthwise = nn.Conv2d(n, n, _kernel(layer), _stride(layer), padding_of(layer), groups=n, bias=False)
        return nn.Sequential(depthwise, nn.Conv2d(n, layer.out_channels, 1, bias=layer.bias is not None))

    def fit_(self, block: Any, layer: nn.Conv2d) -> None:
        """Fit each input channel's filters [out, kh * kw] by a matrix of rank 1, its first singular vectors."""
        depthwise, pointwise = block
        weight = layer.weight.double().transpose(0, 1).flatten(2)  # [in, out, kh * kw]
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        root = values[:, :1].sqrt()
        depthwise.weight.copy_((right[:, 0] * root).reshape(depthwise.weight.shape))
        pointwise.weight.copy_((left[:, :, 0] * root).T[:, :, None, None])
        _copy_bias_(pointwise, layer)


class _ColumnRow(Substitute):
    """A column and then a row (Szegedy et al. 2016, arXiv:1512.00567), with as many channels between as go in."""

    def refusal(self, layer: nn.Conv2d) -> str | None:
        return f"its kernel is {'x'.join(map(str, layer.kernel_size))}" if 1 in layer.kernel_size else None

    def build(self, layer: nn.Conv2d) -> nn.Module:
        n, (height, width) = _inputs(layer), _kernel(layer)
        (down, right), (above, beside) = _stride(layer), padding_of(layer)
        return nn.Sequential(
            nn.Conv2d(n, n, (height, 1), (down, 1), (above, 0), bias=False),
            nn.Conv2d(n, layer.out_channels, (1, width), (1, right), (0, beside), bias=layer.bias is not None),
        )

    def fit_(self, block: Any, layer: nn.Conv2d) -> None:
        """Fit the matrix [in * kh, out * kw] by one of rank `in` (Jaderberg et al. 2014, arXiv:1405.3866).

        A column that is the mean over taps is one such matrix, and this is the nearest.
        """
        column, row = block
        n_out, n_in, height, width = layer.weight.shape
        matrix = layer.weight.double().permute(1, 2, 0, 3).reshape(n_in * height, n_out * width)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        rank = min(n_in, len(values))
        root = values[:rank].sqrt()
        column.weight.zero_()
        row.weight.zero_()
        column.weight[:rank] = (left[:, :rank] * root).T.reshape(rank, n_in, height, 1).to(column.weight)
        row.weight[:, :rank] = (
            (root[:, None] * right[:rank]).reshape(rank, n_out, 1, width).transpose(0, 1).to(row.weight)
        )
        _copy_bias_(row, layer)


class _Ghost(Substitute):
    """Half of the filters, and a depthwise 3x3 of each for another one (Han et al. 2020, arXiv:1911.11907)."""

    reorders = True

    def refusal(self, layer: nn.Conv2d) -> str | None:
        return "it has an odd number of filters" if layer.out_channels % 2 else None

    def build(self, layer: nn.Conv2d) -> nn.Module:
        half, bias = max(1, layer.out_channels // 2), layer.bias is not None
        return GhostConvolution(
            nn.Conv2d(_inputs(layer), half, _kernel(layer), _stride(layer), padding_of(layer), bias=bias),
            nn.Conv2d(half, half, 3, padding=1, groups=half, bias=bias),
        )

    def order(self, layer: nn.Conv2d, scores: torch.Tensor) -> list[int]:
        """Return the strongest half, and behind it for each of those the filter that it gives best of those left."""
        ranked = scores.argsort(descending=True, stable=True).tolist()
        half = len(ranked) // 2
        strong, weak = sorted(ranked[:half]), sorted(ranked[half:])
        _, errors = _from_others(layer, strong, weak)
        partner: dict[int, int] = {}
        taken: set[int] = set()
        for place in errors.flatten().argsort(stable=True).tolist():
            one, other = divmod(place, half)
            if other not in partner and one not in taken:
                partner[other] = one
                taken.add(one)
        return [*strong, *(weak[partner[number]] for number in range(half))]

    def fit_(self, block: Any, layer: nn.Conv2d) -> None:
        """Keep the first half of the filters, and fit each of the others by 3x3 taps of its partner, edges aside."""
        half = layer.out_channels // 2
        taps, _ = _from_others(layer, list(range(half)), list(range(half, 2 * half)))
        paired = taps.diagonal().T  # [half, 9]
        block.primary.weight.copy_(layer.weight[:half])
        block.cheap.weight.copy_(paired.reshape(block.cheap.weight.shape))
        if layer.bias is not None:
            block.primary.bias.copy_(layer.bias[:half])
            block.cheap.bias.copy_(layer.bias[half:] - paired.sum(1).to(layer.bias) * layer.bias[:half])


class _Fire(Substitute):
    """A Fire module (Iandola et al. 2016, arXiv:1602.07360) without activations: to half of the channels, then out.

    Half of the filters are pointwise, the other half have the convolution's kernel.
    """

    reorders = True

    def refusal(self, layer: nn.Conv2d) -> str | None:
        if layer.kernel_size == (1, 1):
            return "its kernel is 1x1"
        halves = tuple(side // 2 for side in layer.kernel_size)
        if any(side % 2 == 0 for side in layer.kernel_size) or padding_of(layer) != halves:
            return "its padding is not half of its kernel"
        return "it has a single filter" if layer.out_channels < 2 else None

    def build(self, layer: nn.Conv2d) -> nn.Module:
        n, n_out, bias = max(1, _inputs(layer) // 2), layer.out_channels, layer.bias is not None
        half = max(1, n_out // 2)
        return Fire(
            nn.Conv2d(_inputs(layer), n, 1, bias=False),
            nn.Conv2d(n, half, 1, _stride(layer), bias=bias),
            nn.Conv2d(n, max(1, n_out - half), _kernel(layer), _stride(layer), padding_of(layer), bias=bias),
        )

    def order(self, layer: nn.Conv2d, scores: torch.Tensor) -> list[int]:
        """Return the half first that loses the least as a point."""
        around = layer.weight.double().pow(2).sum((1, 2, 3)) - _centre(layer).pow(2).sum(1)
        ranked = around.argsort(stable=True).tolist()
        half = len(ranked) // 2
        return [*sorted(ranked[:half]), *sorted(ranked[half:])]

    def fit_(self, block: Any, layer: nn.Conv2d) -> None:
        """Fit all taps of all filters [.., in] by a matrix of as low a rank as the squeeze has channels."""
        half = block.pointwise.out_channels
        points, others = _centre(layer)[:half], layer.weight[half:].double()
        rows = torch.cat([points, others.permute(0, 2, 3, 1).reshape(-1, layer.in_channels)])
        _, _, right = torch.linalg.svd(rows, full_matrices=False)
        n = min(block.squeeze.out_channels, len(right))
        basis = right.new_zeros(block.squeeze.out_channels, layer.in_channels)
        basis[:n] = right[:n]
        block.squeeze.weight.copy_(basis[:, :, None, None])
        block.pointwise.weight.copy_((points @ basis.T)[:, :, None, None])
        block.spatial.weight.copy_(torch.einsum("oihw,ri->orhw", others, basis))
        if layer.bias is not None:
            block.pointwise.bias.copy_(layer.bias[:half])
            block.spatial.bias.copy_(layer.bias[half:])


class _Grouped(Substitute):
    """The convolution in two groups, and their shuffle (Zhang et al. 2018, arXiv:1707.01083)."""

    groups = 2
    reorders = True

    def refusal(self, layer: nn.Conv2d) -> str | None:
        if layer.in_channels % self.groups or layer.out_channels % self.groups:
            return f"its channels do not make {self.groups} groups"
        return None

    def build(self, layer: nn.Conv2d) -> nn.Module:
        n_in, n_out = (max(1, n // self.groups) * self.groups for n in (_inputs(layer), layer.out_channels))
        shape = (n_in, n_out, _kernel(layer), _stride(layer), padding_of(layer))
        convolution = nn.Conv2d(*shape, groups=self.groups, bias=layer.bias is not None)
        return nn.Sequential(convolution, ChannelShuffle(self.groups))

    def order(self, layer: nn.Conv2d, scores: torch.Tensor) -> list[int]:
        """Return filters of the first group and of the second in turn: each goes where more of its weight is."""
        first, second = layer.weight.double().pow(2).sum((2, 3)).reshape(layer.out_channels, 2, -1).sum(2).unbind(1)
        ranked = (second - first).argsort(stable=True).tolist()
        half = len(ranked) // 2
        return [index for pair in zip(sorted(ranked[:half]), sorted(ranked[half:]), strict=True) for index in pair]

    def fit_(self, block: Any, layer: nn.Conv2d) -> None:
        """Keep the weights that lie within the groups."""
        convolution = block[0]
        half = layer.in_channels // 2
        # What is shuffled later comes from the first group at even places, from the second at odd ones.
        convolution.weight.copy_(torch.cat([layer.weight[0::2, :half], layer.weight[1::2, half:]]))
        if layer.bias is not None:
            convolution.bias.copy_(torch.cat([layer.bias[0::2], layer.bias[1::2]]))


DEPTHWISE, NX1_1XN, GHOST, FIRE, GROUPED = _Depthwise(), _ColumnRow(), _Ghost(), _Fire(), _Grouped()


def not_plain(layer: nn.Module) -> str | None:
    """Return why *layer*, a convolution of some kind, is no plain one; None where it is.

    Example:
        >>> not_plain(nn.Conv2d(4, 4, 3, groups=4))
        'it is grouped'
    """
    if type(layer) is not nn.Conv2d:
        kind = type(layer).__name__
        return f"it is of a class of its own, {kind}" if isinstance(layer, nn.Conv2d) else f"it is a {kind}"
    if layer.groups != 1:
        return "it is grouped"
    if layer.dilation != (1, 1):
        return "it is dilated"
    if layer.padding_mode != "zeros":
        return f"its padding is {layer.padding_mode}"
    if layer.padding == "same" and any(side % 2 == 0 for side in layer.kernel_size):
        return "its padding is uneven"
    return None


def padding_of(layer: nn.Conv2d) -> Size:
    """Return the zeros that *layer* puts above and beside, where it may say `same` or `valid` as well."""
    if isinstance(layer.padding, str):
        height, width = layer.kernel_size
        return (height // 2, width // 2) if layer.padding == "same" else (0, 0)
    height, width = layer.padding
    return height, width


def _from_others(layer: nn.Conv2d, given: list[int], wanted: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the 3x3 taps that make each of the *wanted* filters of each one *given*, and the squares that are missed.

    A depthwise convolution behind *layer* moves its filters by the stride: the taps d of filter p for filter g are the
    least squares of |g - sum(d[y, x] * p moved by (y, x))|.

    Returns:
        taps [wanted, given, 9] and errors [wanted, given].
    """
    weight = layer.weight.double()
    strong, weak = weight[given], weight[wanted]
    _, _, height, width = weight.shape
    (down, right), n = _stride(layer), len(given)
    moved = weight.new_zeros(n, 9, weight.shape[1], height + 2 * down, width + 2 * right)
    target = weight.new_zeros(len(wanted), *moved.shape[2:])
    target[:, :, down : down + height, right : right + width] = weak
    for tap in range(9):
        y, x = (tap // 3) * down, (tap % 3) * right
        moved[:, tap, :, y : y + height, x : x + width] = strong
    columns, flat = moved.flatten(2), target.flatten(1)
    gram = columns @ columns.transpose(1, 2)  # [given, 9, 9]
    products = torch.einsum("pte,ge->gpt", columns, flat)
    taps = torch.einsum("pst,gpt->gps", torch.linalg.pinv(gram, hermitian=True), products)
    errors = flat.pow(2).sum(1)[:, None] - (taps * products).sum(2)
    return taps, errors


def _centre(layer: nn.Conv2d) -> torch.Tensor:
    height, width = layer.kernel_size
    return layer.weight[:, :, height // 2, width // 2].double()


def _copy_bias_(to: nn.Conv2d, layer: nn.Conv2d) -> None:
    if to.bias is not None and layer.bias is not None:
        to.bias.copy_(layer.bias)


def _inputs(layer: nn.Conv2d) -> int:
    return max(1, layer.in_channels)  # a lazy one does not know them yet


def _kernel(layer: nn.Conv2d) -> Size:
    height, width = layer.kernel_size
    return height, width


def _stride(layer: nn.Conv2d) -> Size:
    down, right = layer.stride
    return down, right
