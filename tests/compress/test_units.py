"""What can be taken out of a network: what is cut out gives what is set to zero gives, whatever the wiring."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import small_nets
import torch
from torch import nn

from edgecnn.checkpoint import load_weights, resize_to
from edgecnn.compress.criteria import scores_of
from edgecnn.compress.prune import cut, masked, size_of
from edgecnn.compress.unit import FILTERS, LAYER
from edgecnn.compress.units import find_units
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build

NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet20": (small_nets.built("edgecnn:resnet20"), 16),
    "vgg16-compact": (small_nets.built("edgecnn:vgg16-compact"), 32),
    "resnet18": (small_nets.built("torchvision:resnet18"), 32),
    "mobilenet_v2": (small_nets.mobilenet_v2, 32),
    "mobilenet_v3": (small_nets.mobilenet_v3, 32),
    "mnasnet0_5": (small_nets.built("torchvision:mnasnet0_5"), 64),
    "efficientnet": (small_nets.efficientnet, 32),
    "densenet": (small_nets.densenet, 32),
    "googlenet": (small_nets.googlenet, 32),
    "shufflenet": (small_nets.shufflenet, 32),
}


def _agree(small: nn.Module, other: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        given, expected = small.double()(x), other.double()(x)
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("model", NETS)
def test_a_cut_network_equals_the_masked_one(model: str) -> None:
    """Residual adds, padded shortcuts, concats, depthwise convolutions and squeeze-excite stay consistent."""
    make, side = NETS[model]
    module, shape = make(), (3, side, side)
    units = find_units(module, shape)
    filters = units.of_kind(FILTERS)
    some = list(filters)[:: max(1, len(filters) // 6)]  # find_units tries all of them itself
    cuts = {name: 0.3 + 0.2 * (index % 3) for index, name in enumerate(some)}
    # Scores of the original for both: what is zero already must not change what goes next.
    scores = {name: scores_of(module, filters[name], "l1") for name in some}
    small = cut(module, shape, cuts, scores=scores, units=units).module
    zeros = module
    for name, ratio in cuts.items():
        zeros = masked(zeros, shape, name, ratio, scores=scores, units=units)
    assert size_of(small, shape).params < size_of(module, shape).params
    _agree(small, zeros, shape)


def test_all_layers_with_filters_are_units_or_named_with_the_reason() -> None:
    """No layer is passed over in silence; the one that gives the output stays."""
    module = build("edgecnn:resnet20").module
    units = find_units(module, (3, 32, 32))
    layers = {name for name, layer in module.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    members = {member for unit in units.units for member in unit.members} | {fixed.name for fixed in units.fixed}
    assert layers <= members
    assert [(fixed.name, fixed.reason) for fixed in units.fixed] == [
        ("linear", "its filters are outputs of the network")
    ]


def test_padded_shortcuts_lose_channels_at_both_ends() -> None:
    """Option A of He et al.: a stage's first 16 go through all stages, the padded ones go in pairs."""
    units = find_units(build("edgecnn:resnet20").module, (3, 32, 32)).of_kind(FILTERS)
    assert (units["conv1"].channels, units["conv1"].atoms) == (16, 16)
    assert (units["layer2.0.conv2"].channels, units["layer2.0.conv2"].atoms) == (16, 8)
    assert (units["layer3.0.conv2"].channels, units["layer3.0.conv2"].atoms) == (32, 16)
    assert units["layer3.0.conv2"].slices[0].indices[0] == (0, 63)


def test_a_shortcut_of_fixed_padding_keeps_its_ends() -> None:
    """Where the code pads by a number, cutting the padded channels would not fit: they stay."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1)
            self.last = nn.Conv2d(8, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.last(self.second(x) + nn.functional.pad(x, (0, 0, 0, 0, 2, 2)))  # type: ignore[no-any-return]

    net = Padded()
    units = find_units(net, (3, 4, 4))
    assert {name: unit.members for name, unit in units.of_kind(FILTERS).items()} == {
        "first": ("first", "second", "last")
    }
    small, zeros = cut(net, (3, 4, 4), {"first": 0.5}).module, masked(net, (3, 4, 4), "first", 0.5)
    _agree(small, zeros, (3, 4, 4))


def test_grouped_convolutions_lose_the_same_filters_in_every_group() -> None:
    """A grouped convolution stays one: each group loses as many filters as every other."""
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=4), nn.ReLU(), nn.Conv2d(12, 5, 1))
    units = find_units(net, (3, 6, 6))
    assert [(unit.name, unit.channels, unit.atoms) for unit in units.units if unit.kind == FILTERS] == [
        ("0", 8, 2),
        ("2", 12, 3),
    ]
    small = cut(net, (3, 6, 6), {"2": 0.4}, units=units).module
    zeros = masked(net, (3, 6, 6), "2", 0.4, units=units)
    assert small.get_submodule("2").groups == 4
    _agree(small, zeros, (3, 6, 6))


def test_groups_of_one_filter_go_one_by_one() -> None:
    """A grouped convolution that was cut to a filter a group is depthwise from then on, and rebuilt by its shapes."""
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 5, 1))
    small = cut(net, (3, 6, 6), {"0": 0.5, "2": 0.5}).module
    again = cut(small, (3, 6, 6), {"0": 0.5}).module
    assert [small.get_submodule("2").groups, again.get_submodule("2").groups] == [4, 2]
    _agree(again, masked(small, (3, 6, 6), "0", 0.5), (3, 6, 6))
    rebuilt = copy.deepcopy(net)
    weights = again.state_dict()
    resize_to(rebuilt, weights)
    load_weights(rebuilt, weights, "the cut network")
    _agree(rebuilt, again, (3, 6, 6))


def test_a_depthwise_convolution_of_several_filters_a_channel_loses_the_same_of_each() -> None:
    """Two filters a channel become one; the channels stay."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 5, 1))
    small = cut(net, (3, 6, 6), {"2": 0.5}).module
    assert (small.get_submodule("2").groups, small.get_submodule("2").out_channels) == (4, 4)
    _agree(small, masked(net, (3, 6, 6), "2", 0.5), (3, 6, 6))


def test_a_network_may_write_over_its_input() -> None:
    """What one pass did to the example is not what the next one sees."""

    class Scaled(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x /= 255
            return super().forward(x)  # type: ignore[no-any-return]

    net = Scaled(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 1))
    assert set(find_units(net.eval(), (3, 6, 6)).of_kind(FILTERS)) == {"0"}


def test_a_layer_may_have_tensors_of_its_own() -> None:
    """A learned scale, and a buffer that no file keeps, are no filters: they stay as they are."""

    class Scaled(nn.Conv2d):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.scale = nn.Parameter(torch.full((1,), 0.5))
            self.register_buffer("noise", torch.zeros(sizes[1]), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * self.scale

    net = nn.Sequential(Scaled(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 5, 1))
    _agree(cut(net, (3, 6, 6), {"0": 0.5}).module, masked(net, (3, 6, 6), "0", 0.5), (3, 6, 6))


def test_a_decoder_from_a_vector_to_maps_is_followed() -> None:
    """The features that become one channel of a map go together, and transposed convolutions are cut the right way."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 16), nn.Unflatten(1, (-1, 2, 2)), nn.ConvTranspose2d(4, 6, 2, 2), nn.Conv2d(6, 3, 1)
    )
    units = find_units(net, (3, 2, 2))
    assert {name: unit.atoms for name, unit in units.of_kind(FILTERS).items()} == {"1": 4, "3": 6}
    for name in ("1", "3"):
        _agree(
            cut(net, (3, 2, 2), {name: 0.5}, units=units).module,
            masked(net, (3, 2, 2), name, 0.5, units=units),
            (3, 2, 2),
        )


def test_channels_that_are_normalised_together_stay() -> None:
    """A norm over several channels is no longer the same without one: told with the layer's name."""
    for norm in (nn.LayerNorm([8, 4, 4]), nn.GroupNorm(1, 8), nn.GroupNorm(2, 8, affine=False)):
        net = nn.Sequential(nn.Conv2d(3, 8, 1), norm, nn.Conv2d(8, 2, 1))
        fixed = {entry.name: entry.reason for entry in find_units(net, (3, 4, 4)).fixed}
        assert fixed["0"] in {
            "they meet 1, a LayerNorm, which mixes them",
            "they cannot be removed one by one",
            "they are a part of what 1, a GroupNorm, normalizes together",
        }


def test_layers_that_share_their_weights_stay() -> None:
    """What is cut from one would be missed by the other; what neither touches can go."""
    net = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(6)))
    net[2].weight = net[1].weight
    units = find_units(net, (4, 4, 4))
    assert set(units.of_kind(FILTERS)) == {"3", "4"}
    assert set(units.of_kind(LAYER)) == {"3", "4"}
    reasons = {entry.name: entry.reason for entry in units.fixed}
    assert reasons["0"] == reasons["1"] == "1 and 2 share their weights"
    assert reasons["2"] == "2 and 1 share their weights"


@pytest.mark.parametrize("computed", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_weights_computed_from_others_are_told_with_the_way_out(computed: Callable[[nn.Module], nn.Module]) -> None:
    """The layer, and what makes its weights plain; after that it can be cut."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), computed(nn.Conv2d(4, 4, 1)), nn.Conv2d(4, 2, 1))
    with pytest.raises(EdgecnnError, match=r"^1: its weights are computed .*remove_parametrizations"):
        find_units(net, (3, 4, 4))
    nn.utils.parametrize.remove_parametrizations(net[1], "weight")
    assert set(find_units(net, (3, 4, 4)).of_kind(FILTERS)) == {"0", "1"}


class Choosing(nn.Module):
    """Takes another way by what it computes."""

    def __init__(self, choose: Callable[[torch.Tensor], bool]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.choose = choose

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 3, H, W] to [N, 4, H, W]."""
        x = self.conv(x)
        return -x if self.choose(x) else x


@pytest.mark.parametrize(
    "choose",
    [
        lambda x: x.mean() > 0,
        lambda x: x.mean().item() > 0,
        lambda x: torch.equal(x, x.relu()),
        lambda x: torch.allclose(x, x.relu()),
        lambda x: len(torch.masked_select(x, x > 0)) > 3,
    ],
)
def test_a_choice_by_values_is_told_with_its_line(choose: Callable[[torch.Tensor], bool]) -> None:
    """The file and the line of the choice, in one line."""
    with pytest.raises(EdgecnnError, match=r"test_units\.py:\d+: the network branches on computed values") as error:
        find_units(Choosing(choose), (3, 4, 4))
    assert "\n" not in str(error.value)


@dataclass
class _Answer:
    scores: torch.Tensor


class _Answering(nn.Module):
    """Gives an object of a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> _Answer:
        return _Answer(self.conv(x))


def test_what_cannot_be_followed_is_told_in_one_line() -> None:
    """What torch-pruning cannot follow ends in one line that says so."""
    with pytest.raises(EdgecnnError, match="torch-pruning cannot follow") as error:
        find_units(_Answering(), (3, 32, 32))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_outside_its_range_is_refused(ratio: float) -> None:
    """The unit and the ratio are named."""
    with pytest.raises(EdgecnnError, match=r"features\.0: .*less than 1"):
        cut(build("edgecnn:digits-cnn").module, (1, 8, 8), {"features.0": ratio})


def test_a_unit_that_is_not_there_is_told() -> None:
    """The near match and the known names, or the reason why that layer stays."""
    module = build("edgecnn:digits-cnn").module
    with pytest.raises(EdgecnnError, match=r"unknown unit 'feature\.0'.*did you mean 'features\.0'"):
        cut(module, (1, 8, 8), {"feature.0": 0.5})
    with pytest.raises(EdgecnnError, match="outputs of the network"):
        cut(module, (1, 8, 8), {"classifier": 0.5})
    with pytest.raises(EdgecnnError, match="are tied to those of conv1"):
        cut(build("edgecnn:resnet20").module, (3, 16, 16), {"layer1.0.conv2": 0.5})


def test_units_of_a_layer_have_its_kind() -> None:
    """Blocks that add to their input and convolutions that the next one can replace go whole."""
    units = find_units(build("edgecnn:resnet20").module, (3, 16, 16))
    whole = units.of_kind(LAYER)
    assert {"layer1.0", "layer2.1", "layer3.2", "layer1.0.conv1"} <= set(whole)
    assert not {"layer2.0", "layer3.0", "layer2.0.conv1"} & set(whole)
    reasons = {fixed.name: fixed.reason for fixed in units.whole}
    assert reasons["layer2.0.conv1"] == "it changes the resolution"


class _SpatialAttention(nn.Module):
    """Each pixel is weighed by the mean and the highest of its channels (CBAM: Woo et al. 2018, arXiv:1807.06521)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.weights = nn.Conv2d(2, 1, 7, padding=3)
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x).relu()).relu()
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        y: torch.Tensor = self.classifier((x * self.weights(seen).sigmoid()).mean((2, 3)))
        return y


def test_channels_that_are_merged_into_one_are_named() -> None:
    """Where the tracing takes a mean over channels for channels, the layers before it stay and the rest can be cut."""
    module = _SpatialAttention()
    units = find_units(module, (1, 8, 8))
    assert set(units.of_kind(FILTERS)) == {"first"}
    reasons = {fixed.name: fixed.reason for fixed in units.fixed}
    assert "cannot follow its filters" in reasons["second"]
    assert "cannot follow its filters" in reasons["weights"]
    small = cut(module, (1, 8, 8), {"first": 0.5}, units=units).module
    _agree(small, masked(module, (1, 8, 8), "first", 0.5, units=units), (1, 8, 8))


class _Attending(nn.Module):
    """A convolution's pixels attend to each other, as in vision transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 2, 2)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        y: torch.Tensor = self.classifier((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))
        return y


def test_layers_before_attention_are_named() -> None:
    """The reshapes within are taken for those of channels, in a loop: what they map must not grow at each turn."""
    units = find_units(_Attending(), (1, 8, 8))
    assert not units.of_kind(FILTERS)
    reasons = {fixed.name: fixed.reason for fixed in units.fixed}
    assert "MultiheadAttention, which mixes them" in reasons["patches"]


class _BackThroughFlattening(nn.Module):
    """What a linear layer gives meets the channels of a convolution, before they are flattened or behind it."""

    def __init__(self, behind: bool) -> None:
        super().__init__()
        self.behind = behind
        self.linear = nn.Linear(64, 256)
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.classifier = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat, channels = self.linear(x.flatten(1)), self.conv(x)
        meeting = flat + channels.flatten(1) if self.behind else (flat.reshape(len(x), -1, 8, 8) + channels).flatten(1)
        y: torch.Tensor = self.classifier(meeting)
        return y


@pytest.mark.parametrize("behind", [True, False])
def test_filters_that_share_a_channel_go_together(behind: bool) -> None:
    """64 filters of the linear layer meet each channel of the convolution: they go with it, or not at all."""
    module = _BackThroughFlattening(behind)
    units = find_units(module, (1, 8, 8))
    assert units.find("linear", FILTERS).atoms == 4
    small = cut(module, (1, 8, 8), {"linear": 0.5}, units=units).module
    assert small.get_submodule("conv").weight.shape[0] == 2
    _agree(small, masked(module, (1, 8, 8), "linear", 0.5, units=units), (1, 8, 8))


class _WrittenOut(nn.Module):
    """The channels stand in the code as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.classifier = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.classifier(self.conv(x).view(-1, 256))
        return y


def test_the_line_that_keeps_filters_is_told() -> None:
    """A shape that is written out fits no fewer filters; whose code it is can only find it by its line."""
    units = find_units(_WrittenOut(), (1, 8, 8))
    line = inspect.getsourcelines(_WrittenOut.forward)[1] + 1
    reasons = {fixed.name: fixed.reason for fixed in units.fixed}
    assert reasons["conv"] == (
        "the network does not run without some of them: shape '[-1, 256]' is invalid for input of size 192 "
        f"(at test_units.py:{line})"
    )


class _Halves(nn.Module):
    """Of the channels, each of the first half meets one of the second: both can only go together."""

    def __init__(self, meeting: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.meeting = meeting
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.classifier(self.second(self.meeting(self.first(x))).mean((2, 3)))
        return y


def test_filters_that_meet_within_a_layer_are_not_cut_one_by_one() -> None:
    """Every other filter is as many of each half: that alone would not show that they are pairs."""
    units = find_units(_Halves(lambda x: nn.functional.glu(x, 1)), (1, 8, 8))
    assert set(units.of_kind(FILTERS)) == {"second"}
    reasons = {fixed.name: fixed.reason for fixed in units.fixed}
    assert "does not run without some of them" in reasons["first"]


def _maxout() -> nn.Module:
    return _Halves(lambda x: torch.max(*x.chunk(2, 1)))


class _CrossStage(nn.Module):
    """Half of the channels goes on as it is, the rest through residual blocks, all of which are put together."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        self.second = nn.Conv2d(64, 24, 1)
        self.classifier = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        y: torch.Tensor = self.classifier(self.second(torch.cat(parts, 1)).mean((2, 3)))
        return y


class _ConcatFlattened(nn.Module):
    """Branches of 8 and 12 channels, the first of them once more, flattened with their positions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(1, 12, 3, padding=1)
        self.classifier = nn.Linear(28 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.first(x), self.second(x)
        y: torch.Tensor = self.classifier(nn.functional.max_pool2d(torch.cat([first, second, first], 1), 2).flatten(1))
        return y


def _positions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1), nn.PixelShuffle(2), nn.Conv2d(8, 12, 3, padding=1), nn.Flatten(), nn.Linear(768, 10)
    )


def _group_normed() -> nn.Module:
    layers = (nn.Conv2d(1, 24, 3), nn.GroupNorm(6, 24), nn.Conv2d(24, 8, 3), nn.GroupNorm(8, 8), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(128, 10))


@pytest.mark.parametrize(
    ("make", "atoms"),
    [
        (_group_normed, {"0": 6, "2": 8}),
        (_maxout, {"first": 16, "second": 16}),
        (_CrossStage, {"first": 16, "second": 24}),
        (_ConcatFlattened, {"first": 8, "second": 12}),
        (_positions, {"0": 8, "2": 12}),
    ],
)
def test_channels_are_followed_by_the_shapes_there_are(make: Callable[[], nn.Module], atoms: dict[str, int]) -> None:
    """Through concats, splits and reshapes, whatever comes between; what code splits evenly goes from all parts."""
    module = make()
    for parameter in module.parameters():
        nn.init.normal_(parameter)  # norms' weights too, which are all 1 before any training
    units = find_units(module, (1, 8, 8))
    assert {name: unit.atoms for name, unit in units.of_kind(FILTERS).items()} == atoms
    for name in atoms:
        small = cut(module, (1, 8, 8), {name: 0.5}, units=units).module
        assert size_of(small, (1, 8, 8)).params < size_of(module, (1, 8, 8)).params
        _agree(small, masked(module, (1, 8, 8), name, 0.5, units=units), (1, 8, 8))


class _RowsInOrder(nn.Module):
    """The columns of an image, one after the other, through an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.lstm = nn.LSTM(16 * 8, 24, batch_first=True)
        self.classifier = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = self.conv(x).relu().permute(0, 3, 1, 2).flatten(2)
        y: torch.Tensor = self.classifier(self.lstm(columns)[0][:, -1])
        return y


def test_what_torch_pruning_fails_on_is_named() -> None:
    """One layer that it cannot follow is no reason to give up the others, or to end in its own error."""
    units = find_units(_RowsInOrder(), (1, 8, 8))
    assert "cannot follow its filters" in {fixed.name: fixed.reason for fixed in units.fixed}["conv"]
