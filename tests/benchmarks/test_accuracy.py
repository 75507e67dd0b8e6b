"""Accuracies of files: right answers, and for two classes the area under the ROC curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.benchmarks.accuracy import evaluate
from edgecnn.benchmarks.detection import detection
from edgecnn.export.tflite import to_tflite
from edgecnn.measurement import Accuracy
from edgecnn.samples import Samples


@pytest.mark.parametrize("classes", [2, 3])
def test_two_classes_have_an_auc(tmp_path: Path, classes: int) -> None:
    """It is that of the scores of all batches together, and goes to JSON and back; more classes have none."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 6)).astype(np.float32), rng.integers(0, 2, 150)
    torch.manual_seed(0)
    net = nn.Linear(6, classes).eval()
    file = to_tflite(net, tmp_path / "net.tflite", (6,))
    accuracy = evaluate(file, Samples.of(x, y)).accuracy
    assert accuracy is not None
    with torch.no_grad():
        scores = net(torch.from_numpy(x)).numpy()
    assert accuracy.correct == int((scores.argmax(1) == y).sum())
    assert accuracy.auc == (pytest.approx(detection(scores[:, 1] - scores[:, 0], y).auc) if classes == 2 else None)
    assert Accuracy.from_json(accuracy.to_json()) == accuracy


def test_samples_of_one_class_have_no_auc(tmp_path: Path) -> None:
    """There is nothing to tell apart."""
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    file = to_tflite(nn.Linear(6, 2).eval(), tmp_path / "net.tflite", (6,))
    accuracy = evaluate(file, Samples.of(x, np.zeros(20))).accuracy
    assert accuracy is not None
    assert accuracy.auc is None
    assert "auc" not in accuracy.to_json()


def test_small_probabilities_are_told_apart(tmp_path: Path) -> None:
    """Beside a probability of nearly 1, those of 1e-9 and 1e-12 rank as they should."""
    x = np.array([[-20.0], [-21.0], [-22.0], [-23.0]], dtype=np.float32)
    net = nn.Sequential(nn.Linear(1, 2), nn.Softmax(1)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.0], [1.0]]))
        net[0].bias.zero_()
    file = to_tflite(net, tmp_path / "net.tflite", (1,))
    accuracy = evaluate(file, Samples.of(x, np.array([1, 1, 0, 0]))).accuracy
    assert accuracy is not None
    assert accuracy.auc == 1.0
