"""What to ship: the fastest of those as accurate as the best, and whether it is ahead beyond noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.benchmarks.choice import choose, choose_predicted
from edgecnn.benchmarks.predict import predict_files
from edgecnn.measurement import EMULATED, Measurement, Memory, Run
from edgecnn.tasks.score import Score, accuracy_from_json

DATA = Path(__file__).parents[1] / "data"


def result(
    file: str,
    *medians_ns: int,
    right: int | None = None,
    size_bytes: int = 1000,
    device: str = "host",
    method: str = "measured",
) -> Measurement:
    """A result of processes with these medians, and so many right answers of 1000."""
    runs = tuple(
        Run(
            import_ns=1, load_ns=1, first_ns=1, warmup=1, loops=1, values_ns=(median,) * 3, memory=Memory(), finite=True
        )
        for median in medians_ns
    )
    scores = () if right is None else (accuracy_from_json({"top1": right / 1000, "n": 1000}),)
    return Measurement(
        file=file,
        format="tflite",
        precision="w8a8",
        runtime="litert",
        runtime_version="2",
        device=device,
        target="local",
        threads=1,
        runs=runs,
        size_bytes=size_bytes,
        scores=scores,
        method=method,
    )


def test_the_fastest_of_the_accurate_is_shipped() -> None:
    """A file that is faster and less accurate is told, not shipped; processes that do not overlap are beyond noise."""
    (choice,) = choose(
        [
            result("int8.tflite", 100, 101, 102, right=870),
            result("float.tflite", 150, 151, 152, right=872),
            result("w4.tflite", 50, 51, 52, right=700),
        ]
    )
    assert choice.chosen.file == "int8.tflite"
    assert choice.second is not None
    assert choice.second.file == "float.tflite"
    assert choice.ahead == pytest.approx(151 / 101)
    assert choice.beyond_noise is True
    assert choice.faster is not None
    assert choice.faster.file == "w4.tflite"
    said = str(choice)
    assert said.startswith(
        "ship int8.tflite (litert, 1 thread) for host: 101 ns at 87.00 % top-1; 1.50 times as fast as "
    )
    assert (
        "makes it sure; w4.tflite (litert, 1 thread) is 1.98 times as fast but less accurate at 70.00 % top-1" in said
    )
    assert choice.to_json()["sentence"] == said


def test_within_noise_the_more_accurate_then_the_smaller_is_shipped() -> None:
    """Where processes overlap the difference is no reason: accuracy decides, then the size of the file."""
    first, second = result("a.tflite", 100, 110, 120, size_bytes=9), result("b.tflite", 105, 112, 118, size_bytes=5)
    (choice,) = choose([first, second])
    assert (choice.chosen.file, choice.beyond_noise) == ("b.tflite", False)
    assert "a.tflite (litert, 1 thread) is 1.02 times as fast, within noise" in str(choice)
    (choice,) = choose(
        [result("a.tflite", 100, 110, 120, right=880), result("b.tflite", 105, 112, 118, right=870, size_bytes=5)]
    )
    assert choice.chosen.file == "a.tflite"


def test_of_an_error_the_lower_is_better() -> None:
    """An RMSE without an interval is as good as the best only where it is no higher."""
    low, high = (
        Score(name="RMSE", value=value, low=float("nan"), high=float("nan"), n=9, higher_is_better=False)
        for value in (1.2, 1.5)
    )
    results = [replace(result("a", 100, 101, 102), scores=(high,)), replace(result("b", 200, 201, 202), scores=(low,))]
    (choice,) = choose(results)
    assert choice.chosen.file == "b"
    assert "a (litert, 1 thread) is 1.99 times as fast but less accurate at 1.5 RMSE" in str(choice)


def test_one_process_each_decides_nothing() -> None:
    """Of a single process nothing is known of the noise, and what takes twice as long is not taken for its size."""
    (choice,) = choose([result("a.tflite", 100), result("b.tflite", 200, size_bytes=1)])
    assert choice.chosen.file == "a.tflite"
    assert choice.beyond_noise is False
    assert "run edgecnn bench with more --processes" in str(choice)


def test_each_device_has_its_choice_and_counts_have_none() -> None:
    """Results of two devices are not compared; one result alone, and counts of instructions, choose nothing."""
    results = [
        *(result("a.tflite", 1, 1, 1), result("b.tflite", 2, 2, 2)),
        *(result("a.tflite", 4, 4, 4, device="rpi4"), result("b.tflite", 3, 3, 3, device="rpi4")),
        result("a.tflite", 4, 4, 4, device="rpi5"),
    ]
    assert [(choice.device, choice.chosen.file) for choice in choose(results)] == [
        ("host", "a.tflite"),
        ("rpi4", "b.tflite"),
    ]
    assert choose([result("a.tflite", 1, method=EMULATED), result("b.tflite", 2, method=EMULATED)]) == []


def test_estimates_choose_by_their_bands() -> None:
    """Of two numbers of threads on a phone the faster is shipped; overlapping bands ask for a measurement."""
    predicted = predict_files([DATA / "classifier.tflite"], "rpi5", threads=[1, 4])
    (choice,) = choose_predicted(predicted)
    assert choice.estimated
    assert choice.second is not None
    bands = sorted((choice.chosen.band_ns or (0, 0), choice.second.band_ns or (0, 0)))
    assert choice.beyond_noise is (bands[0][1] < bands[1][0])
    assert "within the bands: measure before you decide" in str(choice)
    assert choose_predicted(predicted[:1]) == []
