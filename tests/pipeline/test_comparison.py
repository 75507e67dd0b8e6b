"""An export ends with its files on the device that was asked for, and says where int8 is not the fastest."""

from __future__ import annotations

from dataclasses import replace

from edgecnn.pipeline import ExportResult
from edgecnn.pipeline.comparison import Comparison, compare_on, latency_of


def test_files_are_compared_on_a_device(board: ExportResult) -> None:
    """Each file that keeps its limits has an estimate and its own score; the fastest of all is the one to ship."""
    comparison = compare_on(board.files, "rpi4")
    assert not comparison.measured
    times = {one.artifact.path: one.estimate.p50_ns for one in comparison.predicted if one.estimate}
    assert set(times) == {file.path for file in board.files}
    [choice] = comparison.choices
    assert choice.chosen.p50_ns == min(times.values())
    assert [one.evaluation.score for one in comparison.predicted] == [file.score for file in board.files]
    rejected = [replace(file, rejected="too bad") for file in board.files[1:]]
    assert len(compare_on([board.files[0], *rejected], "rpi4").predicted) == 1


def test_an_int8_file_that_is_not_the_fastest_is_told(board: ExportResult) -> None:
    """A sentence for each int8 file that a float file of its format is as fast as, with both times; else none."""

    def slowed(comparison: Comparison, times: float) -> Comparison:
        predicted = []
        for one in comparison.predicted:
            assert one.estimate is not None
            factor = times if one.artifact.precision == "w8a8" else 1.0
            predicted.append(replace(one, estimate=replace(one.estimate, p50_ns=one.estimate.p50_ns * factor)))
        return replace(comparison, predicted=tuple(predicted))

    comparison = compare_on(board.files, "rpi4")
    assert slowed(comparison, 1e-3).slower_int8 == ()
    told = slowed(comparison, 1e3).slower_int8
    assert [text.split(" ", 1)[0] for text in told] == ["digits.w8a8.onnx", "digits.w8a8.tflite"]
    assert all("is not the fastest on rpi4" in text and text.endswith("estimated") for text in told)


def test_a_latency_says_where_it_is_from(board: ExportResult) -> None:
    """Measured here where no device is named; a device without coefficients gives none, no error."""
    file = board.files[0].artifact
    here, there = latency_of(file, None), latency_of(file, "rpi4")
    assert here is not None
    assert there is not None
    assert (here.method, there.method) == ("measured briefly on this machine", "estimated for rpi4")
    assert here.ns > 0
