"""Scores of files: right answers, and for two classes the area under the ROC curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tflite_builder import Builder, schema

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig
from edgecnn.benchmarks.plan import measure_files
from edgecnn.datasets import Dataset, in_memory
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.choice import TaskChoice
from edgecnn.evaluate.files import chance_warning, evaluate
from edgecnn.samples import Samples
from edgecnn.targets.execute import run_file
from edgecnn.tasks.roc import ranking
from edgecnn.tasks.score import accuracy_from_json, accuracy_to_json, scores_from_json, scores_to_json, share


def linear(path: Path, weights: npt.NDArray[np.float32], *, softmax: bool = False) -> Artifact:
    """Write a file that multiplies its input [n] by *weights* [outputs, n]."""
    net = Builder("float32")
    outputs, n = weights.shape
    x = net.tensor((1, n))
    w = net.tensor(weights.shape, data=weights)
    y = net.operator("FULLY_CONNECTED", (x, w, net.bias(outputs)), (1, outputs), schema.FullyConnectedOptionsT())
    path.write_bytes(net.file([x], [net.softmax(y) if softmax else y]))
    return Artifact.open(path)


def data_of(x: npt.NDArray[Any], y: npt.NDArray[Any] | None, classes: int | None = None, **facts: Any) -> Dataset:
    """Return a data set of samples for evaluation, of class numbers where *y* are some."""
    samples = Samples.of(x, y)
    labels = None if classes is None else tuple(map(str, range(classes)))
    task = "classification" if samples.class_numbers is not None else None
    return replace(in_memory("data", samples, samples, None, labels), **{"task": task, **facts})


@pytest.mark.parametrize("classes", [2, 3])
def test_two_classes_have_an_auc(tmp_path: Path, classes: int) -> None:
    """It is that of the scores of all batches together, and goes to JSON and back; more classes have none."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 6)).astype(np.float32), rng.integers(0, 2, 150)
    weights = rng.normal(size=(classes, 6)).astype(np.float32)
    found = evaluate(linear(tmp_path / "net.tflite", weights), data_of(x, y))
    scores = x @ weights.T
    assert found.score is not None
    assert found.score.value == (scores.argmax(1) == y).mean()
    document = scores_to_json(found.scores)
    area = ranking(scores[:, 1] - scores[:, 0], y).auc
    assert document["accuracy"].get("auc") == (pytest.approx(area) if classes == 2 else None)
    assert document["score"] is None
    read = scores_from_json(document, "result")
    assert [(one.name, one.value, one.low) for one in read] == [(one.name, one.value, one.low) for one in found.scores]


def test_samples_of_one_class_have_no_auc(tmp_path: Path) -> None:
    """There is nothing to tell apart."""
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    file = linear(tmp_path / "net.tflite", np.ones((2, 6), np.float32))
    found = evaluate(file, data_of(x, np.zeros(20, int)))
    assert [score.name for score in found.scores] == ["accuracy"]
    assert "auc" not in scores_to_json(found.scores)["accuracy"]


def test_small_probabilities_are_told_apart(tmp_path: Path) -> None:
    """Beside a probability of nearly 1, those of 1e-9 and 1e-12 rank as they should."""
    x = np.array([[-20.0], [-21.0], [-22.0], [-23.0]], dtype=np.float32)
    file = linear(tmp_path / "net.tflite", np.array([[0.0], [1.0]], np.float32), softmax=True)
    found = evaluate(file, data_of(x, np.array([1, 1, 0, 0])))
    assert {score.name: score.value for score in found.scores}["AUC"] == 1.0


def scorer(path: Path, outputs: int, shift: int) -> Artifact:
    """Write a file whose input [classes] is moved by *shift* among its *outputs*: it is right on one-hot samples."""
    return linear(path, np.eye(outputs, outputs - 1, -shift, dtype=np.float32))


@pytest.mark.parametrize(("shift", "sentence"), [(1, "treated as a background class"), (0, "output 0 is treated as")])
def test_a_background_class_is_recognised(tmp_path: Path, shift: int, sentence: str) -> None:
    """One output more than classes is judged both ways, by what is right; the result says which way it was."""
    y = np.arange(20) % 5
    found = evaluate(scorer(tmp_path / "net.tflite", 6, shift), data_of(np.eye(5, dtype=np.float32)[y], y, 5))
    assert found.score is not None
    assert (found.score.value, found.score.n, found.score.details["class_offset"]) == (1.0, 20, shift)
    assert found.confusion == {(label, label): 4 for label in range(5)}
    document = accuracy_to_json(found.score)
    assert document.get("class_offset", 0) == shift
    assert accuracy_from_json(document).details.get("class_offset", 0) == shift
    assert sentence in found.assumptions[-1]
    assert not found.score.is_chance


@pytest.mark.parametrize(("correct", "n", "classes", "is_chance"), [(9, 1000, 1000, False), (2, 1000, 1000, True),
                         (60, 539, 10, True), (100, 539, 10, False), (5, 5, 10, False), (55, 100, 2, True),
                         (3, 4, None, False), (4, 4, 1, False)])  # fmt: skip
def test_chance_is_told_beyond_the_interval(correct: int, n: int, classes: int | None, is_chance: bool) -> None:
    """An accuracy whose interval holds that of guessing is said to be no better; one above it is not."""
    score = share("accuracy", correct, n, classes=classes)
    assert score.is_chance == is_chance
    warnings = chance_warning("the file", score)
    assert bool(warnings) == is_chance
    if is_chance:
        assert f"of {n} samples, no better than chance among {classes} classes" in warnings[0]


def test_each_number_of_threads_gets_the_score_and_its_warning(tmp_path: Path, brief: BenchmarkConfig) -> None:
    """The score is taken once; that it is no better than chance is said of every result."""
    y = np.arange(200) % 5
    np.savez(tmp_path / "a.npz", x_test=np.eye(5, dtype=np.float32)[(y + 2) % 5], y_test=y)
    file = scorer(tmp_path / "net.tflite", 6, 0).path
    effort = replace(brief, processes=1)
    results = list(measure_files([file], threads=(1, 2), data=f"npz:{tmp_path / 'a.npz'}", effort=effort))
    assert [result.threads for result in results] == [1, 2]
    for result in results:
        assert result.score is not None
        assert result.score.value == 0
        assert "no better than chance among 5 classes" in result.warnings[0]


def dense(path: Path, outputs: int, *, sigmoid: bool = False) -> Artifact:
    """Write a file of one dense layer on 4 values, with a sigmoid behind it or not."""
    net = Builder("float32")
    x = net.tensor((1, 4))
    y = net.dense(x, outputs)
    path.write_bytes(net.file([x], [net.operator("LOGISTIC", (y,), (1, outputs)) if sigmoid else y]))
    return Artifact.open(path)


def test_one_value_without_a_sigmoid_is_no_classifier(tmp_path: Path) -> None:
    """One clear line says what a classifier gives, and what to say of a network that is none."""
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32) * 9
    with pytest.raises(EdgecnnError, match=r"net\.tflite: .*one value a sample from .* end the network with a sigmoid"):
        evaluate(dense(tmp_path / "net.tflite", 1), data_of(x, np.arange(8)))


def test_one_value_of_a_sigmoid_tells_two_classes_apart(tmp_path: Path) -> None:
    """It is the probability of class 1: the accuracy is that at 0.5, and there is an AUC."""
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    file = dense(tmp_path / "net.tflite", 1, sigmoid=True)
    given = np.concatenate(next(iter(run_file(file, [[x]])))).reshape(-1)
    y = np.where(np.arange(50) < 40, given > 0.5, given <= 0.5).astype(int)
    found = evaluate(file, data_of(x, y, 2))
    assert [score.name for score in found.scores] == ["accuracy", "AUC"]
    assert found.scores[0].value == 0.8
    assert found.scores[1].value == pytest.approx(ranking(given, y).auc)


@pytest.mark.parametrize(
    ("task", "metric", "y", "told"),
    [
        ("regression", None, np.zeros((8, 2), np.float32), r"output is \[3\], its target is \[2\]"),
        ("multilabel", None, np.full((8, 3), 2), "targets that are 0 or 1"),
        ("reconstruction", None, None, r"input is \[4\], its output is \[3\]"),
        ("segmentation", None, np.arange(8), "no label images"),
        ("classification", None, np.full(8, 3), "distinguishes 3 classes, but the data has more .label 3."),
        ("classification", None, np.zeros((8, 3)), "one class number for each sample"),
        ("classifcation", None, np.zeros(8, int), "did you mean 'classification'"),
        ("classification", "top-6", np.zeros(8, int), "unknown metric of task classification 'top-6'"),
        (None, "accuracy", None, "--metric accuracy is a metric of a task: add --task NAME"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, task: Any, metric: Any, y: Any, told: str) -> None:
    """Targets of another form, labels beyond the outputs, and names that are not known."""
    file = dense(tmp_path / "net.tflite", 3)
    choice = TaskChoice(task=task, metric=metric)
    with pytest.raises(EdgecnnError, match=told):
        evaluate(file, data_of(np.ones((8, 4), np.float32), y, task=None), task=choice)


def test_a_task_is_what_the_user_says_then_the_file_then_the_data(tmp_path: Path) -> None:
    """As many outputs as inputs say nothing: without a word there is no score, and each word counts in its turn."""
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    file = dense(tmp_path / "net.tflite", 4)
    assert evaluate(file, data_of(x, None)).scores == ()
    classified = evaluate(file, data_of(x, np.arange(30) % 4))
    assert [score.name for score in classified.scores] == ["accuracy"]
    given_back = evaluate(file, data_of(x, np.arange(30) % 4), task="reconstruction")
    assert [score.name for score in given_back.scores] == ["energy explained"]


def test_a_file_chooses_no_code(tmp_path: Path) -> None:
    """A metric or a decoder of somebody's own in the metadata is told, not run; what the user names is not told."""
    metadata = {"task": "regression", "metric": "evil.py:run", "decode": {"decoder": "evil:decode"}}
    choice, remarks = TaskChoice.recorded(metadata, "net.tflite")
    assert choice == TaskChoice(task="regression")
    assert remarks == (
        "net.tflite was judged by evil.py:run, which is not edgecnn's code; if you trust it, add --metric evil.py:run",
        "net.tflite was judged by evil:decode, which is not edgecnn's code; if you trust it, add --decode evil:decode",
    )
    given = TaskChoice(metric="mine.py:run")
    assert [one.partition(",")[0] for one in TaskChoice.recorded(metadata, "net.tflite", given)[1]] == [
        "net.tflite was judged by evil:decode"
    ]


def test_a_metric_of_ones_own_is_one_function(tmp_path: Path) -> None:
    """It is given all outputs and targets, and has an interval by bootstrap; the task's own scores stand beside it."""
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    (tmp_path / "mine.py").write_text("def first(outputs, targets):\n    return (outputs[:, 0] > 0).mean()\n")
    file = dense(tmp_path / "net.tflite", 3)
    choice = TaskChoice(metric=f"{tmp_path / 'mine.py'}:first")
    found = evaluate(file, data_of(x, np.arange(40) % 3), task=choice)
    outputs = np.concatenate([part[0] for part in run_file(file, [[x]])])
    assert [score.name for score in found.scores] == ["first", "accuracy"]
    assert found.scores[0].value == (outputs[:, 0] > 0).mean()
    assert found.scores[0].low < found.scores[0].value < found.scores[0].high
