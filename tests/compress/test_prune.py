"""Structured pruning: smaller in fact, equal to the masked network, identical where nothing goes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.compress.prune import prune, size_of
from edgecnn.compress.settings import Uniform
from edgecnn.compress.train import TrainConfig, train
from edgecnn.datasets import open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build


def test_pruning_nothing_is_the_identity() -> None:
    """A ratio of 0 gives a copy with the same outputs, and leaves the original alone."""
    module = build("edgecnn:digits-cnn").module
    copy = prune(module, (1, 8, 8), Uniform(0.0))
    x = torch.randn(2, 1, 8, 8)
    assert copy is not module
    with torch.no_grad():
        assert torch.equal(copy(x), module(x))


def test_a_pruned_network_equals_the_masked_one() -> None:
    """Taking filters out gives what zeroing them gives: same outputs, fewer parameters and MACs."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)
    ).eval()
    small = prune(net, (1, 8, 8), Uniform(0.5))
    masked = nn.Sequential(*net)
    with torch.no_grad():
        for index in (0, 2):
            layer = net[index]
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            scores = layer.weight.flatten(1).norm(dim=1)
            weakest = scores.argsort()[: len(scores) // 2]
            layer.weight[weakest] = 0
            layer.bias[weakest] = 0
        x = torch.randn(4, 1, 8, 8)
        torch.testing.assert_close(small(x), masked(x))
    assert size_of(small, (1, 8, 8)).params < size_of(net, (1, 8, 8)).params / 2
    assert size_of(small, (1, 8, 8)).macs < size_of(net, (1, 8, 8)).macs / 2


def test_round_to_keeps_channel_counts_at_multiples() -> None:
    """Channels left are multiples of round_to, and the output keeps its classes."""
    small = prune(build("edgecnn:digits-cnn").module, (1, 8, 8), Uniform(0.3, round_to=8))
    widths = [layer.out_channels for layer in small.modules() if isinstance(layer, nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths)
    assert small(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_a_criterion_may_be_the_users_own_function() -> None:
    """Filters of the least score go: a score by position leaves the last filters."""
    net = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Flatten(), nn.Linear(16, 2)).eval()
    first = net[0]
    assert isinstance(first, nn.Conv2d)
    kept = first.weight.detach()[2:].clone()
    small = prune(net, (1, 2, 2), Uniform(0.5, lambda weight: torch.arange(len(weight), dtype=torch.float32)))
    layer = next(layer for layer in small.modules() if isinstance(layer, nn.Conv2d))
    assert torch.equal(layer.weight.detach(), kept)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 2.0])
def test_a_ratio_outside_its_range_is_refused(ratio: float) -> None:
    """A pruning ratio is at least 0 and less than 1."""
    with pytest.raises(EdgecnnError, match="less than 1"):
        Uniform(ratio)


def test_an_unknown_criterion_is_told() -> None:
    """The known criteria are named."""
    with pytest.raises(EdgecnnError, match=r"unknown criterion 'l3'.*l1, l2"):
        prune(build("edgecnn:digits-cnn").module, (1, 8, 8), Uniform(0.5, "l3"))


def test_training_repeats_and_leaves_its_input_alone() -> None:
    """The same seed gives the same weights; the module given is not changed."""
    data = open_dataset("digits")
    module = build("edgecnn:digits-cnn").module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    runs = [train(module, data.training.take(128), TrainConfig(epochs=1), data.normalization) for _ in range(2)]
    assert all(
        torch.equal(a, b) for a, b in zip(runs[0].state_dict().values(), runs[1].state_dict().values(), strict=True)
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert not torch.equal(runs[0].state_dict()["classifier.weight"], before["classifier.weight"])


def test_labels_beyond_the_classes_are_told() -> None:
    """A network of three classes does not learn ten digits; the one line says what there is."""
    data = open_dataset("digits")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(EdgecnnError, match="classes up to 9"):
        train(net, data.training, TrainConfig(epochs=1), data.normalization)


def test_a_last_batch_of_one_sample_is_no_trouble() -> None:
    """Batch norm over a single cell trains with one sample more than whole batches."""
    data = open_dataset("digits")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))
    trained = train(net, data.training.take(65), TrainConfig(epochs=1, batch_size=64), data.normalization)
    assert all(torch.isfinite(tensor).all() for tensor in trained.state_dict().values())
    assert not torch.equal(trained.get_parameter("1.weight"), net.get_parameter("1.weight"))


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    """NaN in the weights ends in one line that says the epoch."""
    data = open_dataset("digits")
    module = build("edgecnn:digits-cnn").module
    with torch.no_grad():
        module.classifier.weight.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(EdgecnnError, match="loss became nan in epoch 1"):
        train(module, data.training.take(64), TrainConfig(epochs=1), data.normalization)
