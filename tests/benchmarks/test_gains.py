"""A quantized file that gains nothing is named."""

from __future__ import annotations

from dataclasses import replace

from edgecnn.benchmarks.gains import missing_gains
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.measurement import Measurement
from edgecnn.pipeline import ExportResult


def at(result: Measurement, factor: float) -> Measurement:
    """Return *result* as if every call had taken *factor* times as long."""
    runs = tuple(replace(run, values_ns=tuple(round(v * factor) for v in run.values_ns)) for run in result.runs)
    return replace(result, runs=runs)


def test_a_slower_int8_file_is_named_and_a_faster_one_is_not(board: ExportResult) -> None:
    """The sentence names both files; other runtimes and thread counts are not compared."""
    effort = BenchmarkConfig(processes=1, warmup_s=0.01, min_time_s=0.01, min_values=5)
    plain = measure(board.files[2].artifact, effort=effort)
    small = replace(plain, file=str(board.files[3].path), precision="w8a8")
    (sentence,) = missing_gains([plain, at(small, 1.5)])
    assert "digits.w8a8.tflite is no faster than digits.fp32.tflite" in sentence
    assert "litert, 1 thread)" in sentence
    assert missing_gains([plain, at(small, 0.5)]) == []
    assert missing_gains([plain, replace(at(small, 1.5), threads=2)]) == []
