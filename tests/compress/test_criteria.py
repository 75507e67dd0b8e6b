"""Criteria: what each one calls the least, and what is told of those that cannot be used."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from edgecnn.compress import CRITERIA
from edgecnn.compress.criteria import geometric_median, graded_for, scores_of, with_gradients
from edgecnn.compress.objective import CLASSIFIER
from edgecnn.compress.prune import cut
from edgecnn.compress.unit import FILTERS
from edgecnn.compress.units import find_units
from edgecnn.datasets import open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build


@pytest.mark.slow
@pytest.mark.parametrize("name", CRITERIA.names())
def test_every_criterion_scores_every_unit(name: str) -> None:
    """Each gives finite scores, one for each part that can go, and a network that runs."""
    data = open_dataset("digits")
    module = with_gradients(build("edgecnn:digits-cnn").module, data.training.take(128), data.normalization)
    units = find_units(module, (1, 8, 8))
    for unit in units.of_kind(FILTERS).values():
        scores = scores_of(module, unit, name)
        assert scores.shape == (unit.atoms,)
        assert bool(torch.isfinite(scores).all())
    small = cut(module, (1, 8, 8), {"features.4": 0.5}, criterion=name, units=units).module
    assert small(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_taylor_spares_what_the_loss_depends_on() -> None:
    """A filter whose output is not used has no gradient: it goes first, however large it is."""
    data = open_dataset("digits")
    module = build("edgecnn:digits-cnn").module
    with torch.no_grad():
        module.get_parameter("features.0.weight")[5] = 3.0
        module.get_parameter("features.4.weight")[:, 5] = 0.0
    module = with_gradients(module, data.training.take(128), data.normalization)
    unit = find_units(module, (1, 8, 8)).of_kind(FILTERS)["features.0"]
    assert int(scores_of(module, unit, "taylor").argmin()) == 5
    assert int(scores_of(module, unit, "l2").argmax()) == 5


def test_bn_scale_reads_the_norm() -> None:
    """The channel of the least scale goes first; a layer without a norm is told."""
    module = build("edgecnn:digits-cnn").module
    with torch.no_grad():
        module.get_parameter("features.1.weight")[7] = -0.01
    unit = find_units(module, (1, 8, 8)).of_kind(FILTERS)["features.0"]
    assert int(scores_of(module, unit, "bn_scale").argmin()) == 7
    bare = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1))
    with pytest.raises(EdgecnnError, match="0 has none"):
        cut(bare, (1, 4, 4), {"0": 0.5}, criterion="bn_scale")


def test_the_geometric_median_finds_what_others_can_replace() -> None:
    """The filter in the middle of the others has the least score, though it is not the smallest."""
    weight = torch.tensor([[0.0, 0.0], [4.0, 0.0], [2.0, 0.1], [2.0, 3.0], [2.0, -3.0]])
    assert int(geometric_median(weight).argmin()) == 2


def test_taylor_without_gradients_is_told() -> None:
    """The line says what takes them."""
    with pytest.raises(EdgecnnError, match="with_gradients"):
        cut(build("edgecnn:digits-cnn").module, (1, 8, 8), {"features.0": 0.5}, criterion="taylor")


def test_a_criterion_of_ones_own_gets_what_it_needs() -> None:
    """Gradients over the training part, or a norm's weights; a need that is none is named with those that are."""
    data = open_dataset("digits")
    module = build("edgecnn:digits-cnn").module

    def saliency(weight: torch.Tensor) -> torch.Tensor:
        assert weight.grad is not None
        return (weight * weight.grad).flatten(1).abs().sum(1)

    def mine(weight: torch.Tensor) -> torch.Tensor:
        assert weight.ndim == 1
        return weight.abs()

    assert graded_for(mine, module, data.training, data.normalization, CLASSIFIER) is module
    saliency.needs = "gradients"  # type: ignore[attr-defined]
    graded = graded_for(saliency, module, data.training.take(64), data.normalization, CLASSIFIER)
    unit = find_units(module, (1, 8, 8)).of_kind(FILTERS)["features.0"]
    assert bool((scores_of(graded, unit, saliency) > 0).all())
    mine.needs = ("norms",)  # type: ignore[attr-defined]
    torch.testing.assert_close(scores_of(module, unit, mine), scores_of(module, unit, "bn_scale"))
    mine.needs = "gradient"  # type: ignore[attr-defined]
    with pytest.raises(EdgecnnError, match=r"unknown need of criterion mine: 'gradient'.*did you mean 'gradients'"):
        scores_of(module, unit, mine)


def test_whatever_a_criterion_does_the_network_stays() -> None:
    """One that writes over its weights changes nothing; one that draws numbers gives the same scores again."""

    def writing(weight: torch.Tensor) -> torch.Tensor:
        return weight.mul_(0).flatten(1).sum(1)

    def drawing(weight: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(weight))

    module = build("edgecnn:digits-cnn").module
    before = copy.deepcopy(module.state_dict())
    cut(module, (1, 8, 8), {"features.0": 0.5}, criterion=writing)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    state = torch.random.get_rng_state()
    one, other = (cut(module, (1, 8, 8), {"features.0": 0.5}, criterion=drawing).module for _ in range(2))
    assert torch.equal(one.get_parameter("features.0.weight"), other.get_parameter("features.0.weight"))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_criterion_that_gives_no_scores_is_told() -> None:
    """A wrong shape and NaN name the criterion and the layer."""

    def mine(weight: torch.Tensor) -> torch.Tensor:
        return weight.sum()

    def broken(weight: torch.Tensor) -> torch.Tensor:
        return torch.full((len(weight),), float("nan"))

    module = build("edgecnn:digits-cnn").module
    with pytest.raises(EdgecnnError, match=r"criterion mine gave \[\] for the weights .* of features\.0, not \[32\]"):
        cut(module, (1, 8, 8), {"features.0": 0.5}, criterion=mine)
    with pytest.raises(EdgecnnError, match=r"criterion broken gave scores for features\.0 that are NaN"):
        cut(module, (1, 8, 8), {"features.0": 0.5}, criterion=broken)
