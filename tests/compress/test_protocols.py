"""Training protocols: their learning rates, averaged weights, and going on after a stop."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import edgecnn.compress.train as trains
from edgecnn.compress import learning_rate, protocols
from edgecnn.compress.averaging import take_average, update_average
from edgecnn.compress.learning_rate import OneCycle, Plateau
from edgecnn.compress.protocols import PROTOCOLS, training_protocol
from edgecnn.compress.train import TrainConfig, train
from edgecnn.datasets import open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from edgecnn.study.definition import PROTOCOLS as DESCRIBED


def optimizer_of(rate: float) -> torch.optim.Optimizer:
    """An optimizer of one parameter."""
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate, momentum=0.9)


@pytest.mark.parametrize("module", [learning_rate, protocols], ids=lambda module: module.__name__)
def test_the_examples_run(module: object) -> None:
    """Each example in a docstring gives what stands beside it."""
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_every_protocol_is_described() -> None:
    """The names that a study may give are those that have settings."""
    assert set(PROTOCOLS) == set(DESCRIBED)


def test_protocol_b_has_the_published_rates() -> None:
    """5e-4 first, the peak after a tenth of the steps, 5e-8 last; momentum 0.95, 0.85, 0.95."""
    config, seen = training_protocol("b"), []
    optimizer = optimizer_of(1.0)
    schedule = OneCycle(optimizer, config.learning_rate, 100, pct_start=config.warmup)
    for step in range(100):
        if step in (0, 9, 99):
            seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if step < 99:
            schedule.step()
    assert [pytest.approx(rate, rel=1e-3) for rate in (5e-4, 0.0125, 5e-8)] == [rate for rate, _ in seen]
    assert [momentum for _, momentum in seen] == pytest.approx([0.95, 0.85, 0.95], abs=1e-4)


def test_protocol_a_ends_when_the_loss_no_longer_falls() -> None:
    """The rate falls to a tenth in the sixth epoch without a better loss, never below 1e-5; ten end the training."""
    optimizer = optimizer_of(0.01)
    plateau = Plateau(optimizer)
    rates = []
    for loss in (2.0, 1.0, *[1.0] * 10):
        assert not plateau.is_over
        plateau.end_epoch(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert plateau.is_over
    assert rates == [pytest.approx(0.01)] * 7 + [pytest.approx(0.001)] * 5
    for _ in range(40):
        plateau.end_epoch(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)


def test_the_average_of_weights() -> None:
    """The average moves by 1 - decay, at first further; batch norm takes its statistics with the averaged weights."""
    layer = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1)).train()
    weight = layer[0].weight
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for value in (1.0, 3.0):
        with torch.no_grad():
            weight.fill_(value)
        weight.grad = torch.zeros_like(weight)
        update_average(optimizer, 0.75)
    take_average(layer, optimizer, [torch.tensor([[1.0], [3.0]])])
    assert weight.item() == pytest.approx(1 + 2 * (1 - 2 / 11))
    assert layer[1].running_mean.item() == pytest.approx(2 * weight.item())
    assert layer[1].momentum == 0.1


@pytest.mark.parametrize("name", ["a", "c"])
def test_a_stopped_protocol_goes_on_to_the_same_network(tmp_path: Path, name: str) -> None:
    """What a protocol keeps between epochs (losses, averages) is in the state file: stopped or not, one network."""
    data = open_dataset("digits")
    samples, start = data.training.take(200), build("edgecnn:digits-cnn").module
    config = replace(training_protocol(name, epochs=2), batch_size=64, augmentation=trains.NO_AUGMENTATION)

    def stop(step: str, done: int = 0, total: int | None = None) -> None:
        if done == 6:  # of 3 or 4 steps an epoch
            raise KeyboardInterrupt

    whole = train(start, samples, config, data.normalization)
    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(start, samples, config, data.normalization, stop, state=state)
    resumed = train(start, samples, config, data.normalization, state=state)
    for (key, tensor), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), key


def test_the_last_samples_of_an_epoch_are_shown() -> None:
    """With `keep_last_batch` an epoch of 300 samples at 128 has three steps, without it two."""
    data = open_dataset("digits")
    samples, start = data.training.take(300), build("edgecnn:digits-cnn").module
    for keep, expected in ((True, 3), (False, 2)):
        steps: list[int] = []

        def count(step: str, done: int = 0, total: int | None = None, steps: list[int] = steps) -> None:
            steps.append(done)

        config = TrainConfig(epochs=1, batch_size=128, keep_last_batch=keep)
        train(start, samples, config, data.normalization, count)
        assert steps == list(range(1, expected + 1))


def test_grouped_convolutions_train_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, where grouped convolutions are slower in bfloat16, a network that has some trains without it."""
    monkeypatch.setattr(trains, "_has_bfloat16", lambda device: True)
    cpu = torch.device("cpu")
    for groups, expected in ((1, torch.bfloat16), (2, torch.float32)):
        convolution = nn.Conv2d(4, 4, 1, groups=groups)
        with trains._in_bfloat16(cpu, convolution), torch.no_grad():
            assert convolution(torch.zeros(1, 4, 2, 2)).dtype == expected


def test_an_unknown_protocol_is_named() -> None:
    """A protocol that is not there is answered with those that are."""
    with pytest.raises(EdgecnnError, match="unknown protocol 'd'; known: a, b, c"):
        training_protocol("d")
