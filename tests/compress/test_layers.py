"""Layers that go whole: shapes mended, work handed on, and a checkpoint that rebuilds it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import small_nets
import torch
from torch import nn

from edgecnn.checkpoint import Checkpoint
from edgecnn.compress.prune import cut, size_of
from edgecnn.compress.unit import FILTERS, LAYER
from edgecnn.compress.units import find_units
from edgecnn.errors import EdgecnnError
from edgecnn.nets import NETS
from edgecnn.nets.network import build
from edgecnn.nets.resnet import ResNet


def test_a_linear_layer_hands_its_work_to_the_next() -> None:
    """Without an activation between, the network without the layer gives the very same outputs."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 12), nn.Linear(12, 3)).eval()
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    norm.running_mean.uniform_(-1, 1)
    x = torch.randn(5, 6)
    smaller = cut(net, (6,), {"0": 1, "2": 1})
    assert set(smaller.removed) == {"0", "1", "2"}
    assert [type(layer).__name__ for layer in smaller.module] == ["Identity", "Identity", "Identity", "Linear"]  # type: ignore[arg-type]
    torch.testing.assert_close(smaller.module(x), net(x))


def test_a_pointwise_convolution_hands_its_work_to_the_next() -> None:
    """The shift of a norm lands in the next norm's mean where the next convolution has no bias."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4),
        nn.Flatten(), nn.Linear(64, 2),
    ).eval()  # fmt: skip
    nn.init.uniform_(net[1].bias)  # type: ignore[arg-type]
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(cut(net, (3, 6, 6), {"0": 1}).module(x), net(x))


def test_a_layer_before_a_flatten_hands_over_each_place() -> None:
    """A channel that becomes several inputs of a linear layer is mended at all of them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(), nn.Linear(32, 5)).eval()
    x = torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(cut(net, (3, 2, 2), {"0": 1}).module(x), net(x))


def test_an_activation_goes_with_its_layer() -> None:
    """A sigmoid would count twice, and a ReLU behind the first layer would cut the input."""
    net = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 6))
    assert set(cut(net, (6,), {"2": 1}).removed) == {"2", "3"}
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))
    made = cut(net, (6,), {"0": 1})
    assert set(made.removed) == {"0", "1"}
    first, _, last = net
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    x = torch.randn(4, 6)
    with torch.no_grad():
        torch.testing.assert_close(made.module(x), last(first(x)))


def test_a_residual_block_gives_what_it_is_given() -> None:
    """Taking out a block equals the identity in its place."""
    module = ResNet(2).eval()
    small = cut(module, (3, 16, 16), {"layer2.1": 1}).module
    expected = copy.deepcopy(module)
    expected.layer2[1] = nn.Identity()
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(small(x), expected(x))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["edgecnn:resnet20", "edgecnn:vgg16-compact", "edgecnn:digits-cnn"])
def test_a_checkpoint_rebuilds_what_was_cut(model: str, tmp_path: Path) -> None:
    """Layers out, filters out, saved and read again: the same outputs."""
    network = build(model)
    shape = network.input_shape or (3, 32, 32)
    units = find_units(network.module, shape)
    filters, whole = list(units.of_kind(FILTERS)), list(units.of_kind(LAYER))
    layers = [name for name in whole[1::3] if "conv1" not in name]
    inside = tuple(f"{name}." for name in layers)
    cuts = {name: 0.4 for name in filters if name not in layers and not name.startswith(inside)}
    smaller = cut(network.module, shape, cuts | dict.fromkeys(layers, 1.0), units=units)
    assert size_of(smaller.module, shape).params < 0.7 * size_of(network.module, shape).params
    path = tmp_path / "small.safetensors"
    Checkpoint(NETS.rows[model.partition(":")[2]], removed=smaller.removed, input_shape=shape).save(
        path, smaller.module
    )
    x = torch.randn(2, *shape)
    assert torch.equal(build(str(path)).module(x), smaller.module(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [small_nets.mobilenet_v3, small_nets.densenet, small_nets.built("edgecnn:vgg16-compact")]
)
def test_every_layer_that_can_go_leaves_a_network_that_runs(make: Callable[[], nn.Module]) -> None:
    """Whatever find_units offers whole can be taken out: one by one, and as many as go together."""
    module, shape = make(), (3, 32, 32)
    units = find_units(module, shape)
    names = list(units.of_kind(LAYER))
    for name in names[:: max(1, len(names) // 3)]:
        assert cut(module, shape, {name: 1}, units=units).module(torch.zeros(1, *shape)).shape == (1, 10)


@pytest.mark.slow
def test_a_layer_that_must_stay_is_told_with_the_reason() -> None:
    """The output layer, and a convolution that changes the resolution."""
    module = build("edgecnn:resnet20").module
    with pytest.raises(EdgecnnError, match="layer as a whole cannot be cut: its filters are outputs"):
        cut(module, (3, 16, 16), {"linear": 1})
    with pytest.raises(EdgecnnError, match="changes the resolution"):
        cut(module, (3, 16, 16), {"layer2.0.conv1": 1})
