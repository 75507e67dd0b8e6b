"""`edgecnn bench` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from called import edgecnn

from edgecnn.measurement import read_measurements
from tests.messages import messages

MODEL = Path(__file__).parents[1] / "data/classifier.tflite"
OTHER = Path(__file__).parents[1] / "data/batch2.tflite"
QUICK = ("--processes", "1", "--min-time", "0")


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `edgecnn bench`; what it measures runs in processes of its own."""
    return edgecnn("bench", *map(str, arguments))


def test_json_and_file_hold_the_same(tmp_path: Path) -> None:
    """`--json` prints the results with their schema version, `-o` writes them, to be read again."""
    output = tmp_path / "new" / "results.json"
    done = bench(MODEL, OTHER, *QUICK, "--data", "digits", "--threads", "1,2", "--json", "-o", output)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads(output.read_text())
    assert [(Path(r["file"]).name, r["threads"]) for r in document["results"]] == [
        ("classifier.tflite", 1),
        ("classifier.tflite", 2),
        ("batch2.tflite", 1),
        ("batch2.tflite", 2),
    ]
    assert all(result["method"] == "measured" and result["p50_ns"] > 0 for result in document["results"])
    assert set(document["results"][0]["accuracy"]) == {"top1", "n", "low", "high", "classes"}
    assert len(read_measurements(output)) == 4


def test_one_table_the_fastest_first() -> None:
    """All files are in one table with their cold start; below it stands what the memory contains."""
    done = bench(OTHER, MODEL, *QUICK)
    assert done.returncode == 0, done.stderr
    table, _, below = done.stdout.partition("peak RSS is all of the worker process, beside what edgecnn fit estimates:")
    for column in ("p50", "p90", "p99", "calls/s", "load", "first call", "peak RSS", "top-1"):
        assert column in table
    assert "Measured on host" in table
    assert below.count("Python and numpy") == 1
    assert "litert: Python and numpy" in below
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((MODEL, "--device", "pixel7pro", "--threads", "3"), "no latency coefficients for litert"),
        ((MODEL, "--device", "pixel4", "--cores", "Kryo 485 Golt"), "did you mean 'Kryo 485 Gold'"),
        ((MODEL, "--cores", "Cortex-A55"), "--cores is for estimates"),
        ((MODEL, "--device", "rpi44"), "did you mean 'rpi4'"),
        ((MODEL, "--runtime", "onnxruntime"), "for .tflite use: litert"),
        ((MODEL, "--runtime", "nonsense"), "unknown runtime 'nonsense'"),
        ((MODEL, "--device", "rpi4", "--target", "tcp:x"), "unknown target 'tcp'"),
        ((MODEL, "--threads", "1,zero"), "is not a list of whole numbers"),
        ((MODEL, "--data", "digitz"), "did you mean 'digits'"),
        ((MODEL, "--data", "digits", "--normalize", "what"), "what"),
        (("no/such.tflite",), "no file at 'no/such.tflite'"),
        ((), "FILES"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str | Path, ...], said: str) -> None:
    """Every mistake is one line on standard error and exit code 2, with nothing on standard output."""
    done = bench(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("edgecnn: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("keep", [0, 1, 7, 100, 1500, 2900])
def test_a_truncated_file_is_one_line(tmp_path: Path, keep: int) -> None:
    """A file cut off anywhere ends in one line and exit code 2, whoever finds out."""
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(MODEL.read_bytes()[:keep])
    done = bench(cut, *QUICK)
    assert done.returncode == 2
    (line,) = messages(done.stderr)
    assert "cut.tflite" in line


def test_what_was_measured_is_kept_when_a_later_file_fails(tmp_path: Path) -> None:
    """The runtime refuses the second file: the first one's result is written and printed."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto
    x, y = (make.make_tensor_value_info(name, kind.FLOAT, [1, 3]) for name in "xy")
    node = make.make_node("Unheard", ["x"], ["y"], domain="of.nobody")
    opsets = [make.make_opsetid("", 17), make.make_opsetid("of.nobody", 1)]
    odd = tmp_path / "odd.onnx"
    onnx.save(make.make_model(make.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=8), str(odd))
    output = tmp_path / "results.json"
    done = bench(MODEL, odd, *QUICK, "--json", "-o", output)
    assert done.returncode == 2
    (line,) = messages(done.stderr)
    assert "odd.onnx: onnxruntime cannot load it" in line
    assert len(json.loads(done.stdout)["results"]) == 1
    assert len(read_measurements(output)) == 1


def children(pid: int) -> list[int]:
    """Return the process ids of the living children of *pid*."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[1] == str(pid) and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    """Return whether the process *pid* lives; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_a_worker_does_not_outlive_us(tmp_path: Path) -> None:
    """Where edgecnn itself is killed its worker ends by itself, in the middle of a long measurement."""
    arguments = ["bench", str(MODEL), "--min-time", "60"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # what a killed program leaves, goes with the test
    process = subprocess.Popen([sys.executable, "-m", "edgecnn", *arguments], env=environment)
    deadline = time.monotonic() + 30
    while not (workers := children(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1.5)  # until it is in its timed loop; earlier it would end all the same
    process.kill()
    process.wait()
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert workers
    assert not any(map(is_running, workers))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C ends with exit code 130 and one line; no worker and no temporary file stays, earlier results are kept."""
    output, temporary = tmp_path / "results.json", tmp_path / "tmp"
    temporary.mkdir()
    arguments = [MODEL, MODEL, "--processes", "1", "--min-time", "1", "-o", output]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecnn", "bench", *map(str, arguments)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not output.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    while not (workers := children(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(temporary.iterdir())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("edgecnn: interrupted")
    assert "Traceback" not in errors
    assert not list(temporary.iterdir())
    assert not any(map(is_running, workers))
    assert len(read_measurements(output)) == 1
