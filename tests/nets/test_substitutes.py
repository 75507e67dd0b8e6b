"""Blocks in place of plain convolutions: same shapes, and weights that come nearest to the convolution's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.checkpoint import SUBSTITUTES
from edgecnn.nets.substitutes import Substitute, not_plain

LAYERS = {
    "padded": nn.Conv2d(6, 8, 3, padding=1),
    "strided": nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
    "valid": nn.Conv2d(6, 8, 3),
    "same": nn.Conv2d(6, 8, 5, padding="same"),
    "uneven strides": nn.Conv2d(6, 8, (3, 5), stride=(1, 2), padding=(1, 2)),
    "even kernel": nn.Conv2d(6, 8, 4, stride=2, padding=1),
}


def fitted(block: str, layer: nn.Conv2d) -> tuple[nn.Module, list[int]]:
    """Return the block in place of *layer*, fitted in double precision, and the order of its filters."""
    kind: Substitute = SUBSTITUTES.load(block)
    layer = layer.double()
    order = list(range(layer.out_channels))
    with torch.no_grad():
        if kind.reorders:
            order = kind.order(layer, layer.weight.flatten(1).norm(dim=1))
            layer.weight.copy_(layer.weight[order])
            if layer.bias is not None:
                layer.bias.copy_(layer.bias[order])
        made = kind.build(layer).double()
        kind.fit_(made, layer)
    return made, order


def gap(block: str, layer: nn.Conv2d) -> float:
    """Return how far the fitted block is from *layer* on random inputs, as a share of the outputs' norm."""
    made, _ = fitted(block, layer)
    x = torch.randn(2, layer.in_channels, 9, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        return float((made(x) - layer(x)).norm() / layer(x).norm())


def seeded(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Return random numbers, the same each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain(weight: torch.Tensor, bias: torch.Tensor | None = None, **how: int) -> nn.Conv2d:
    """Return a convolution of these weights."""
    n_out, n_in, height, width = weight.shape
    layer = nn.Conv2d(n_in, n_out, (height, width), bias=bias is not None, **how)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None and layer.bias is not None:
            layer.bias.copy_(bias)
    return layer


@pytest.mark.parametrize("block", SUBSTITUTES.names())
@pytest.mark.parametrize("which", LAYERS)
def test_a_block_gives_the_shape_of_the_convolution_or_says_why_it_cannot(block: str, which: str) -> None:
    """Strides, paddings and kernels of all kinds; what is fitted is nearer to the convolution than zeros are."""
    layer, kind = LAYERS[which], SUBSTITUTES.load(block)
    reason = kind.refusal(layer)
    if reason is not None:
        assert (block, reason) == ("fire", "its padding is not half of its kernel")
        return
    made, _ = fitted(block, plain(layer.weight, layer.bias, stride=layer.stride, padding=layer.padding))
    x = torch.zeros(1, 6, 9, 11, dtype=torch.float64)
    assert made(x).shape == layer.double()(x).shape
    assert gap(block, plain(layer.weight, layer.bias, stride=layer.stride, padding=layer.padding)) < 0.95


@pytest.mark.parametrize("how", [{"padding": 1}, {"stride": 2, "padding": 1}, {}])
def test_a_separable_convolution_is_reproduced(how: dict[str, int]) -> None:
    """A filter for each input channel, and how much each output takes of it: depthwise-separable to rounding."""
    weight = seeded((8, 6, 1, 1)) * seeded((1, 6, 3, 3), 1)
    assert gap("depthwise", plain(weight, seeded((8,), 2), **how)) < 1e-6


@pytest.mark.parametrize("how", [{"padding": 1}, {"stride": 2, "padding": 1}, {}])
def test_columns_times_rows_are_reproduced(how: dict[str, int]) -> None:
    """Each input channel has a column of its own, and each output a row for it: Nx1-1xN to rounding."""
    weight = seeded((8, 6, 1, 3)) * seeded((1, 6, 3, 1), 1)
    assert gap("nx1-1xn", plain(weight, seeded((8,), 2), **how)) < 1e-6


def test_columns_and_rows_are_nearer_than_the_mean_over_taps() -> None:
    """The mean of a kernel's rows in each of its rows is one product of a column and a row; the fit is at least it."""
    layer = plain(seeded((8, 6, 3, 3)), padding=1)
    mean = plain(layer.weight.detach().mean(2, keepdim=True).expand(-1, -1, 3, -1), padding=1).double()
    x = seeded((2, 6, 9, 11)).double()
    with torch.no_grad():
        of_mean = float((mean(x) - layer.double()(x)).norm() / layer.double()(x).norm())
    assert gap("nx1-1xn", layer) < 0.8 * of_mean


@pytest.mark.parametrize("how", [{"padding": 1}, {"stride": 2, "padding": 1}, {}])
def test_filters_that_are_multiples_of_others_are_reproduced_by_ghosts(how: dict[str, int]) -> None:
    """The stronger of each pair is kept, the other is it times a number, biases included."""
    strong = seeded((4, 6, 3, 3))
    weight = torch.cat([0.5 * strong[[2, 0, 3, 1]], strong])[[0, 4, 1, 5, 6, 2, 3, 7]]
    layer = plain(weight, seeded((8,), 2), **how)
    _, order = fitted("ghost", plain(weight, **how))
    assert sorted(order[:4]) == [1, 3, 4, 7]
    assert gap("ghost", layer) < 1e-6


def test_a_ghost_can_be_its_partner_moved() -> None:
    """The depthwise 3x3 behind a 1x1 makes a filter of neighbouring places: here it is given back but at the edges."""
    strong = seeded((4, 6, 1, 1))
    wide = torch.zeros(8, 6, 3, 3)
    wide[:4, :, 1, 1] = 3 * strong[:, :, 0, 0]
    wide[4:, :, 1, 2] = strong[:, :, 0, 0]
    layer = plain(wide, padding=1)
    made, _ = fitted("ghost", layer)
    x = seeded((1, 6, 9, 11)).double()
    with torch.no_grad():
        missed = (made(x) - layer(x)).abs()[..., 1:-1, 1:-1]
    assert float(missed.max()) < 1e-6


def test_fire_reproduces_filters_of_few_inputs_of_which_half_are_points() -> None:
    """All filters see three mixtures of the six inputs, half of them at one place alone."""
    mixtures = seeded((3, 6), 1)
    weight = torch.einsum("orhw,ri->oihw", seeded((8, 3, 3, 3)), mixtures)
    weight[[0, 3, 5, 6]] *= torch.zeros(3, 3).index_put_((torch.tensor(1), torch.tensor(1)), torch.tensor(1.0))
    assert gap("fire", plain(weight, seeded((8,), 2), padding=1)) < 1e-6
    assert gap("fire", plain(weight, seeded((8,), 2), padding=1, stride=2)) < 1e-6


def test_groups_that_are_there_are_found() -> None:
    """Filters that see one half of the inputs alone are given back, in whatever order they stand."""
    weight = seeded((8, 6, 3, 3))
    weight[[0, 1, 4, 6], :3] = 0
    weight[[2, 3, 5, 7], 3:] = 0
    assert gap("grouped", plain(weight, seeded((8,), 2), padding=1)) < 1e-6


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Conv2d(8, 8, 3, groups=2), "it is grouped"),
        (nn.Conv2d(8, 8, 3, groups=8), "it is grouped"),
        (nn.Conv2d(8, 8, 3, dilation=2), "it is dilated"),
        (nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), "its padding is reflect"),
        (nn.Conv2d(8, 8, 4, padding="same"), "its padding is uneven"),
        (nn.ConvTranspose2d(8, 8, 3), "it is a ConvTranspose2d"),
        (nn.Conv1d(8, 8, 3), "it is a Conv1d"),
        (type("Own", (nn.Conv2d,), {})(8, 8, 3), "it is of a class of its own, Own"),
        (nn.Conv2d(8, 8, 3), None),
    ],
)
def test_a_convolution_that_is_not_plain_is_named_so(layer: nn.Module, reason: str | None) -> None:
    """Grouped, dilated, otherwise padded, transposed, or of the user's own class."""
    assert not_plain(layer) == reason


@pytest.mark.parametrize(
    ("block", "layer", "reason"),
    [
        ("depthwise", nn.Conv2d(8, 8, 1), "its kernel is 1x1"),
        ("nx1-1xn", nn.Conv2d(8, 8, (1, 3)), "its kernel is 1x3"),
        ("fire", nn.Conv2d(8, 8, 1), "its kernel is 1x1"),
        ("ghost", nn.Conv2d(8, 7, 3), "it has an odd number of filters"),
        ("grouped", nn.Conv2d(3, 8, 3), "its channels do not make 2 groups"),
    ],
)
def test_a_block_that_does_not_fit_says_why(block: str, layer: nn.Conv2d, reason: str) -> None:
    """Kernels without room, and channels that do not divide."""
    assert SUBSTITUTES.load(block).refusal(layer) == reason
