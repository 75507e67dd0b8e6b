"""Tasks: scores equal to scikit-learn's, intervals, own metrics, and one line for what does not fit."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.tasks import TASKS, load_task
from edgecnn.tasks.own import as_metric, own_metric
from edgecnn.tasks.score import Score
from edgecnn.tasks.task import Outputs, TargetFacts, Task, drop_between, score_of

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def sklearn() -> Any:
    """scikit-learn's metrics: 2 s, not for those who only collect the tests."""
    return importlib.import_module("sklearn.metrics")


def scores(task: Task, outputs: Outputs, targets: Any) -> dict[str, Score]:
    """Return the scores of *task*, by name."""
    return {metric.name: score_of(metric, metric.record(outputs, targets)) for metric in task.metrics}


def test_classification_is_scikit_learns(sklearn: Any) -> None:
    """Top-5, and the recall and precision of each class."""
    logits, labels = RNG.normal(size=(300, 8)), RNG.integers(0, 8, 300)
    top1, top5, _ = load_task("classification").metrics
    found = score_of(top1, top1.record([logits], labels))
    answers = logits.argmax(1)
    assert found.value == (answers == labels).mean()
    assert found.details["recall"] == pytest.approx(sklearn.recall_score(labels, answers, average=None))
    assert found.details["precision"] == pytest.approx(sklearn.precision_score(labels, answers, average=None))
    assert sum(count for *_, count in found.details["confusion"]) == 300
    assert score_of(top5, top5.record([logits], labels)).value == sklearn.top_k_accuracy_score(labels, logits, k=5)


def test_class_numbers_are_answers_themselves() -> None:
    """A network that ends with an argmax is judged by what it says."""
    top1 = load_task("classification").metrics[0]
    assert top1.value(top1.record([np.array([[0], [2], [1]])], np.array([0, 2, 2]))) == pytest.approx(2 / 3)


@pytest.mark.parametrize("shape", [(200,), (200, 1), (200, 3), (200, 2, 4, 5)])
def test_regression_is_scikit_learns(sklearn: Any, shape: tuple[int, ...]) -> None:
    """R² weighs channels by their variance; errors are means over all values; any shape."""
    truth = (
        RNG.normal(size=shape)
        * np.arange(1, 1 + (shape[1] if len(shape) > 1 else 1)).reshape(-1, *[1] * (len(shape) - 2))
        if len(shape) > 1
        else RNG.normal(size=shape)
    )
    given = truth + 0.3 * RNG.normal(size=shape)
    found = scores(load_task("regression"), [given.astype(np.float32)], truth)
    rows = [np.moveaxis(array.reshape(len(array), *(shape[1:2] or (1,)), -1), 1, 2).reshape(-1, *(shape[1:2] or (1,)))
            for array in (truth, given)]  # fmt: skip
    assert found["R²"].value == pytest.approx(sklearn.r2_score(*rows, multioutput="variance_weighted"), abs=1e-5)
    assert found["MAE"].value == pytest.approx(sklearn.mean_absolute_error(truth.ravel(), given.ravel()), rel=1e-4)
    assert found["RMSE"].value == pytest.approx(sklearn.root_mean_squared_error(truth.ravel(), given.ravel()), rel=1e-4)
    assert found["R²"].low < found["R²"].value < found["R²"].high
    assert not found["R²"].is_chance
    assert not found["RMSE"].higher_is_better


def test_several_outputs_are_one_target() -> None:
    """Two outputs of one value each, and targets of two columns."""
    truth = RNG.normal(size=(50, 2))
    found = scores(load_task("regression"), [truth[:, :1], truth[:, 1:]], truth)
    assert found["R²"].value == 1


def test_multilabel_is_scikit_learns(sklearn: Any) -> None:
    """The mean average precision of logits too; F1 at 0.5 of probabilities, and none of logits."""
    marks = RNG.integers(0, 2, (150, 4))
    probabilities = np.clip(0.3 * marks + 0.6 * RNG.random((150, 4)), 0, 1)
    found = scores(load_task("multilabel"), [probabilities], marks)
    assert found["mAP"].value == pytest.approx(sklearn.average_precision_score(marks, probabilities, average="macro"))
    assert found["F1"].value == pytest.approx(sklearn.f1_score(marks, probabilities > 0.5, average="micro"))
    f1 = load_task("multilabel").metrics[1]
    assert math.isnan(f1.value(f1.record([10 * probabilities], marks)))


def test_reconstruction_is_the_energy_explained() -> None:
    """Nothing given explains nothing; half of every value explains three quarters; the input itself all."""
    (metric,) = load_task("reconstruction").metrics
    x = RNG.normal(size=(20, 3, 4, 4)).astype(np.float32)
    for factor, share in ((0.0, 0.0), (0.5, 0.75), (1.0, 1.0)):
        assert metric.value(metric.record([factor * x.reshape(20, -1)], x)) == pytest.approx(share)


def test_embeddings_find_their_like() -> None:
    """Directions of two classes: all are found; lengths say nothing; a copy of the vectors has a cosine of 1."""
    classes = np.arange(40) % 2
    vectors = np.stack([classes, 1 - classes], axis=1) + 0.1 * RNG.random((40, 2))
    vectors *= RNG.uniform(0.1, 9, (40, 1))
    cosine, retrieval = load_task("embedding").metrics
    assert score_of(retrieval, retrieval.record([vectors], classes)).value == 1
    assert score_of(cosine, cosine.record([3 * vectors], [vectors])).value == pytest.approx(1)
    assert score_of(cosine, cosine.record([-vectors], [vectors])).value == pytest.approx(-1)


@settings(deadline=None, max_examples=25)
@given(st.integers(20, 200), st.floats(0, 1), st.integers(0, 9))
def test_an_interval_holds_its_value(n: int, noise: float, seed: int) -> None:
    """That of a bootstrap as that of a formula; the same records have the same one."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    records = (metric := load_task("regression").metrics[0]).record([truth + noise * rng.normal(size=n)], truth)
    found = score_of(metric, records)
    assert found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high
    assert score_of(metric, records) == found


def test_a_paired_drop_is_known_better_than_two_scores() -> None:
    """The same noise in both: what one lost beside the other has a narrower interval than either score."""
    metric = load_task("regression").metrics[0]
    truth = RNG.normal(size=200)
    noise = RNG.normal(size=200)
    before, after = (metric.record([truth + factor * noise], truth) for factor in (0.5, 0.51))
    mean, low, high = drop_between(metric, before, after)
    assert low < mean < high
    alone = score_of(metric, before)
    assert high - low < 0.3 * (alone.high - alone.low)
    error = load_task("regression").metrics[2]
    records = [error.record([truth + factor * noise], truth) for factor in (0.5, 0.6)]
    assert drop_between(error, *records)[0] == pytest.approx(0.2)


class Mean:
    """A metric in two steps, as libraries have them."""

    higher_is_better = False

    def __init__(self) -> None:
        self.total, self.n = 0.0, 0

    def update(self, outputs: Any, targets: Any) -> None:
        """Take a batch."""
        self.total += float(abs(outputs[:, 0] - targets).sum())
        self.n += len(targets)

    def compute(self) -> float:
        """Return the mean."""
        return self.total / self.n


class Records:
    """A metric of edgecnn's own form."""

    name = "right"
    higher_is_better = True

    def record(self, outputs: Outputs, targets: Any) -> Any:
        """Return which are right."""
        return outputs[0][:, 0] > targets

    def value(self, records: Any) -> float:
        """Return their share."""
        return float(records.mean())


def test_a_metric_of_ones_own_has_three_forms() -> None:
    """A function, a class with update and compute, a class with record and value; each with an interval."""
    outputs, targets = [RNG.random((30, 1))], np.zeros(30)
    function = as_metric(lambda outputs, targets: float((outputs[:, 0] > 0.5).mean()), "mine.py:half")
    for metric, value in (
        (function, (outputs[0] > 0.5).mean()),
        (as_metric(Mean), outputs[0].mean()),
        (as_metric(Records), 1.0),
    ):
        found = score_of(metric, metric.record(outputs, targets))
        assert found.value == pytest.approx(value)
        assert found.low <= found.value <= found.high
    assert (function.name, as_metric(Mean).name, as_metric(Records()).name) == ("half", "Mean", "right")
    assert not as_metric(Mean).higher_is_better


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{}", "metric mine gives a dict, not one number"),
        ("outputs", r"metric mine gives a ndarray of shape \[5, 2\], not one number"),
        ("None", "metric mine gives a NoneType, not one number"),
        ("float('nan')", "metric mine gives nan, which is no finite number"),
        ("1 / 0", "metric mine failed: ZeroDivisionError: division by zero"),
        ("outputs[:, 9]", "metric mine failed: IndexError"),
    ],
)
def test_a_metric_that_gives_no_number_is_one_line(tmp_path: Path, given: str, told: str) -> None:
    """Whatever it gives or raises is told with its name."""
    (tmp_path / "m.py").write_text(f"def mine(outputs, targets):\n    return {given}\n")
    metric = own_metric(f"{tmp_path / 'm.py'}:mine")
    with pytest.raises(EdgecnnError, match=told):
        score_of(metric, metric.record([np.ones((5, 2))], np.zeros(5)))


def test_what_is_no_metric_is_told(tmp_path: Path) -> None:
    """A number, or a class without the functions."""
    (tmp_path / "m.py").write_text("number = 5\nclass Other:\n    pass\n")
    for name in ("number", "Other"):
        with pytest.raises(EdgecnnError, match=r"give package.module:attribute or FILE.py:attribute of a function"):
            own_metric(f"{tmp_path / 'm.py'}:{name}")


def test_a_task_of_ones_own_is_one_file(tmp_path: Path) -> None:
    """A function of the facts, or a `Task`; something else is told."""
    (tmp_path / "counting.py").write_text(
        "import edgecnn\n"
        "from edgecnn.tasks.regression import MeanError\n\n"
        "def counting(facts):\n"
        "    return edgecnn.Task('counting', 'how many there are', (MeanError('off by', 1),))\n\n"
        "fixed = counting(None)\n"
        "def wrong(facts):\n"
        "    return 'counting'\n"
    )
    for name in ("counting", "fixed"):
        task = load_task(f"{tmp_path / 'counting.py'}:{name}", TargetFacts())
        assert scores(task, [np.array([3.0, 5.0])], np.array([3.0, 4.0]))["off by"].value == 0.5
    with pytest.raises(EdgecnnError, match=r"gives a str, not an edgecnn\.Task"):
        load_task(f"{tmp_path / 'counting.py'}:wrong")


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_says_what_it_takes(name: str) -> None:
    """A name, the targets in words, and metrics whose names differ; the first is a share, higher where better."""
    task = load_task(name)
    assert task.name == name
    assert task.targets
    names = [metric.name for metric in task.metrics]
    assert len(set(names)) == len(names)
    assert all(metric.higher_is_better for metric in task.metrics[:1])
