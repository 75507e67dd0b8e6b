"""The fakes that edgecnn ships for other people's tests, and ours."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn import testing
from edgecnn.runtimes.worker import time_session
from edgecnn.targets.execute import MissingRuntimeError
from edgecnn.testing import FakeMetric, FakeRuntime, FakeTarget

DATA = Path(__file__).parent / "data"
CLASSIFIER, BATCH_OF_2 = DATA / "classifier.tflite", DATA / "batch2.tflite"


def test_its_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of the module and of each fake give what they show."""
    shutil.copy(CLASSIFIER, tmp_path)
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(testing, extraglobs={"edgecnn": edgecnn})
    assert results.attempted > 10
    assert results.failed == 0


def test_a_measurement_has_the_durations_given() -> None:
    """The figures are those that the target was given, in each process, the same each time, without a warning."""
    found = [edgecnn.measure(CLASSIFIER, target=FakeTarget([1010, 990, 1000], peak_rss_bytes=7)) for _ in range(2)]
    assert [(one.p50_ns, one.first_ns, one.peak_rss_bytes, one.warnings) for one in found] == [(1000, 1010, 7, ())] * 2
    assert {run.median_ns for run in found[0].runs} == {1000}
    assert found[0].target == "fake"


def test_an_emulated_board_counts() -> None:
    """A target whose method is `emulated` gives instructions, and no latency."""
    found = edgecnn.measure(CLASSIFIER, device="rpi4", target=FakeTarget([500], method="emulated"))
    assert (found.instructions, found.p50_ns) == (500, None)


def test_outputs_are_those_of_the_function() -> None:
    """Samples go through the function a batch of the file at a time, and the last batch is filled up."""
    sizes = []

    def first_pixel(inputs: testing.Arrays) -> testing.Arrays:
        sizes.append(len(inputs[0]))
        return [inputs[0].reshape(len(inputs[0]), -1)[:, :1]]

    shape = edgecnn.read_graph(BATCH_OF_2).input_specs[0].shape
    x = np.arange(5 * np.prod(shape[1:]), dtype=np.float32).reshape(5, *shape[1:])
    (outputs,) = edgecnn.run_file(BATCH_OF_2, [[x]], target=FakeTarget(runtime=FakeRuntime(first_pixel)))
    assert outputs[0].ravel().tolist() == x.reshape(5, -1)[:, 0].tolist()
    assert sizes == [2, 2, 2]


def test_without_a_function_the_outputs_are_zeros() -> None:
    """The shapes are the file's own."""
    (outputs,) = edgecnn.run_file(CLASSIFIER, [[np.ones((3, 8, 8, 1), np.float32)]], target=FakeTarget())
    assert [output.tolist() for output in outputs] == [np.zeros((3, 10)).tolist()]


def test_an_accuracy_is_that_of_the_function() -> None:
    """With data, the accuracy is measured on what the function gives: here the brightest column is the class."""
    y = np.arange(8)
    x = np.zeros((8, 1, 8, 8), np.uint8)
    x[np.arange(8), 0, :, y] = 255
    runtime = FakeRuntime(lambda inputs: [np.pad(inputs[0].sum(axis=(1, 3)), ((0, 0), (0, 2)))])
    data = {"x_test": x, "y_test": y, "labels": np.array(list("abcdefghij"))}
    found = edgecnn.measure(
        CLASSIFIER, target=FakeTarget(runtime=runtime), data=edgecnn.DataSource(data, normalization="unit")
    )
    assert found.score is not None
    assert found.score.value == 1


def test_a_score_is_that_of_the_values_given() -> None:
    """A metric of given values counts as any other, with its interval; what it was asked is noted, errors are told."""
    data = {"x_test": np.zeros((8, 1, 8, 8), np.uint8), "y_test": np.arange(8)}
    metric = FakeMetric([1, 1, 1, 0], name="found")

    def score(metric: FakeMetric) -> edgecnn.Score | None:
        task = edgecnn.TaskChoice(task="none", metric=metric)
        return edgecnn.measure(
            CLASSIFIER, target=FakeTarget(), data=edgecnn.DataSource(data, normalization="unit"), task=task
        ).score

    found = score(metric)
    assert found is not None
    assert (found.name, found.value, found.n) == ("found", 0.75, 8)
    assert found.low < 0.75 < found.high
    assert np.concatenate([targets for _, targets in metric.calls]).tolist() == list(range(8))
    assert metric.calls[0][0][0].shape[1:] == (10,)
    again = score(metric)
    assert (again and again.value) == 0.75
    with pytest.raises(edgecnn.EdgecnnError, match=r"classifier\.tflite: no such targets"):
        score(FakeMetric(error="no such targets"))


def test_a_missing_runtime_is_installed_on_request() -> None:
    """Errors come as from a real worker; what is missing is there once it was installed."""
    target = FakeTarget(error=("missing", "No module named 'ai_edge_litert'"))
    with pytest.raises(MissingRuntimeError, match="litert is not installed on fake"):
        edgecnn.measure(CLASSIFIER, target=target)
    (found,) = edgecnn.measure_files([CLASSIFIER], target=target, install=True)
    assert found.p50_ns == 1_000_000
    assert "numpy" in target.installed
    with pytest.raises(edgecnn.EdgecnnError, match="litert cannot run it: out of registers"):
        edgecnn.measure(CLASSIFIER, target=FakeTarget(error=("run", "out of registers")))


def test_what_was_asked_of_it_is_noted() -> None:
    """Files, jobs and the device's limit of memory can be looked at afterwards; another architecture is refused."""
    target = FakeTarget(machine="aarch64")
    edgecnn.measure(CLASSIFIER, device="rpi4:4gb", target=target, threads=2)
    assert CLASSIFIER in target.pushed
    assert {(job["kind"], job["threads"]) for job in target.jobs} == {("time", 2)}
    assert target.limit_bytes is not None
    assert target.limit_bytes < 4 * 2**30
    with pytest.raises(edgecnn.EdgecnnError, match="give the right --device"):
        edgecnn.measure(CLASSIFIER, device="x86-avx2", target=target)


def test_its_answers_have_the_keys_of_a_real_worker() -> None:
    """A key that the worker learns is missed here, so the fake stays one of the same kind."""
    job = {"warmup_ns": 1, "min_time_ns": 0, "max_time_ns": 10**9, "min_values": 2, "min_value_ns": 1}
    real = time_session(FakeRuntime().open(CLASSIFIER), job)
    around = {"import_ns", "load_ns", "machine", "before", "after", "memory"}
    assert set(FakeTarget().timed(job)) == set(real) | around
