"""Classification by reconstruction: scores, the loss that goes with them, and the alarm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.nets.autoencoder import Autoencoders, hourglass
from edgecnn.nets.network import build


def gains(*factors: float) -> list[nn.Module]:
    """Return what gives its input multiplied with a factor: an autoencoder that errs by (1 - factor)² x²."""
    layers = [nn.Linear(4, 4, bias=False) for _ in factors]
    for layer, factor in zip(layers, factors, strict=True):
        layer.weight.data = factor * torch.eye(4)
    return list(layers)


def test_the_class_is_that_of_the_least_error() -> None:
    """Scores are minus the mean squared errors, times the sharpness; the truest autoencoder has the highest."""
    network = Autoencoders(gains(0.5, 1.0, 3.0), 3, sharpness=2.0)
    scores = network(torch.full((2, 2, 2), 2.0))
    assert torch.allclose(scores, torch.tensor([[-2.0, 0.0, -32.0]] * 2))
    assert scores.argmax(1).tolist() == [1, 1]


def test_a_class_without_an_autoencoder_is_the_alarm() -> None:
    """A sample that its one autoencoder errs on by more than the alarm's error is of the other class."""
    network = Autoencoders(gains(0.0), 2)
    network.alarm.data.fill_(4.0)
    assert network(torch.tensor([[1.0] * 4, [3.0] * 4])).argmax(1).tolist() == [0, 1]


def test_an_autoencoder_learns_from_its_own_class_alone() -> None:
    """The gradient of a batch reaches the autoencoder of its class and no other; none comes of a class without one."""
    network = Autoencoders(gains(0.5, 0.5), 2)
    x = torch.ones(3, 4)
    network.loss(network(x), torch.tensor([1, 1, 1])).backward()  # type: ignore[no-untyped-call]
    first, second = (layer.weight.grad for layer in network.autoencoders)
    assert first is not None
    assert second is not None
    assert not first.any()
    assert second.any()
    alone = Autoencoders(gains(0.5), 2)
    assert alone.loss(alone(x), torch.tensor([1, 1, 1])).item() == 0


def test_discrimination_teaches_what_is_not_of_a_class() -> None:
    """With the cross entropy in the loss, an autoencoder also learns to err on the samples of others."""
    network = Autoencoders(gains(0.5, 0.5), 2, discrimination=0.1)
    network.loss(network(torch.ones(2, 4)), torch.tensor([1, 1])).backward()  # type: ignore[no-untyped-call]
    other = network.autoencoders[0].weight.grad
    assert isinstance(other, torch.Tensor)
    assert (other.diagonal() > 0).all()  # a step down the gradient takes it away from the identity


def test_the_alarm_comes_to_lie_above_almost_all_normal_samples() -> None:
    """Trained, the alarm's error is the 99 % quantile of the errors of the samples it saw."""
    network = Autoencoders(gains(0.0), 2)
    x = torch.from_numpy(np.random.default_rng(0).random((1000, 4), np.float32))
    optimizer = torch.optim.SGD([network.alarm], 0.5)
    for _ in range(300):
        optimizer.zero_grad()
        network.loss(network(x), torch.zeros(1000, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert 0.98 <= (network(x).argmax(1) == 0).float().mean() <= 1.0
    errors = x.square().mean(1)
    assert abs(network.alarm.item() - errors.quantile(0.99).item()) < 0.02


@pytest.mark.parametrize(
    ("name", "shape", "classes", "params", "hidden"),
    [
        ("autoencoder-mnist", (1, 28, 28), 10, 11_495_200, [512, 256, 128, 64, 128, 256, 512]),
        ("autoencoder-fraud", (29,), 2, 2_534, [24, 16, 8, 16, 24]),
    ],
)
def test_the_autoencoders_are_hourglasses(
    name: str, shape: tuple[int, ...], classes: int, params: int, hidden: list[int]
) -> None:
    """Both networks have the widths they are told by, and give one score a class."""
    network = build(f"edgecnn:{name}")
    assert network.input_shape == shape
    assert sum(p.numel() for p in network.module.parameters()) == params
    assert network.outputs(np.zeros((3, *shape), np.float32))[0].shape == (3, classes)
    layers = [layer for layer in network.module.autoencoders[0] if isinstance(layer, nn.Linear)]  # type: ignore[union-attr, index]
    assert [layer.out_features for layer in layers[:-1]] == hidden


def test_an_hourglass_ends_in_a_linear_layer() -> None:
    """Nothing bends what the last layer gives: features may be negative."""
    assert [type(layer) for layer in hourglass(5, 3, 2)] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


def test_a_checkpoint_brings_an_autoencoder_back(tmp_path: Path) -> None:
    """Written and read, one with a narrower hidden layer and another alarm gives the same scores."""
    network = build("edgecnn:autoencoder-fraud")
    layers = network.module.autoencoders[0]  # type: ignore[union-attr, index]
    layers[0], layers[2] = nn.Linear(29, 11), nn.Linear(11, 16)  # type: ignore[operator]
    network.module.alarm.data.fill_(0.25)  # type: ignore[union-attr, operator]
    assert network.checkpoint is not None
    network.checkpoint.save(tmp_path / "f.safetensors", network.module)
    x = np.random.default_rng(0).standard_normal((5, 29)).astype(np.float32)
    np.testing.assert_array_equal(build(str(tmp_path / "f.safetensors")).outputs(x)[0], network.outputs(x)[0])
