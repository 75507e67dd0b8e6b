"""Unstructured pruning: the share asked for, the smallest first, and zeros that stay zeros."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from edgecnn.compress.magnitude import magnitude_masks, sparsify, sparsity_of, sparsity_steps, zip_size_bytes
from edgecnn.compress.train import TrainConfig, train
from edgecnn.errors import EdgecnnError
from edgecnn.samples import Samples


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 10))


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 0.999))
def test_the_smallest_weights_of_all_layers_go(sparsity: float) -> None:
    """The share of zeros is what was asked for, and none that went is greater than one that stayed."""
    net = _net()
    sparse = sparsify(net, sparsity)
    count = 3 * 8 * 9 + 320
    assert sparsity_of(sparse) == int(sparsity * count + 1e-9) / count
    pairs = list(zip(net.parameters(), sparse.parameters(), strict=True))
    gone = [before.abs()[(after == 0) & (before != 0)] for before, after in pairs]
    stayed = [before.abs()[after != 0] for before, after in pairs if before.ndim > 1]
    if torch.cat(gone).numel():
        assert torch.cat(gone).max() <= torch.cat(stayed).min()


def test_the_way_to_a_sparsity_is_fast_at_first() -> None:
    """Each step adds less than the one before, and the last ends there."""
    steps = sparsity_steps(0.8, 4)
    added = [b - a for a, b in pairwise((0.0, *steps))]
    assert steps[-1] == 0.8
    assert added == sorted(added, reverse=True)
    with pytest.raises(EdgecnnError, match="sparsity steps is at least 1"):
        sparsity_steps(0.5, 0)


def test_what_went_stays_zero_through_training() -> None:
    """After every step of the optimizer, its momentum and its weight decay; the other weights move."""
    torch.manual_seed(0)
    samples = Samples.of(np.random.default_rng(0).random((64, 3, 4, 4), np.float32), np.arange(64) % 10)
    sparse = sparsify(_net(), 0.8)
    config = TrainConfig(epochs=2, batch_size=16, optimizer="sgd", learning_rate=0.05, keep_zeros=True)
    trained = train(sparse, samples, config, None)
    for name in ("0.weight", "3.weight"):
        before, after = sparse.get_parameter(name), trained.get_parameter(name)
        assert bool((after[before == 0] == 0).all())
        assert not torch.equal(before, after)
    assert sparsity_of(train(sparse, samples, replace(config, keep_zeros=False), None)) < 0.1


def test_zeros_shrink_the_zip_and_not_the_file(tmp_path: Path) -> None:
    """A dense file of a sparse network is as large as before; compressed it is smaller."""
    paths = [tmp_path / "dense.safetensors", tmp_path / "sparse.safetensors"]
    for path, net in zip(paths, (_net(), sparsify(_net(), 0.9)), strict=True):
        save_file(net.state_dict(), path)
    dense, sparse = paths
    assert sparse.stat().st_size == dense.stat().st_size
    assert zip_size_bytes(sparse) < zip_size_bytes(dense) < 1.1 * dense.stat().st_size


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_sparsity_outside_its_range_is_refused(sparsity: float) -> None:
    """At least 0 and less than 1."""
    with pytest.raises(EdgecnnError, match="less than 1"):
        sparsify(_net(), sparsity)


def test_weights_without_a_magnitude_are_told() -> None:
    """NaN is told; and a network with nothing to make sparse."""
    net = _net()
    nn.init.constant_(net[3].weight, float("nan"))  # type: ignore[arg-type]
    with pytest.raises(EdgecnnError, match="NaN"):
        magnitude_masks(net, 0.5)
    with pytest.raises(EdgecnnError, match="no convolution"):
        magnitude_masks(nn.ReLU(), 0.5)
