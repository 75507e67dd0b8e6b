"""Accuracies of files: right answers, and for two classes the area under the ROC curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tflite_builder import Builder, schema

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig
from edgecnn.benchmarks.plan import measure_files
from edgecnn.evaluate.accuracy import chance_warning, evaluate
from edgecnn.measurement import Accuracy
from edgecnn.samples import Samples
from edgecnn.tasks.roc import ranking


def linear(path: Path, weights: npt.NDArray[np.float32], *, softmax: bool = False) -> Artifact:
    """Write a file that multiplies its input [n] by *weights* [outputs, n]."""
    net = Builder("float32")
    outputs, n = weights.shape
    x = net.tensor((1, n))
    w = net.tensor(weights.shape, data=weights)
    y = net.operator("FULLY_CONNECTED", (x, w, net.bias(outputs)), (1, outputs), schema.FullyConnectedOptionsT())
    path.write_bytes(net.file([x], [net.softmax(y) if softmax else y]))
    return Artifact.open(path)


@pytest.mark.parametrize("classes", [2, 3])
def test_two_classes_have_an_auc(tmp_path: Path, classes: int) -> None:
    """It is that of the scores of all batches together, and goes to JSON and back; more classes have none."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 6)).astype(np.float32), rng.integers(0, 2, 150)
    weights = rng.normal(size=(classes, 6)).astype(np.float32)
    accuracy = evaluate(linear(tmp_path / "net.tflite", weights), Samples.of(x, y)).accuracy
    assert accuracy is not None
    scores = x @ weights.T
    assert accuracy.correct == int((scores.argmax(1) == y).sum())
    assert accuracy.auc == (pytest.approx(ranking(scores[:, 1] - scores[:, 0], y).auc) if classes == 2 else None)
    assert Accuracy.from_json(accuracy.to_json()) == accuracy


def test_samples_of_one_class_have_no_auc(tmp_path: Path) -> None:
    """There is nothing to tell apart."""
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    file = linear(tmp_path / "net.tflite", np.ones((2, 6), np.float32))
    accuracy = evaluate(file, Samples.of(x, np.zeros(20, int))).accuracy
    assert accuracy is not None
    assert accuracy.auc is None
    assert "auc" not in accuracy.to_json()


def test_small_probabilities_are_told_apart(tmp_path: Path) -> None:
    """Beside a probability of nearly 1, those of 1e-9 and 1e-12 rank as they should."""
    x = np.array([[-20.0], [-21.0], [-22.0], [-23.0]], dtype=np.float32)
    file = linear(tmp_path / "net.tflite", np.array([[0.0], [1.0]], np.float32), softmax=True)
    accuracy = evaluate(file, Samples.of(x, np.array([1, 1, 0, 0]))).accuracy
    assert accuracy is not None
    assert accuracy.auc == 1.0


def scorer(path: Path, outputs: int, shift: int) -> Artifact:
    """Write a file whose input [classes] is moved by *shift* among its *outputs*: it is right on one-hot samples."""
    return linear(path, np.eye(outputs, outputs - 1, -shift, dtype=np.float32))


@pytest.mark.parametrize(("shift", "sentence"), [(1, "treated as a background class"), (0, "output 0 is treated as")])
def test_a_background_class_is_recognised(tmp_path: Path, shift: int, sentence: str) -> None:
    """One output more than classes is judged both ways, by what is right; the result says which way it was."""
    y = np.arange(20) % 5
    samples = Samples.of(np.eye(5, dtype=np.float32)[y], y)
    found = evaluate(scorer(tmp_path / "net.tflite", 6, shift), samples, classes=5)
    assert found.accuracy is not None
    assert (found.accuracy.correct, found.accuracy.n, found.accuracy.class_offset) == (20, 20, shift)
    assert found.confusion == {(label, label): 4 for label in range(5)}
    assert found.accuracy.to_json().get("class_offset", 0) == shift
    assert Accuracy.from_json(found.accuracy.to_json()) == found.accuracy
    assert sentence in found.assumptions[-1]
    assert not found.accuracy.is_chance


@pytest.mark.parametrize(("correct", "n", "classes", "is_chance"), [(9, 1000, 1000, False), (2, 1000, 1000, True),
                         (60, 539, 10, True), (100, 539, 10, False), (5, 5, 10, False), (55, 100, 2, True),
                         (3, 4, None, False), (4, 4, 1, False)])  # fmt: skip
def test_chance_is_told_beyond_the_interval(correct: int, n: int, classes: int | None, is_chance: bool) -> None:
    """An accuracy whose interval holds that of guessing is said to be no better; one above it is not."""
    accuracy = Accuracy(correct, n, classes=classes)
    assert accuracy.is_chance == is_chance
    warnings = chance_warning("the file", accuracy)
    assert bool(warnings) == is_chance
    if is_chance:
        assert f"of {n} samples, no better than chance among {classes} classes" in warnings[0]


def test_each_number_of_threads_gets_the_accuracy_and_its_warning(tmp_path: Path, brief: BenchmarkConfig) -> None:
    """The accuracy is taken once; that it is no better than chance is said of every result."""
    y = np.arange(200) % 5
    np.savez(tmp_path / "a.npz", x_test=np.eye(5, dtype=np.float32)[(y + 2) % 5], y_test=y)
    file = scorer(tmp_path / "net.tflite", 6, 0).path
    effort = replace(brief, processes=1)
    results = list(measure_files([file], threads=(1, 2), data=f"npz:{tmp_path / 'a.npz'}", effort=effort))
    assert [result.threads for result in results] == [1, 2]
    for result in results:
        assert result.accuracy is not None
        assert result.accuracy.correct == 0
        assert "no better than chance among 5 classes" in result.warnings[0]


def test_a_file_with_one_value_a_sample_is_no_classifier(tmp_path: Path) -> None:
    """Labels that are class numbers give no accuracy of a regression, and the reason is the file's output."""
    net = Builder("float32")
    x = net.tensor((1, 4))
    (tmp_path / "net.tflite").write_bytes(net.file([x], [net.dense(x, 1)]))
    samples = Samples.of(np.zeros((8, 4), np.float32), np.arange(8))
    found = evaluate(Artifact.open(tmp_path / "net.tflite"), samples, classes=8)
    assert found.accuracy is None
    assert found.assumptions[-1] == (
        "no accuracy: net.tflite gives 1 value a sample, not one score for each class; only classifiers have an "
        "accuracy"
    )
