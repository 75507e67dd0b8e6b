"""OpenVINO beside onnxruntime on one file: the same answers, quantized or not, and its operators."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.benchmarks.profile import profile_file
from edgecnn.errors import EdgecnnError
from edgecnn.targets.execute import run_file

HERE = importlib.util.find_spec("openvino") is not None
needed = pytest.mark.skipif(not HERE, reason="openvino is not installed")
QUICK = BenchmarkConfig(processes=1, warmup_s=0, min_time_s=0, min_values=1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution whose batch is open."""
    path = tmp_path_factory.mktemp("openvino") / "net.fp32.onnx"
    weights = np.random.default_rng(1).standard_normal((4, 3, 3, 3), dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"], "pool"),
        helper.make_node("Flatten", ["b"], ["y"], "flatten"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in (("x", [3, 16, 16]), ("y", [4]))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@needed
def test_it_gives_what_onnxruntime_gives(network: Path) -> None:
    """The outputs of the same samples are those of onnxruntime within rounding."""
    x = np.random.default_rng(2).standard_normal((5, 3, 16, 16), dtype=np.float32)
    ours, theirs = (
        next(iter(run_file(Artifact.open(network), [[x]], runtime=name)))[0] for name in ("openvino", "onnxruntime")
    )
    assert ours.shape == (5, 4)
    assert np.allclose(ours, theirs, atol=1e-5)


@needed
def test_it_is_measured_and_profiled(network: Path) -> None:
    """A measurement names its version; a profile has the convolution with its multiply-adds."""
    taken = measure(network, runtime="openvino", effort=QUICK)
    assert (taken.runtime, taken.interface) == ("openvino", "CompiledModel")
    assert taken.p50_ns
    profile = profile_file(network, runtime="openvino", effort=BenchmarkConfig(min_time_s=0.05))
    assert 16 * 16 * 4 * 27 in [one.macs for one in profile.operators]


@pytest.mark.skipif(HERE, reason="openvino is installed")
def test_where_it_is_not_installed_the_line_is_told(network: Path) -> None:
    """A missing runtime is one line, which installs it."""
    with pytest.raises(EdgecnnError, match=r"openvino is not installed .*pip install 'edgecnn\[openvino\]'"):
        measure(network, runtime="openvino", effort=QUICK)
