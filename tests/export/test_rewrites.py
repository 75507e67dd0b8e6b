"""Layers written with TFLite's few are torch's own, whatever their sizes."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgecnn.export import rewrites
from edgecnn.export.lift import lifted


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_transposed_convolutions_are_exact(groups: int, dilation: int) -> None:
    """Kernel, stride, padding, output padding, dilation and groups: every combination gives torch's values."""
    torch.manual_seed(0)
    x, tried = torch.randn(2, 4, 5, 6), 0
    for kernel, stride, padding, more in product((1, 2, 3, 5), (1, 2, 3), (0, 1, 4), (0, 1, 2)):
        if more >= max(stride, dilation):
            continue
        weight, bias = torch.randn(4, 8 // groups, kernel, kernel + 1), torch.randn(8)
        try:
            wanted = functional.conv_transpose2d(x, weight, bias, stride, padding, more, groups, dilation)
        except RuntimeError:  # an output of no size
            continue
        given = rewrites.conv_transpose(x, weight, bias, [stride], [padding], [more], groups, [dilation])
        torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-4)
        tried += 1
    assert tried > 40


def test_transposed_convolutions_over_time_are_exact() -> None:
    """One axis works as two."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 9), torch.randn(4, 3, 5)
    given = rewrites.conv_transpose(x, weight, None, [2], [1], [1])
    torch.testing.assert_close(given, functional.conv_transpose1d(x, weight, None, 2, 1, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pools_are_exact(ceil_mode: bool) -> None:
    """Padding that counts or does not, windows over the border, a divisor of one's own, odd sizes."""
    torch.manual_seed(0)
    for kernel, stride, shape in product((2, 3, 5), (1, 2, 4), ((7, 9), (8, 11))):
        x = torch.randn(1, 2, *shape)
        for padding in range(kernel // 2 + 1):
            sizes = ([kernel, kernel], [stride, stride], [padding, padding])
            wanted = functional.max_pool2d(x, kernel, stride, padding, 1, ceil_mode)
            assert torch.equal(rewrites.max_pool2d(x, *sizes, [1, 1], ceil_mode), wanted)
            for counts, divisor in product((False, True), (None, 3)):
                wanted = functional.avg_pool2d(x, kernel, stride, padding, ceil_mode, counts, divisor)
                torch.testing.assert_close(rewrites.avg_pool2d(x, *sizes, ceil_mode, counts, divisor), wanted)


def test_adaptive_pools_are_exact() -> None:
    """Windows of equal and of unequal size."""
    torch.manual_seed(0)
    for height, width, rows, columns in product(range(3, 9), (4, 7, 12), range(1, 5), (1, 3, 7)):
        x = torch.randn(1, 2, height, width)
        wanted = functional.adaptive_avg_pool2d(x, (rows, columns))
        torch.testing.assert_close(rewrites.adaptive_avg_pool2d(x, (rows, columns)), wanted)
        wanted = functional.adaptive_max_pool2d(x, (rows, columns))
        assert torch.equal(rewrites.adaptive_max_pool2d(x, (rows, columns)), wanted)


def test_pools_over_volumes_are_exact() -> None:
    """A pool over height and width, then one over depth."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 9, 8)
    maximum, mean = rewrites.over_volume(rewrites.max_pool2d), rewrites.over_volume(rewrites.avg_pool2d)
    sizes = ([2, 3, 3], [1, 2, 2], [0, 1, 1])
    wanted = functional.max_pool3d(x, (2, 3, 3), (1, 2, 2), (0, 1, 1), 1, True)
    assert torch.equal(maximum(x, *sizes, [1], True), wanted)
    wanted = functional.avg_pool3d(x, (2, 3, 3), (1, 2, 2), (0, 1, 1), True, False)
    torch.testing.assert_close(mean(x, *sizes, True, False), wanted)


def test_pixels_unshuffled_are_exact() -> None:
    """The channels come in torch's order."""
    x = torch.arange(2 * 3 * 6 * 8.0).reshape(2, 3, 6, 8)
    assert torch.equal(rewrites.pixel_unshuffle(x, 2), functional.pixel_unshuffle(x, 2))


class OverTime(nn.Module):
    """Most layers over [N, C, W], between convolutions and behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.act = nn.Conv1d(2, 4, 3, padding="same"), nn.BatchNorm1d(4), nn.ReLU(inplace=True)
        self.down, self.up, self.gate = nn.MaxPool1d(2), nn.ConvTranspose1d(4, 4, 4, 2, 1), nn.PReLU(4)
        self.causal = nn.Conv1d(4, 4, 3, dilation=2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map [N, 2, W] to five tensors."""
        y = self.act(self.norm(self.first(x)))
        z = self.gate(self.up(self.down(y)))
        w = y + self.causal(functional.pad(z, (4, 0))) * torch.ones(1, 4, 1)
        long = functional.interpolate(torch.cat([w, z], 1), scale_factor=2)
        return (
            w.mean(-1),
            long,
            functional.avg_pool1d(w, 2),
            w[:, :, -1],
            functional.adaptive_avg_pool1d(w, 4)[:, :, 1:],
        )


def test_networks_over_time_are_lifted_whole() -> None:
    """The values stay; between the first and the last layer there is no change of dimensions."""
    torch.manual_seed(0)
    module, x = OverTime().eval(), torch.randn(1, 2, 16)
    graph = lifted(module, (x,))
    for given, wanted in zip(graph(x), module(x), strict=True):
        torch.testing.assert_close(given, wanted)
    targets = [str(node.target) for node in graph.graph.nodes]  # type: ignore[union-attr]
    assert not [target for target in targets if "1d" in target]
    activations = [node for node in graph.graph.nodes if node.target is torch.ops.aten.unsqueeze.default]  # type: ignore[union-attr]
    # Of the input, three weights and one constant; no activation in between.
    assert len(activations) == 5
    assert sum("squeeze.dim" in target for target in targets) == 4  # before outputs that have no such axis


def test_networks_over_images_are_left_alone() -> None:
    """A network without a convolution over time is the same object."""
    module = nn.Sequential(nn.Conv2d(1, 2, 3)).eval()
    assert lifted(module, (torch.zeros(1, 1, 8, 8),)) is module


def test_pools_that_onnx_gets_wrong_are_taken_apart() -> None:
    """The values stay, and no such pool is left; a network without one is the same object."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.AvgPool2d(2, divisor_override=3), nn.AvgPool2d(2, ceil_mode=True), nn.AdaptiveMaxPool2d(3)
    )
    x = torch.randn(1, 2, 15, 13)
    program = rewrites.with_plain_pools(module.eval(), (x,))
    torch.testing.assert_close(program.module()(x), module(x))
    nodes = [node for node in program.graph.nodes if "pool" in str(node.target)]
    assert not [node for node in nodes if "adaptive" in str(node.target)]
    means = [node for node in nodes if node.target is torch.ops.aten.avg_pool2d.default]
    assert [len(node.args) for node in means] == [3, 3]
    plain = nn.AvgPool2d(2)
    assert rewrites.with_plain_pools(plain, (x,)) is plain
