"""Profiles: operators of both runtimes beside the whole call, matched with the file, and where int8 lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from edgecnn.benchmarks.measure import BenchmarkConfig
from edgecnn.benchmarks.profile import (
    KindTime,
    OperatorTime,
    Profile,
    family_of,
    lost_sentence,
    pairs_of,
    profile_file,
    slower_operators,
    to_document,
    with_float_files,
)
from edgecnn.cli.bench import command
from edgecnn.errors import EdgecnnError
from edgecnn.runtimes.onnxruntime import _operators_of

MODEL = Path(__file__).parents[1] / "data/classifier.tflite"
QUICK = BenchmarkConfig(min_time_s=0.2)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of two convolutions, large enough that what is outside of operators does not count."""
    path = tmp_path_factory.mktemp("profile") / "two.fp32.onnx"
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape, dtype=np.float32) for shape in ((32, 16, 3, 3), (32, 32, 3, 3))]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], "pool"),
        helper.make_node("Flatten", ["d"], ["y"], "flatten"),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32])],
        [numpy_helper.from_array(weight, f"w{index}") for index, weight in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_onnxruntime_tells_each_operator(network: Path) -> None:
    """The convolutions bear their names and multiply-adds, and the operators add up to the whole call within 25 %."""
    profile = profile_file(network, effort=QUICK)
    computing = [one for one in profile.operators if one.macs]
    assert [one.macs for one in computing] == [64 * 64 * 32 * 16 * 9, 64 * 64 * 32 * 32 * 9]
    assert all("Conv" in one.kind for one in computing)
    assert profile.sum_ns == pytest.approx(profile.whole_ns, rel=0.25)  # 10 % where nothing else runs
    assert max(one.limit_share or 0 for one in computing) > 0.9
    assert profile.to_json()["operators"][0]["share"] == pytest.approx(profile.operators[0].ns / profile.sum_ns)


def test_litert_tells_each_operator() -> None:
    """Operators that XNNPACK runs are told one by one, those that the file has with its names and bytes."""
    profile = profile_file(MODEL, effort=QUICK)
    assert profile.runtime_version
    first, *_, last = profile.operators
    assert first.kind.startswith("Convolution")
    assert last.kind.startswith("Fully Connected")
    assert first.macs > 0 < last.macs
    assert first.moved_bytes > 0
    assert first.step == 0


def test_operators_are_summed_by_kind() -> None:
    """Each kind once, the slowest first, with how many operators it is and their sums."""
    operators = (
        OperatorTime("ADD", 5.0, moved_bytes=3),
        OperatorTime("CONV_2D", 20.0, macs=7, moved_bytes=1),
        OperatorTime("CONV_2D", 10.0, macs=4, moved_bytes=2),
    )
    found = Profile(
        file="x.tflite",
        format="tflite",
        precision="fp32",
        runtime="litert",
        runtime_version="2",
        device="host",
        target="local",
        method="measured",
        threads=1,
        whole_ns=40.0,
        operators=operators,
        limit="",
    )
    assert found.kinds == (KindTime("CONV_2D", 2, 30.0, 11, 3), KindTime("ADD", 1, 5.0, 0, 3))
    assert [one["share"] for one in found.to_json()["kinds"]] == pytest.approx([30 / 35, 5 / 35])


def test_words_of_profilers_and_files_are_one_family() -> None:
    """A conversion is no convolution, and each runtime's word for an operator is of the file's family."""
    assert family_of("Convert (NC)") == family_of("QUANTIZE") == family_of("QuantizeLinear") == "conversion"
    assert family_of("Convolution (NHWC, QC8) IGEMM") == family_of("CONV_2D") == family_of("QLinearConv")
    assert family_of("Fully Connected (NC, F32) GEMM") == family_of("FULLY_CONNECTED") == family_of("QGemm")
    assert family_of("Max Pooling (NHWC, S8)".replace("Pooling", "Pool")) == family_of("MAX_POOL_2D")
    assert family_of("Custom thing") is None


def of(precision: str, *operators: tuple[str, float, int]) -> Profile:
    """A profile of operators (name, ns, multiply-adds)."""
    times = tuple(
        OperatorTime("Conv", ns, name, place, precision, macs) for place, (name, ns, macs) in enumerate(operators)
    )
    file = f"m.{precision}.tflite"
    return Profile(
        file=file,
        format="tflite",
        precision=precision,
        runtime="litert",
        runtime_version="2",
        device="host",
        target="local",
        method="measured",
        threads=1,
        whole_ns=1.0,
        operators=times,
        limit="x",
    )


def test_int8_beside_float_names_what_lost() -> None:
    """Operators are paired in order, what is slower by more than the profilers' resolution is told, worst first."""
    int8 = of("w8a8", ("a", 9000, 10), ("b", 20_000, 20), ("c", 5500, 30))
    plain = of("fp32", ("x", 4000, 10), ("y", 8000, 20), ("z", 5000, 30))
    assert [(one.name, one.ns, one.float_ns) for one in slower_operators(int8, plain)] == [
        ("y", 20_000, 8000),
        ("x", 9000, 4000),
    ]
    assert pairs_of([int8, plain]) == [(int8, plain)]
    assert pairs_of([int8, replace(plain, threads=2)]) == []
    assert "slower in w8a8: Conv y 20 µs instead of 8 µs; Conv x" in lost_sentence(int8, plain)
    assert "no operator that computes is slower" in lost_sentence(plain, plain)
    assert to_document([int8, plain])["slower_than_float"][0]["operators"][0]["name"] == "y"


def test_operators_pair_by_name_where_the_files_differ() -> None:
    """Where one file computes other operators, those with one name are compared."""
    int8, plain = of("w8a8", ("b", 9000, 20)), of("fp32", ("a", 1000, 10), ("b", 5000, 20))
    assert [one.name for one in slower_operators(int8, plain)] == ["b"]


def test_the_float_file_beside_is_profiled_too(tmp_path: Path) -> None:
    """`m.w8a8.tflite` brings `m.fp32.tflite` of its folder along, once."""
    int8, plain = tmp_path / "m.w8a8.tflite", tmp_path / "m.fp32.tflite"
    plain.touch()
    assert with_float_files([int8]) == with_float_files([int8, plain]) == [int8, plain]
    assert with_float_files([tmp_path / "other.w8a8.tflite"]) == [tmp_path / "other.w8a8.tflite"]


def test_runs_of_an_onnxruntime_profile_are_told_apart() -> None:
    """Each run begins where a node comes again; the time of recording, which a view shows, is taken off."""
    events = [
        {"cat": "Node", "name": f"{name}_kernel_time", "ts": 10 * run + place, "dur": dur, "args": {"op_name": kind}}
        for run in range(2)
        for place, (name, kind, dur) in enumerate((("conv", "Conv", 9), ("view", "Flatten", 3)))
    ]
    runs = _operators_of([{"cat": "Session", "name": "model_loading"}, *events])
    assert [[operator["ns"] for operator in run] for run in runs] == [[6000, 0]] * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--profile",), "give FILES to profile"),
        ((str(MODEL), "--profile", "--data", "digits"), "--profile takes neither"),
        ((str(MODEL), "--profile", "--device", "rpi4"), "is not connected"),
        ((str(MODEL), "--profile", "--runtime", "onnxruntime"), "for .tflite use: litert"),
        (("no/such.tflite", "--profile"), "no file at"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    """What cannot be profiled is told in one sentence."""
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert isinstance(done.exception, EdgecnnError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_the_command_prints_tables_and_json(tmp_path: Path) -> None:
    """`--profile` prints each operator with its share, and writes the same as JSON."""
    output = tmp_path / "profile.json"
    done = CliRunner().invoke(command, [str(MODEL), "--profile", "--min-time", "0.1", "-o", str(output)])
    assert done.exit_code == 0, done.output
    for words in ("Convolution", "of the limit", "the whole call with the profiler off"):
        assert words in done.stdout
    (profile,) = json.loads(output.read_text(encoding="utf-8"))["profiles"]
    assert profile["sum_ns"] == pytest.approx(sum(one["ns"] for one in profile["operators"]))
