"""Batch norm's statistics follow a cut."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.compress.bn_recalibration import moving_statistics, noting_statistics
from edgecnn.compress.channels import OUT
from edgecnn.compress.judging import ERROR, Trial
from edgecnn.compress.prefix_cache import live_bytes
from edgecnn.compress.prune import cut
from edgecnn.compress.sensitivity import SensitivityConfig, sensitivity
from edgecnn.compress.train import TrainConfig, train
from edgecnn.datasets import Dataset
from edgecnn.normalization import preprocess
from edgecnn.tasks.classification import Top1

SHAPE = (1, 8, 8)


def moments_of(module: nn.Module, x: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return the mean and the variance [C] of what each batch norm of *module* gives."""
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_layer: nn.Module, _inputs: object, y: torch.Tensor) -> None:
            found[name] = y.mean((0, 2, 3)), y.var((0, 2, 3), correction=0)

        return hook

    norms = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [layer.register_forward_hook(note(name)) for name, layer in norms]
    with torch.no_grad():
        module(x)
    for one in hooks:
        one.remove()
    return found


@pytest.mark.parametrize("whole_passes", [False, True])
def test_what_is_left_gives_what_it_gave(
    digits: nn.Module, data: Dataset, whole_passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the same images, each channel that is left has the mean and the spread it had in the original."""
    before = copy.deepcopy(digits.state_dict())
    made = [cut(digits, SHAPE, cuts) for cuts in ({"features.0": 0.5}, {"features.4": 0.25}, {"features.8": 0.5})]
    same = copy.deepcopy(digits)
    trial = Trial(digits, [*(one.module for one in made), same], data.training, data.normalization)
    if whole_passes:
        monkeypatch.setattr(trial, "starts", [0] * len(trial.starts))
    trial.recalibrate_batch_norm(data.evaluation, [*(one.removed_channels for one in made), {}])

    chosen = data.evaluation.take(256, seed=3)
    x = torch.from_numpy(np.ascontiguousarray(preprocess(chosen.images[chosen.indices], data.normalization)))
    original = moments_of(digits, x)
    moved = 0
    for one in made:
        for name, found in moments_of(one.module, x).items():
            lost = set(one.removed_channels.get((name, OUT), ()))
            kept = [index for index in range(len(original[name][0])) if index not in lost]
            for mine, theirs in zip(found, original[name], strict=True):
                torch.testing.assert_close(mine, theirs[kept], atol=1e-3, rtol=1e-3)
            moved += not torch.equal(one.module.state_dict()[f"{name}.running_mean"], before[f"{name}.running_mean"])
    assert moved >= 3
    # What was not cut stays as it was, and so does the original, with which the variants share tensors.
    torch.testing.assert_close(same.state_dict(), before, atol=1e-5, rtol=1e-5)
    for name, tensor in digits.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.slow
def test_a_cut_loses_less_where_the_statistics_follow(digits: nn.Module, data: Dataset) -> None:
    """Every convolution cut by half; by images that are none of the network's, they lose more again."""
    config = SensitivityConfig(ratios=(0.5,), agreement=1)
    noise = replace(data.evaluation, images=np.random.default_rng(0).permuted(data.evaluation.images, axis=0))
    loss_increases, accuracies, judges = {}, set(), data.training.take(300)
    for name, calibration in (("none", None), ("images", data.evaluation), ("noise", noise)):
        found = sensitivity(digits, SHAPE, judges, config, data.normalization, calibration=calibration)
        convolutions = [row for row in found.rows if row.unit.startswith("features")]
        assert len(convolutions) == 3
        accuracies.add(found.score.value)
        loss_increases[name] = sum(row.loss_increase.mean for row in convolutions)
    assert len(accuracies) == 1  # the original's, whatever cuts recalibrate on
    assert loss_increases["images"] < 0.8 * loss_increases["none"]
    assert loss_increases["images"] < 0.9 * loss_increases["noise"]


def test_a_layer_that_goes_whole_is_followed_too(data: Dataset) -> None:
    """The batch norm behind it is given what another layer gives, and follows."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)),
    )
    trained = train(net, data.training, TrainConfig(epochs=6, learning_rate=2e-2), data.normalization)
    made = cut(trained, SHAPE, {"3": 1})
    assert "3" in made.removed
    correct = []
    for calibration in (None, data.evaluation):
        trial = Trial(trained, [copy.deepcopy(made.module)], data.training, data.normalization)
        if calibration is not None:
            trial.recalibrate_batch_norm(calibration, [made.removed_channels])
        trial.advance([0], 0)
        correct.append(Top1().value(trial.records(0)))
    assert correct[1] > correct[0]


def test_cuts_settle_on_as_many_samples_as_any_start_allows(
    digits: nn.Module, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the memory does not hold what all starts need, several passes give the same."""
    cuts = [{"features.0": 0.5}, {"features.4": 0.25}, {"features.8": 0.5}]
    states = []
    for memory_is_short in (False, True):
        made = [cut(digits, SHAPE, one) for one in cuts]
        trial = Trial(digits, [one.module for one in made], data.training, data.normalization)
        assert (trial.batch_size == 256) == (not memory_is_short)
        trial.recalibrate_batch_norm(data.evaluation, [one.removed_channels for one in made])
        states.append([trial.scales, [variant.state_dict() for variant in trial.variants]])
        most = max(live_bytes(trial.calls, trial._trace, {start}) / len(trial._trace.x) for start in trial.starts)
        monkeypatch.setattr("edgecnn.compress.judging._KEPT_BYTES", 256 * most)
    torch.testing.assert_close(states[0], states[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_statistics_keep_their_type(dtype: torch.dtype) -> None:
    """A network that computes in something else within still runs."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).to(dtype).eval()
    x = torch.rand(8, 3, 4, 4, dtype=dtype)
    with torch.no_grad(), noting_statistics(net) as before:
        net(x)
    with torch.no_grad(), moving_statistics(net, before, {}, ["1"]):
        assert net(2 * x).dtype == dtype
    assert net[1].running_var.dtype == dtype
    assert (net[1].running_var > 1).all()


def test_a_classifier_that_is_less_sure_of_the_same_is_not_harmed(digits: nn.Module, data: Dataset) -> None:
    """Scores of a third: the same answers; the loss increase is none where their spread follows."""
    calm = copy.deepcopy(digits)
    last = [layer for layer in calm.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter /= 3
    loss_increases = []
    for recalibrated in (False, True):
        trial = Trial(digits, [copy.deepcopy(calm)], data.training, data.normalization)
        if recalibrated:
            trial.recalibrate_batch_norm(data.evaluation, [{}])
        trial.advance([0], 0)
        assert np.array_equal(trial.records(0), trial.records_of_original())
        loss_increases.append(float((trial.outcomes(0)[ERROR] - trial.of_original()[ERROR]).mean()))
    assert loss_increases[0] > 0.05
    assert abs(loss_increases[1]) < 1e-4
