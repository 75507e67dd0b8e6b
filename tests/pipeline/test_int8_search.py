"""The search for an int8 file keeps what is nearest to the float file on samples that no attempt was made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.datasets import DataSource
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import Network
from edgecnn.pipeline import export_model
from edgecnn.pipeline.int8_search import hold_back
from edgecnn.recipe import Recipe
from edgecnn.samples import Samples


def samples(count: int) -> Samples:
    """Return so many images of noise with labels."""
    draw = np.random.default_rng(0)
    return Samples.of(draw.random((count, 1, 8, 8), np.float32), np.arange(count) % 10)


@pytest.mark.parametrize("count", [16, 100, 256, 300, 1000])
def test_held_back_samples_are_no_calibration_samples(count: int) -> None:
    """Whether there are enough of others or not, none is both; at least a sixth is held back."""
    calibration, held = hold_back(samples(count), 256)
    assert not set(calibration.indices.tolist()) & set(held.indices.tolist())
    assert len(calibration) <= 256
    assert len(held) >= min(64, count // 6)


@pytest.mark.slow
def test_the_best_attempt_is_the_file(tmp_path: Path) -> None:
    """Of a network that the ranges alone ruin, what is kept is better than they are, and every attempt is told."""
    torch.manual_seed(0)
    pointwise = nn.Conv2d(16, 24, 1)
    with torch.no_grad():
        pointwise.weight.uniform_(0.2, 0.45).mul_(1 / 127)
        pointwise.weight[torch.arange(24), torch.arange(24) % 16] = 1.0
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), pointwise, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = Network("lossy", nn.Sequential(*layers, nn.Linear(24, 10)).eval())
    recipe = Recipe("own", "", {"tflite": ("w8a8",)})
    x = samples(200)
    result = export_model(network, tmp_path, recipe=recipe, data=(x.images, x.labels), max_drop=0.9)
    [file] = result.files
    assert [text for text in result.warnings if "calibration has 160 samples" in text]
    first, *others = file.attempts
    assert first.quantize == "minmax"
    assert {name for attempt in others for name in attempt.quantize.split(",")} >= {"bias", "cle", "mse", "adaround"}
    best = max(file.attempts, key=lambda attempt: attempt.sqnr_db or 0)
    assert best.sqnr_db is not None
    assert first.sqnr_db is not None
    assert best.sqnr_db > first.sqnr_db + 6
    chosen = [attempt for attempt in file.attempts if attempt.kept][-1]
    assert file.artifact.metadata["quantize"] == chosen.quantize
    assert chosen.sqnr_db is not None
    assert chosen.sqnr_db > best.sqnr_db - 0.1
    [step] = [step for step in file.artifact.history if step["step"] == "quantize"]
    assert step["attempts"] == [attempt.to_json() for attempt in file.attempts]
    assert sorted(path.name for path in tmp_path.glob("*.tflite")) == ["lossy.w8a8.tflite"]


def test_a_drop_is_a_fraction(tmp_path: Path) -> None:
    """Half a point is 0.005; more than everything cannot be lost."""
    network = Network("small", nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())
    with pytest.raises(EdgecnnError, match="fraction"):
        export_model(network, tmp_path, max_drop=1.5, data=DataSource(input_shape=(1, 8, 8)))
