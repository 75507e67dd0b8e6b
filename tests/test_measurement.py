"""Measurements: what is derived from raw values, and their file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Measurement, Memory, Run, percentile, read_measurements, to_document
from edgecnn.tasks.score import Score, scores_from_json, scores_to_json, share

VALUES = st.lists(st.integers(1, 10**12), min_size=1, max_size=300)


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    """Any measurement."""
    sizes = st.none() | st.integers(0, 2**40)
    runs = tuple(
        Run(
            import_ns=draw(st.integers(0, 10**12)),
            load_ns=draw(st.integers(0, 10**12)),
            first_ns=draw(st.integers(0, 10**12)),
            warmup=draw(st.integers(0, 1000)),
            loops=draw(st.integers(1, 1000)),
            values_ns=tuple(draw(VALUES)),
            memory=Memory(*(draw(sizes) for _ in range(4))),
            finite=draw(st.booleans()),
            before={"load_1m": 0.5, "throttled": None},
            after={"temperatures_c": {"cpu": 50.0}},
        )
        for _ in range(draw(st.integers(0, 3)))
    )
    n = draw(st.integers(1, 50_000))
    return Measurement(
        file=draw(st.text()),
        format="tflite",
        precision="w8a8",
        runtime="litert",
        runtime_version=draw(st.none() | st.text()),
        device="host",
        target="local",
        threads=draw(st.integers(1, 64)),
        runs=runs,
        size_bytes=1,
        scores=draw(st.just(()) | st.builds(lambda right: (share("accuracy", right, n),), st.integers(0, n))),
        warnings=tuple(draw(st.lists(st.text(), max_size=2))),
        conditions={"cpu": "one"},
    )


@given(VALUES)
def test_percentiles_are_monotone(values: list[int]) -> None:
    """A higher percentile is never lower, and all lie between the least and the greatest value."""
    found = [percentile(values, percent) for percent in (0, 1, 50, 90, 99, 100)]
    assert found == sorted(found, key=float)  # type: ignore[arg-type]
    assert found[0] == min(values)
    assert found[-1] == max(values)


@given(VALUES, st.floats(0, 100))
def test_percentiles_are_numpys(values: list[int], percent: float) -> None:
    """A percentile is what numpy computes with its usual method."""
    assert percentile(values, percent) == pytest.approx(float(np.percentile(values, percent)))


@given(measurements())
def test_json_round_trips(measurement: Measurement) -> None:
    """What is written can be read again and is equal, the raw values of each process included."""
    stored = json.loads(json.dumps(measurement.to_json(), allow_nan=False))
    assert Measurement.from_json(stored) == measurement


def run(values_ns: tuple[int, ...]) -> Run:
    """Return a run with these values."""
    return Run(
        import_ns=1,
        load_ns=2,
        first_ns=3,
        warmup=4,
        loops=1,
        values_ns=values_ns,
        memory=Memory(1, 2, 3, 4),
        finite=True,
    )


def of(*runs: Run) -> Measurement:
    """Return a measurement with these runs."""
    return Measurement(
        file="m.tflite",
        format="tflite",
        precision="fp32",
        runtime="litert",
        runtime_version="1",
        device="host",
        target="local",
        threads=1,
        runs=runs,
        size_bytes=10,
    )


def test_figures_not_taken_are_null() -> None:
    """Without runs every figure is null, never 0; p99 is null under 100 values."""
    empty = of().to_json()
    figures = ("p50_ns", "p90_ns", "p99_ns", "throughput_per_s", "load_ns", "first_ns", "peak_rss_bytes", "accuracy")
    assert [empty[figure] for figure in figures] == [None] * len(figures)
    assert of(run((5,) * 99)).p99_ns is None
    assert of(run((5,) * 99), run((5,))).p99_ns == 5


def test_the_keys_scripts_rely_on() -> None:
    """The document has its schema version, and each result the promised keys."""
    document = to_document([of(run((1, 2, 3)))])
    assert document["schema_version"] == 1
    promised = (
        "file format precision runtime device target threads method p50_ns p90_ns p99_ns values_ns load_ns first_ns "
        "peak_rss_bytes size_bytes accuracy conditions warnings"
    )
    assert set(promised.split()) <= set(document["results"][0])


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """The message says which version the file has and which this edgecnn reads."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"schema_version": 99, "results": []}))
    with pytest.raises(EdgecnnError, match="schema version 99; this edgecnn reads up to 1"):
        read_measurements(path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '{"results": []}', '{"schema_version": 1, "results": [{}]}', '{"schema_version": "x"}', "\0"],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    """Any other file is one line that names it."""
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(EdgecnnError, match=r"results\.json: "):
        read_measurements(path)


def test_a_file_of_this_version_is_read(tmp_path: Path) -> None:
    """Results written to a file come back equal; a missing file is said to be missing."""
    path = tmp_path / "results.json"
    with pytest.raises(EdgecnnError, match="no result file"):
        read_measurements(path)
    path.write_text(json.dumps(to_document([of(run((1, 2, 3)))])))
    assert read_measurements(path) == [of(run((1, 2, 3)))]


@given(st.integers(1, 10**6), st.data())
def test_the_interval_holds_the_share(n: int, data: st.DataObject) -> None:
    """The 95 % interval lies within [0, 1] and around the measured share."""
    accuracy = share("accuracy", data.draw(st.integers(0, n)), n)
    low, high = accuracy.interval
    assert 0 <= low <= accuracy.value + 1e-12
    assert accuracy.value - 1e-12 <= high <= 1


def test_a_measurement_is_a_row_of_a_table() -> None:
    """`pandas.json_normalize` makes columns of it: what is asked for most is a plain value, or one dict below."""
    row = replace(of(run((1, 2, 3))), scores=(share("accuracy", 9, 10),)).to_json()
    plain = {key for key, value in row.items() if value is None or isinstance(value, (str, int, float))}
    assert {"file", "precision", "runtime", "device", "threads", "p50_ns", "peak_rss_bytes", "size_bytes"} <= plain
    assert row["accuracy"]["top1"] == 0.9


@given(st.data())
def test_scores_of_any_task_come_back(data: st.DataObject) -> None:
    """Whatever they are, the first one first; an interval that is not known is null in between."""
    number = st.floats(-10, 10)
    names = data.draw(st.lists(st.sampled_from(["mIoU", "R²", "RMSE", "AUC"]), max_size=3, unique=True))
    scores = tuple(
        Score(
            name=name,
            value=data.draw(number),
            low=data.draw(number | st.just(math.nan)),
            high=data.draw(number),
            n=5,
            higher_is_better=name != "RMSE",
            details={"per_class": [0.5, None]},
        )
        for name in names
    )
    if data.draw(st.booleans()):
        scores = (share("accuracy", data.draw(st.integers(0, 9)), 9, classes=3), *scores)
    document = json.loads(json.dumps(scores_to_json(scores), allow_nan=False))
    assert repr(scores_from_json(document, "result")) == repr(scores)  # NaN is no NaN's equal


def test_an_accuracy_of_an_earlier_version_is_read() -> None:
    """Results written when there was nothing but accuracy keep their figure, their interval and their AUC."""
    stored = {"accuracy": {"top1": 0.75, "n": 4, "low": 0.3, "high": 0.95, "auc": 0.9, "classes": 2}}
    (score,) = scores_from_json(stored, "result")
    assert (score.name, score.value, score.n) == ("accuracy", 0.75, 4)
    assert score.interval == share("accuracy", 3, 4).interval
    assert scores_to_json((score,))["accuracy"]["auc"] == 0.9
