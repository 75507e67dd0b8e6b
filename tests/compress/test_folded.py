"""Batch norm by folds gives what batch norm gives, and is taken where it is worth it alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgecnn.compress.folded import Folded, _BatchNorm, _pays


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return random images, channels innermost, with a mean and a spread that differ by channel."""
    torch.manual_seed(seed)
    spread, mean = torch.rand(2, 1, shape[1], 1, 1) * 3
    return (torch.randn(*shape) * (spread + 0.1) + mean).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 7, 53])
def test_outputs_and_gradients_are_those_of_batch_norm(channels: int) -> None:
    """To the last digits of float32, a channel that is the same everywhere among them."""
    x = images(4, channels, 6, 6)
    x[:, 0] = 0.25
    x.requires_grad_()
    weight, bias = torch.rand(channels, requires_grad=True), torch.rand(channels, requires_grad=True)
    leaves = [x, weight, bias]
    found, mean, var = _BatchNorm.apply(x, weight, bias, 1e-5)
    expected = functional.batch_norm(x, None, None, weight, bias, True)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(var, x.var((0, 2, 3), correction=0), atol=1e-6, rtol=1e-5)
    weights = images(4, channels, 6, 6, seed=1)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), leaves),
        torch.autograd.grad((expected * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.1, 0.3, None])
def test_a_network_trains_the_same_through_it(momentum: float | None) -> None:
    """In bfloat16, with the running statistics of two steps: the gradients agree as far as eight bits go."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 37, 3, padding=1), nn.BatchNorm2d(37, momentum=momentum), nn.ReLU())
    plain.to(memory_format=torch.channels_last)
    folded = copy.deepcopy(plain)
    for step in range(2):
        x, goal = images(8, 3, 32, 32, seed=step), images(8, 37, 32, 32, seed=9 + step)
        for network in (plain, folded):
            network.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                if network is folded:
                    with Folded():
                        y = network[1](network[0](x))
                else:
                    y = network[1](network[0](x))
            assert y.dtype == torch.bfloat16
            assert y.grad_fn is not None
            assert ("_BatchNorm" in y.grad_fn.name()) == (network is folded)
            functional.mse_loss(network[2](y).float(), goal).backward()
        torch.testing.assert_close(dict(folded.named_buffers()), dict(plain.named_buffers()), atol=1e-5, rtol=1e-4)
        for mine, theirs in zip(folded.parameters(), plain.parameters(), strict=True):
            assert mine.grad is not None
            assert theirs.grad is not None
            bound = 0.02 * float(theirs.grad.abs().max()) + 1e-4
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=0.05, atol=bound)


@pytest.mark.parametrize(
    ("x", "pays"),
    [
        (images(128, 7, 32, 32), True),
        (images(128, 16, 32, 32), False),  # whole vectors as it is
        (images(128, 7, 8, 8), False),  # too few values
        (images(127, 37, 9, 9), False),  # positions that sixteen does not divide
        (images(128, 7, 32, 32).contiguous(), False),  # images by planes
        (torch.rand(40_000, 7), False),
    ],
)
def test_it_is_taken_where_it_pays(x: torch.Tensor, pays: bool) -> None:
    """Many images of an odd number of channels, innermost."""
    assert _pays(x) == pays
    layer = nn.BatchNorm2d(7) if x.ndim == 4 else nn.BatchNorm1d(7)
    if x.shape[1] == 7:
        expected = copy.deepcopy(layer)(x)
        with Folded():
            torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)
            layer.eval()
            assert layer(x).grad_fn.name() != "_BatchNormBackward"
