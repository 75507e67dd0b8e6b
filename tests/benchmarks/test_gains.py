"""A quantized file that gains nothing is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgecnn.benchmarks.gains import likely_reasons, missing_gains
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.formats import read_graph
from edgecnn.measurement import Measurement
from edgecnn.pipeline import ExportResult
from tests.tflite_builder import Builder


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


def test_the_reason_is_in_the_file_or_in_the_processor(tmp_path: Path) -> None:
    """Each reason that file and machine show is named, and none that they do not."""
    b = Builder("int8")
    image = b.tensor((1, 64, 64, 8))
    (tmp_path / "m.tflite").write_bytes(b.file([image], [b.conv(image, 16)]))
    graph = read_graph(tmp_path / "m.tflite")
    result = Measurement(
        file="m.tflite",
        format="tflite",
        precision="w8a8",
        runtime="litert",
        runtime_version=None,
        device="host",
        target="local",
        threads=1,
        runs=(),
        size_bytes=1,
    )
    assert list(likely_reasons(replace(result, conditions={"features": ["avx2", "avx_vnni"]}), graph)) == []
    (reason,) = likely_reasons(replace(result, conditions={"features": ["avx2"]}), graph)
    assert "no int8 dot product instruction" in reason
    assert list(likely_reasons(result, graph)) == []  # nothing is known of the processor
    (reason,) = likely_reasons(replace(result, precision="w8"), graph)
    assert "still compute in float32" in reason


def test_a_small_network_spends_its_time_on_calls(tmp_path: Path) -> None:
    """Float inputs and outputs, and few multiply-adds an operator, are reasons."""
    b = Builder("int8")
    image = b.tensor((1, 8, 8, 1), "float32", channels=0)
    x = b.operator("QUANTIZE", (image,), (1, 8, 8, 1))
    out = b.tensor((1, 8, 8, 4), "float32", channels=0)
    b.append("DEQUANTIZE", (b.conv(x, 4),), (out,))
    (tmp_path / "m.tflite").write_bytes(b.file([image], [out]))
    result = Measurement(
        file="m.tflite",
        format="tflite",
        precision="w8a8",
        runtime="litert",
        runtime_version=None,
        device="host",
        target="local",
        threads=1,
        runs=(),
        size_bytes=1,
    )
    converts, small = likely_reasons(result, read_graph(tmp_path / "m.tflite"))
    assert "every call converts them" in converts
    assert "768 multiply-adds an operator" in small  # 8 x 8 x 4 x 9 of the convolution, over three operators
