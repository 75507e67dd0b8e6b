"""Blocks in a network: the channels around follow, and what cannot give way is named with the reason."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from edgecnn.checkpoint import SUBSTITUTES, Checkpoint
from edgecnn.compress.judging import Trial
from edgecnn.compress.prune import cut, size_of
from edgecnn.compress.unit import FILTERS, LAYER, SUBSTITUTION, Fixed, kind_of
from edgecnn.compress.units import find_units
from edgecnn.datasets import Dataset
from edgecnn.errors import EdgecnnError

SHAPE = (3, 12, 12)
ALL = tuple(SUBSTITUTES.names())


class Net(nn.Module):
    """A stem, a residual block, and a strided layer, whose outputs a linear layer takes flat."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.act = nn.PReLU(8)
        self.linear = nn.Linear(8 * 6 * 6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 3, 12, 12] to [N, 4]."""
        x = torch.relu(self.bn(self.stem(x)))
        x = torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        return self.linear(self.act(self.down(x)).flatten(1))  # type: ignore[no-any-return]


def make() -> nn.Module:
    """Return the network with statistics and slopes that differ from channel to channel."""
    torch.manual_seed(0)
    net = Net().eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert tensor is not None
                tensor.data.uniform_(0.5, 1.5)
        if isinstance(layer, nn.PReLU):
            layer.weight.data.uniform_()
    return net


def twins(layer: nn.Conv2d) -> None:
    """Make half of the filters of *layer* small multiples of the others, here and there."""
    with torch.no_grad():
        for weak, strong in ((0, 5), (2, 1), (3, 7), (6, 4)):
            layer.weight[weak] = 0.3 * layer.weight[strong]
            if layer.bias is not None:
                layer.bias[weak] = 0.3 * layer.bias[strong]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """The network with filters that ghosts can give."""
    made = make()
    for name in ("stem", "conv1", "conv2", "down"):
        twins(made.get_submodule(name))  # type: ignore[arg-type]
    return made


def outputs(module: nn.Module) -> torch.Tensor:
    """Return what *module* gives for random inputs."""
    with torch.no_grad():
        return module(torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["conv1", "conv2", "down"])
def test_the_channels_around_follow_the_order_of_a_block(net: nn.Module, name: str) -> None:
    """Norms, slopes, a residual sum, the linear layer behind a flattened map: a ghost that fits changes no output."""
    small = cut(net, SHAPE, {f"{name}:ghost": 1})
    assert small.substituted == {name: "ghost"}
    torch.testing.assert_close(outputs(small.module), outputs(net), rtol=0, atol=1e-5)
    assert size_of(small.module, SHAPE).macs < size_of(net, SHAPE).macs


def test_several_blocks_at_once(net: nn.Module) -> None:
    """What one reorders is what the next one is fitted to."""
    small = cut(net, SHAPE, {"conv1:ghost": 1, "conv2:ghost": 1, "down:ghost": 1})
    torch.testing.assert_close(outputs(small.module), outputs(net), rtol=0, atol=1e-5)
    with_depthwise = cut(net, SHAPE, {"conv1:ghost": 1, "conv2:depthwise": 1})
    alone = cut(net, SHAPE, {"conv2:depthwise": 1})
    torch.testing.assert_close(outputs(with_depthwise.module), outputs(alone.module), rtol=0, atol=1e-5)


def test_two_blocks_cannot_reorder_the_same_channels(net: nn.Module) -> None:
    """The stem and the end of the residual block give the same channels."""
    with pytest.raises(EdgecnnError, match=r"^conv2:ghost reorders the filters that stem:ghost does; cut it alone$"):
        cut(net, SHAPE, {"stem:ghost": 1, "conv2:ghost": 1})


def test_filters_are_cut_with_a_block_elsewhere_and_behind_one(net: nn.Module) -> None:
    """The cut equals the masked network still, which `cut` sees to; a ghost loses its filters by two."""
    small = cut(net, SHAPE, {"down:ghost": 1, "conv1": 0.5})
    assert small.module.get_submodule("conv1").weight.shape[0] == 4  # type: ignore[union-attr,index]
    again = find_units(small.module, SHAPE).of_kind(FILTERS)
    assert again["down.primary"].atoms == 4
    smaller = cut(small.module, SHAPE, {"down.primary": 0.5}).module
    assert smaller.get_submodule("linear").weight.shape == (4, 4 * 36)  # type: ignore[union-attr]


def test_every_layer_has_each_block_or_the_reason(net: nn.Module) -> None:
    """Nothing is passed over in silence."""
    units = find_units(net, SHAPE, ALL)
    found = set(units.of_kind(SUBSTITUTION)) | {fixed.name for fixed in units.unsubstituted}
    assert found == {f"{layer}:{block}" for layer in ("stem", "conv1", "conv2", "down") for block in ALL}
    assert Fixed("stem:grouped", "its channels do not make 2 groups") in units.unsubstituted
    assert find_units(net, SHAPE).of_kind(SUBSTITUTION) == {}


class Odd(nn.Module):
    """Layers that cannot give way."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.by_weight = nn.Conv2d(8, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.again = self.twice
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 3, H, W] to [N, 4]."""
        x = self.dilated(self.grouped(self.read(x) / self.read.kernel_size[0]))
        x = torch.relu(nn.functional.conv2d(x, self.by_weight.weight, padding=1))
        return self.last(torch.relu(self.again(self.twice(x)))).mean((2, 3))  # type: ignore[no-any-return]


def test_layers_that_must_stay_are_named_with_the_reason() -> None:
    """Grouped, dilated, used by the network's own code, reached by two names, or the network's output."""
    units = find_units(Odd(), SHAPE, ("depthwise", "ghost"))
    reasons = {fixed.name: fixed.reason for fixed in units.unsubstituted}
    assert units.of_kind(SUBSTITUTION) == {}
    assert reasons == {
        "read:depthwise": "the network does not run with a block in its place",
        "read:ghost": "its filters cannot change places: they only go together",
        "grouped": "it is grouped",
        "dilated": "it is dilated",
        "by_weight": "the network does not run it as a layer of one input",
        "twice": "it is again as well",
        "last:depthwise": "its kernel is 1x1",
        "last:ghost": "its filters cannot change places: its filters are outputs of the network",
    }
    with pytest.raises(EdgecnnError, match=r"^grouped: ghost cannot take its place: it is grouped$"):
        cut(Odd(), SHAPE, {"grouped:ghost": 1})


def test_a_name_with_a_typing_error_is_met_with_the_near_match(net: nn.Module) -> None:
    """Of the block, and of the layer."""
    with pytest.raises(EdgecnnError, match=r"unknown block 'gost'.*did you mean 'ghost'\?"):
        cut(net, SHAPE, {"conv1:gost": 1})
    with pytest.raises(EdgecnnError, match=r"unknown substitution 'conv3:ghost'.*did you mean"):
        cut(net, SHAPE, {"conv3:ghost": 1})
    assert kind_of("a:b", 0.5) == FILTERS
    assert kind_of("a:b", 1) == LAYER


def test_weights_that_are_no_numbers_are_named(net: nn.Module) -> None:
    """In one line, before anything is fitted to them."""
    broken = copy.deepcopy(net)
    broken.get_submodule("conv1").weight.data[0, 0, 0, 0] = float("nan")  # type: ignore[index,union-attr]
    units = find_units(net, SHAPE, ("depthwise",))
    with pytest.raises(EdgecnnError, match=r"^conv1: its weights contain NaN or infinite values"):
        cut(broken, SHAPE, {"conv1:depthwise": 1}, units=units)


def test_a_checkpoint_rebuilds_the_blocks(net: nn.Module, tmp_path: Path) -> None:
    """From the network as it was made and the file: blocks, blocks in blocks, and filters that went of both."""
    first = cut(net, SHAPE, {"conv1:nx1-1xn": 1, "down:ghost": 1, "conv2:fire": 1})
    second = cut(first.module, SHAPE, {"conv1.1:depthwise": 1, "down.primary": 0.5, "conv2.squeeze": 0.5})
    described = Checkpoint("own:make", substituted={**first.substituted, **second.substituted})
    path = tmp_path / "small.safetensors"
    described.save(path, second.module)
    stored = Checkpoint.read(path)
    assert stored is not None
    assert stored.substituted == {"conv1": "nx1-1xn", "down": "ghost", "conv2": "fire", "conv1.1": "depthwise"}
    torch.testing.assert_close(outputs(stored.rebuild(path, make())), outputs(second.module), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("substituted", "message"),
    [
        ({"conv9": "ghost"}, "own:make has no convolution 'conv9' to replace by ghost"),
        ({"linear": "ghost"}, "own:make has no convolution 'linear' to replace by ghost"),
        ({"": "ghost"}, "own:make has no convolution '' to replace by ghost"),
        ({"conv1": "os:system"}, "unknown block 'os:system'"),
    ],
)
def test_a_checkpoint_names_known_blocks_and_layers_alone(
    net: nn.Module, tmp_path: Path, substituted: dict[str, str], message: str
) -> None:
    """A file does not choose what code runs."""
    path = tmp_path / "wrong.safetensors"
    described = Checkpoint("own:make", substituted=substituted)
    described.save(path, net)
    with pytest.raises(EdgecnnError, match=message):
        described.rebuild(path, make())


def test_batch_norm_follows_the_order_of_a_block(data: Dataset) -> None:
    """Statistics of a network that gives the same with its channels in another order stay those of the same channel."""
    torch.manual_seed(0)
    one = nn.Sequential(
        *(nn.Conv2d(1, 8, 5, padding=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    ).eval()
    twins(one[0])  # type: ignore[arg-type]
    for norm in (one[1], one[4]):
        norm.running_mean.uniform_(-0.2, 0.2)  # type: ignore[operator,union-attr]
    made = cut(one, (1, 8, 8), {"0:ghost": 1})
    assert made.reordered.keys() == {"1"}
    assert list(made.reordered["1"]) != list(range(8))
    before = copy.deepcopy(made.module.state_dict())
    trial = Trial(one, [made.module], data.evaluation, data.normalization)
    trial.recalibrate_batch_norm(data.evaluation, [{}], [made.reordered])
    after = trial.variants[0].state_dict()
    for name in ("1.running_mean", "1.running_var", "4.running_mean", "4.running_var"):
        torch.testing.assert_close(after[name], before[name], rtol=1e-3, atol=1e-3)
