"""Building blocks: what each computes, against the same written out."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch
from torch import nn

from edgecnn.nets import blocks, operations, size, variants

MODULES = [
    operations,
    size,
    variants,
    *(importlib.import_module(f"edgecnn.nets.blocks.{found.name}") for found in pkgutil.iter_modules(blocks.__path__)),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_run(module: object) -> None:
    """Each example in a docstring gives what stands beside it."""
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_every_block_has_a_docstring() -> None:
    """Each name that the package exports says what it is."""
    assert [name for name in blocks.__all__ if not getattr(blocks, name).__doc__] == []


def test_a_shuffle_deals_out_groups_in_turn() -> None:
    """Output channel j * g + i is input channel i * (n / g) + j."""
    n, groups = 12, 4
    shuffled = blocks.ChannelShuffle(groups)(torch.arange(float(n)).reshape(1, n, 1, 1)).flatten().tolist()
    assert shuffled == [i * (n // groups) + j for j in range(n // groups) for i in range(groups)]


def test_the_cheap_half_of_a_ghost_comes_first() -> None:
    """The first half of the output is the depthwise convolution of the second."""
    torch.manual_seed(0)
    ghost = blocks.Ghost(4, 8, activation=False).eval()
    x = torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        cheap, primary = ghost(x).split(4, 1)
        expected = ghost.primary(x)
        scale = (1 + ghost.bn.eps) ** -0.5
        torch.testing.assert_close(primary, expected * scale)
        torch.testing.assert_close(cheap, ghost.cheap(expected) * scale)


def test_a_dice_unit_looks_along_all_three_axes() -> None:
    """The three depthwise convolutions of a DiCE unit are those of the volume turned by hand."""
    torch.manual_seed(0)
    dice = blocks.Dice(4, 6, (5, 3)).eval()
    x = torch.randn(2, 4, 5, 3)
    with torch.no_grad():
        views = torch.stack(
            [
                dice.over_channels(x),
                torch.stack([dice.over_rows(x.permute(0, 2, 1, 3))[:, h] for h in range(5)], 2),
                torch.stack([dice.over_columns(x.permute(0, 3, 2, 1))[:, w].mT for w in range(3)], 3),
            ],
            2,
        )
        # Shuffled, the three views of a channel are neighbours; batch norm as it begins only scales.
        fused = dice.fuse(torch.relu(views * (1 + dice.bn.eps) ** -0.5).flatten(1, 2))
        torch.testing.assert_close(dice(x), dice.project(fused) * dice.weights(fused))
        assert dice.fuse(torch.zeros(1, 12, 5, 3)).shape == (1, 4, 7, 5)


@pytest.mark.parametrize(
    ("in_channels", "out", "size"), [(8, 12, 6), (16, 32, 4), (6, 9, 5)], ids=lambda value: str(value)
)
def test_a_dice_unit_has_the_parameters_of_its_formula(in_channels: int, out: int, size: int) -> None:
    """9a + 9H + 9W + 6a + 3a + 2a + 9ab / gcd(a, b) + 2b + a floor(a/4) + floor(a/4) b."""
    a, b, gcd = in_channels, out, {(8, 12): 4, (16, 32): 16, (6, 9): 3}[in_channels, out]
    expected = 9 * a + 18 * size + 11 * a + 9 * a * b // gcd + 2 * b + a * (a // 4) + (a // 4) * b
    assert sum(p.numel() for p in blocks.Dice(a, b, (size, size)).parameters()) == expected


@pytest.mark.parametrize(
    "make",
    [
        blocks.bottleneck,
        blocks.grouped_bottleneck,
        blocks.inverted_residual,
        blocks.ghost_bottleneck,
        blocks.residual_fire,
    ],
    ids=lambda make: make.__name__,
)
def test_a_residual_block_adds_its_input(make: type[nn.Module]) -> None:
    """Without projection, what a block gives for a body of zeros is its input (behind the activation, where one is)."""
    block = make(8, 8, 8)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        x = torch.rand(1, 8, 4, 4)
        torch.testing.assert_close(block.eval()(x), x)


def test_a_squeeze_of_zeros_halves() -> None:
    """Squeeze and excite with weights of zero scales by sigmoid(0)."""
    block = blocks.SqueezeExcite(8)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        x = torch.randn(2, 8, 3, 3)
        torch.testing.assert_close(block(x), x / 2)


def test_the_second_ghost_bottleneck_strides_without_depthwise() -> None:
    """With groups the middle convolution is there only where it strides; without, wherever the block projects."""
    kinds = {}
    for groups in (1, 4):
        block = blocks.ghost_bottleneck(8, 16, 8, project=True, groups=groups)
        kinds[groups] = sum(isinstance(layer, nn.Conv2d) for layer in block.body)
    assert kinds == {1: 1, 4: 0}
