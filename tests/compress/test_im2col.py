"""Convolutions by columns give what convolutions give, and are taken where they are worth it alone."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from edgecnn.compress.im2col import Columns, _Convolution, _pays


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_a_convolution(kernel: tuple[int, int], bias: bool) -> None:
    """In double precision, to the last digits: images higher than wide, more filters than channels."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 7, kernel, padding=(kernel[0] // 2, kernel[1] // 2), bias=bias).double()
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    leaves = [x, layer.weight, *([] if layer.bias is None else [layer.bias])]
    expected, found = layer(x), _Convolution.apply(x, layer.weight, layer.bias)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), leaves),
        torch.autograd.grad((expected * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_network_trains_the_same_through_it() -> None:
    """In bfloat16, batch norm and a stride about it: the gradients agree as far as eight bits go."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 96, 3, padding=1))
    x = torch.randn(8, 3, 8, 8)
    gradients = []
    for by_columns in (True, False):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            if by_columns:
                with Columns():
                    y = network(x)
            else:
                y = network(x)
        assert y.grad_fn is not None
        assert ("_Convolution" in y.grad_fn.name()) == by_columns
        functional.mse_loss(y.float(), torch.ones_like(y).float()).backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None])
    for mine, theirs in zip(*gradients, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs, rtol=0.05, atol=0.01 * float(theirs.abs().max()) + 1e-6)


class InPlace(nn.Module):
    """A block that writes its sum and its activation over what the convolution has given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(64, 64, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [n, 64, h, w] for *x* of the same shape."""
        y = self.conv(x)
        y += x.to(y.dtype)
        return self.act(y)  # type: ignore[no-any-return]


@pytest.mark.parametrize("checkpointed", [False, True])
def test_what_it_gives_can_be_written_over_and_forgotten(checkpointed: bool) -> None:
    """An activation in place, and a block that is run again for its gradients, then without columns."""
    torch.manual_seed(0)
    block, x = InPlace(), torch.randn(8, 64, 4, 4)
    gradients = []
    for by_columns in (True, False):
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), Columns() if by_columns else contextlib.nullcontext():
            y = checkpoint(block, x, use_reentrant=False) if checkpointed else block(x)
        functional.mse_loss(y.float(), torch.ones_like(y).float()).backward()
        gradients.append([parameter.grad.clone() for parameter in block.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == 2
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0.05, atol=0.01 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    ("layer", "shape", "pays"),
    [
        (nn.Conv2d(8, 512, 3, padding=1), (16, 8, 4, 4), True),
        (nn.Conv2d(8, 16, 3, padding=1), (16, 8, 4, 4), False),  # few filters for 256 positions
        (nn.Conv2d(8, 512, 3, padding=1, stride=2), (16, 8, 4, 4), False),
        (nn.Conv2d(8, 512, 3, padding=2, dilation=2), (16, 8, 4, 4), False),
        (nn.Conv2d(8, 512, 3), (16, 8, 4, 4), False),
        (nn.Conv2d(8, 512, 2, padding=1), (16, 8, 4, 4), False),
        (nn.Conv2d(8, 512, 3, padding=1, groups=8), (16, 8, 4, 4), False),
    ],
)
def test_only_what_keeps_the_size_and_has_many_filters_goes_by_columns(
    layer: nn.Conv2d, shape: tuple[int, ...], pays: bool
) -> None:
    """Anything else is left to the library."""
    with torch.autocast("cpu", torch.bfloat16):
        arguments = (layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        assert _pays(torch.zeros(shape), layer.weight, *arguments) == pays
        with Columns():
            inside = layer(torch.ones(shape))
        torch.testing.assert_close(inside, layer(torch.ones(shape)), rtol=0.02, atol=0.02)


def test_plain_numbers_are_taken_as_the_library_takes_them() -> None:
    """A network may call functional.conv2d with ints, with nothing but weights, and with one image alone."""
    x, weight = torch.ones(4, 8, 4, 4), torch.ones(512, 8, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert _pays(x, weight, None, 1, 1)
        with Columns():
            for arguments in (
                (x, weight),
                (x, weight, None, 1, 1),
                (x, weight, None, 2, 1),
                (x[0], weight, None, 1, 1),
            ):
                inside = functional.conv2d(*arguments)  # type: ignore[arg-type]
                assert inside.shape[-3] == 512


def test_padding_named_by_a_word_is_left_to_the_library() -> None:
    """`padding="same"` is a text, not two numbers."""
    layer = nn.Conv2d(8, 512, 3, padding="same")
    with torch.autocast("cpu", torch.bfloat16), Columns():
        assert layer(torch.ones(4, 8, 4, 4)).shape == (4, 512, 4, 4)
