"""Replay: a changed network, run from its first change on, gives what it gives run whole."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgecnn.compress.prefix_cache import Calls, live_bytes, read_calls, record, replay, share
from edgecnn.nets.network import build


class Winding(nn.Module):
    """What is awkward: concats, sums in place, activations in place, branches on shapes, weights used by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.left = nn.Conv2d(4, 4, 1)
        self.right = nn.Conv2d(4, 4, 1)
        self.merged = nn.Conv2d(8, 4, 1)
        self.block = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.by_hand = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 3, 8, 8] to [N, 3]."""
        x = self.stem(x)
        left = self.left(x)
        right = self.right(x)
        left += right
        x = self.merged(torch.cat([left, right], 1))
        if x.shape[1] == 4:
            x = x + self.block(x)
        x = x.mean((2, 3))
        return self.head(functional.linear(x, self.by_hand.weight, self.by_hand.bias).relu_())


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "winding": (Winding, (3, 8, 8)),
    "digits-cnn": (lambda: build("edgecnn:digits-cnn").module, (1, 8, 8)),
    "resnet20": (lambda: build("edgecnn:resnet20").module, (3, 32, 32)),
    "mobilenet_v2": (lambda: build("torchvision:mobilenet_v2").module, (3, 32, 32)),
    "shufflenet": (lambda: build("torchvision:shufflenet_v2_x0_5").module, (3, 32, 32)),
}


def started(name: str) -> tuple[nn.Module, torch.Tensor, Calls]:
    """Return a network, inputs for it, and its calls."""
    make, shape = NETS[name]
    torch.manual_seed(0)
    module = make().eval()
    x = torch.randn(2, *shape)
    return module, x, read_calls(module, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_a_replay_gives_what_a_whole_pass_gives(name: str) -> None:
    """Whichever layer has other weights, running on from it gives the outputs of the whole network."""
    module, x, calls = started(name)
    layers = [layer for layer, part in module.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    changed = {}
    for layer in layers[:: max(1, len(layers) // 8)]:
        variant = copy.deepcopy(module)
        with torch.no_grad():
            variant.get_submodule(layer).weight[1::2] = 0  # type: ignore[index,operator]
        changed[layer] = variant
    starts = {layer: calls.start_of(module, variant) for layer, variant in changed.items()}
    assert len(set(starts.values())) > len(starts) / 2
    recording = record(module, x, calls, set(starts.values()))
    for layer in (*reversed(changed), *changed):  # in both orders: none may spoil what the next needs
        with torch.no_grad():
            whole = changed[layer](x)
        assert torch.equal(replay(changed[layer], recording, starts[layer]), whole), layer


def test_a_block_taken_out_is_replayed_from_where_it_began() -> None:
    """A block that begins with an activation is gone with it: what ran inside it is not given back."""
    module, x, calls = started("winding")
    variant = copy.deepcopy(module)
    variant.block = nn.Identity()
    start = calls.start_of(module, variant)
    assert start > calls.first["merged"]
    with torch.no_grad():
        assert torch.equal(replay(variant, record(module, x, calls, {start}), start), variant(x))


def test_what_comes_before_is_not_computed_again() -> None:
    """Weights before the start may be anything: they are not used."""
    module, x, calls = started("resnet20")
    start = calls.first["layer3.1.conv1"]
    recording = record(module, x, calls, {start})
    spoilt = copy.deepcopy(module)
    with torch.no_grad():
        spoilt.conv1.weight.fill_(torch.nan)  # type: ignore[operator,union-attr]
    assert torch.equal(replay(spoilt, recording, start), recording.output)
    assert torch.isnan(replay(spoilt, recording, calls.first["conv1"])).any()


def test_only_what_a_start_needs_is_kept() -> None:
    """For one start in the middle of ResNet-20's last stage, its input alone is kept: 64 channels of 8x8 floats."""
    module, x, calls = started("resnet20")
    start = calls.first["layer3.1.conv1"]
    recording = record(module, x, calls, {start})
    assert live_bytes(calls, recording, {start}) == 2 * 64 * 8 * 8 * 4
    kept = {r.untyped_storage().data_ptr(): r.untyped_storage().nbytes() for r in recording.results if _is_tensor(r)}
    assert sum(kept.values()) < 2 * 64 * 8 * 8 * 4 + 1000


def test_an_unchanged_copy_begins_at_the_end() -> None:
    """Where nothing differs, no call is made again."""
    module, _, calls = started("digits-cnn")
    assert calls.start_of(module, copy.deepcopy(module)) == len(calls)


def test_copies_share_what_they_have_in_common() -> None:
    """After sharing, a copy with one changed layer holds memory of its own for that layer alone."""
    module, x, _ = started("digits-cnn")
    variant = copy.deepcopy(module)
    with torch.no_grad():
        variant.classifier.weight[0] = 0  # type: ignore[index,operator,union-attr]
        before = variant(x)
        assert torch.equal(share(module, variant)(x), before)
    own = [name for name, tensor in variant.named_parameters() if tensor is not dict(module.named_parameters())[name]]
    assert own == ["classifier.weight"]


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)
