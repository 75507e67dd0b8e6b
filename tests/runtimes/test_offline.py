"""No runtime that edgecnn starts opens a connection, nor queues anything that is to be sent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[1] / "data/classifier.tflite"

#: Measures a file of each format in workers of their own, and quantizes one in this process. What a runtime wants to
#: send it looks up some 9 s after it was imported, but prepares as it is imported.
WORK = """
import sys
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from edgecnn import Artifact, quantize
from edgecnn.benchmarks.measure import BenchmarkConfig, measure

folder, lives_s = Path(sys.argv[1]), float(sys.argv[3])
weights = numpy_helper.from_array(np.ones((16, 4), np.float32), "w")
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 16), ("y", 4)))
graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
effort = BenchmarkConfig(processes=1, warmup_s=0.01, min_time_s=lives_s, max_time_s=max(1, lives_s), min_values=1)
for file in (folder / "m.onnx", Path(sys.argv[2])):
    assert measure(file, effort=effort).runs
quantize(Artifact.open(folder / "m.onnx"), folder / "m.w8.onnx", "w8")
"""


def strace() -> str:
    """Return the path of strace, or skip: in CI its absence is a failure."""
    found = shutil.which("strace")
    if found is None:
        reason = "no strace here: apt-get install -y strace"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.mark.slow
def test_runtimes_open_no_connection(tmp_path: Path) -> None:
    """Measuring an ONNX and a TFLite file and quantizing make no socket to another machine and no telemetry queue."""
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_", "EDGECNN_"))}
    lives_s = os.environ.get("EDGECNN_TEST_LIVES_S", "0")  # 12 sees the look-up itself
    done = subprocess.run(
        [
            strace(),
            "-f",
            "-qq",
            "-e",
            "trace=network",
            "-o",
            trace,
            sys.executable,
            "-c",
            WORK,
            tmp_path,
            MODEL,
            lives_s,
        ],
        env={**kept, "HOME": str(home), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may trace nothing here: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    assert re.findall(r".*(?:connect|send\w+)\(.*AF_INET.*", trace.read_text()) == []
    assert [str(path) for path in home.rglob("*") if "onnxruntime" in str(path).lower()] == []
