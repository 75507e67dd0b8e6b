"""A cut gives what its mask gives, or it is not made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.compress.masking import MaskMismatchError, differing
from edgecnn.compress.prune import cut, masked, prune
from edgecnn.compress.sensitivity import SensitivityConfig, sensitivity
from edgecnn.compress.settings import Uniform
from edgecnn.compress.units import double_of, find_units, removed_by
from edgecnn.pipeline import Budget, Search, Training, compress_model
from edgecnn.samples import Samples

SHAPE = (1, 8, 8)

#: The first quarter of the channels, however many there are, has another activation than the rest.
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.first.weight[:8] *= 0.1  # these go first

    def forward(self, x):
        x = self.first(x)
        quarter = x.shape[1] // 4
        x = torch.cat([x[:, :quarter].sin(), x[:, quarter:].tanh()], 1)
        return self.head(self.second(x).relu().mean((2, 3)))

net = Net
"""
LINE = "slicing.py:17"


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The network, as a module `slicing` of its user's."""
    (tmp_path / "slicing.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "slicing", raising=False)
    torch.manual_seed(0)
    return __import__("slicing").Net().eval()  # type: ignore[no-any-return]


def test_code_that_counts_channels_as_it_runs_is_not_cut_and_named(net: nn.Module) -> None:
    """Every second filter gone looks right, and those of the least weight are others: the very cut is compared."""
    units = find_units(net, SHAPE)
    assert "first" in units.of_kind("filters")
    with pytest.raises(MaskMismatchError, match=f"first cannot be cut like this: {LINE}") as caught:
        cut(net, SHAPE, {"first": 0.5, "second": 0.5}, units=units)
    assert list(caught.value.units) == ["first"]
    smaller = cut(net, SHAPE, {"second": 0.5}, units=units).module
    x = torch.rand(4, *SHAPE)
    torch.testing.assert_close(smaller(x), masked(net, SHAPE, "second", 0.5, units=units)(x))


def test_pruning_goes_on_without_it(net: nn.Module) -> None:
    """The other layer is cut, and a warning says which one is not."""
    with pytest.warns(UserWarning, match=f"first cannot be cut like this: {LINE}"):
        smaller = prune(net, SHAPE, Uniform(0.5))
    assert smaller.first.weight.shape[0] == 16  # type: ignore[union-attr]
    assert smaller.second.weight.shape[0] == 8  # type: ignore[union-attr]


def test_what_is_left_agrees_where_only_two_together_differ(net: nn.Module) -> None:
    """Of removals that are wrong together, those are named without which the rest is right."""
    work, example = double_of(net, SHAPE)
    units = find_units(net, SHAPE).of_kind("filters")
    halves = {"low": removed_by(units["first"], range(8, 12)), "high": removed_by(units["first"], range(4))}
    halves["other"] = removed_by(units["second"], range(4))
    wrong = differing(work, example, halves)
    assert set(wrong) in ({"low"}, {"high"}, {"low", "high"})
    assert differing(work, example, {name: part for name, part in halves.items() if name not in wrong}) == {}


def test_sensitivity_has_no_row_of_it(net: nn.Module) -> None:
    """What cannot be cut rightly is among the layers that stay, with the line."""
    rng = np.random.default_rng(0)
    samples = Samples.of(rng.random((40, *SHAPE), dtype=np.float32), np.arange(40) % 10)
    found = sensitivity(net, SHAPE, samples, SensitivityConfig(ratios=(0.5,)), None)
    assert [row.unit for row in found.rows] == ["second"]
    assert any(one.name == "first" and LINE in one.reason for one in found.fixed)


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    "how", [Uniform(0.5), Budget(max_params_ratio=0.8, search=Search(epochs_between=0, layers=False))]
)
def test_compress_goes_on_without_it(tmp_path: Path, how: Uniform | Budget) -> None:
    """By a ratio and by a budget: the other layer is cut, and the result names the first one and the line."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((100, *SHAPE), dtype=np.float32), y=np.arange(100) % 10)
    out, data = tmp_path / "s.safetensors", f"npz:{tmp_path / 'd.npz'}"
    found = compress_model("slicing:net", out, how, data=data, training=Training(epochs=0))
    assert found.after.params < found.before.params
    assert all(set(one.cuts) == {"second"} for one in found.attempts)
    assert any(one.name == "first" and LINE in one.reason for one in found.fixed)
