"""Files run in a worker: what comes back, and what a broken one becomes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import Builder

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.changes import find_change
from edgecnn.benchmarks.history import add_to_history, read_history
from edgecnn.benchmarks.measure import BenchmarkConfig, measure, time_process
from edgecnn.errors import EdgecnnError
from edgecnn.targets import Process
from edgecnn.targets.execute import run_file, started_worker
from edgecnn.targets.local import Local

DATA = Path(__file__).parents[1] / "data"
X = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)


def outputs_here(file: Path, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Run one batch with LiteRT's interpreter in this process."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def test_packs_come_back_one_by_one(classifier: Path) -> None:
    """Each pack gives its outputs, in order, equal to what the runtime gives in this process."""
    packs = [[X[:3]], [X[3:]]]
    found = list(run_file(Artifact.open(classifier), packs))
    assert [len(outputs[0]) for outputs in found] == [3, 2]
    expected = np.concatenate([outputs_here(classifier, [x[None]])[0] for x in X])
    np.testing.assert_allclose(np.concatenate([outputs[0] for outputs in found]), expected, rtol=1e-5, atol=1e-6)


def test_a_file_with_a_batch_gives_the_same(classifier: Path) -> None:
    """A file with a batch of two gives the same five outputs as the one with a batch of one."""
    single = next(run_file(Artifact.open(classifier), [[X]]))[0]
    double = next(run_file(Artifact.open(DATA / "batch2.tflite"), [[X]]))[0]
    assert double.shape == single.shape == (5, 10)
    np.testing.assert_allclose(double, single, rtol=1e-5, atol=1e-6)


def test_several_inputs_and_outputs_keep_their_places() -> None:
    """Inputs and outputs are in the order of the file, whatever order the runtime names them in."""
    file = DATA / "two_inputs.tflite"
    image, bias = np.ones((1, 3, 8, 8), np.float32), np.arange(10, dtype=np.float32)[None]
    found = next(run_file(Artifact.open(file), [[image, bias]]))
    for own, other in zip(found, outputs_here(file, [image, bias]), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


def test_packs_are_taken_one_at_a_time(classifier: Path) -> None:
    """The next pack is asked for only when the answer to the last one was read: memory does not grow with them."""
    taken = []

    def packs() -> Iterator[list[np.ndarray]]:
        for index in range(3):
            taken.append(index)
            yield [X[:1]]

    with closing(run_file(Artifact.open(classifier), packs())) as outputs:
        next(outputs)
        assert taken == [0]


def test_other_samples_than_the_file_takes_are_refused(classifier: Path) -> None:
    """The message says what the file takes and what it was given."""
    with pytest.raises(EdgecnnError, match=r"takes float32 \[n, 8, 8, 1\] but was given float64 \[n, 8, 8\]"):
        next(run_file(Artifact.open(classifier), [[np.zeros((1, 8, 8))]]))


def test_a_third_party_runtime_runs(classifier: Path, add_runtime: Callable[..., str]) -> None:
    """A runtime of an entry point travels to the worker as the own ones do."""
    outputs = next(run_file(Artifact.open(classifier), [[X]], runtime=add_runtime()))
    np.testing.assert_allclose(outputs[0][:, 0], X.sum(axis=(1, 2, 3)), rtol=1e-4)


def test_what_a_library_prints_does_no_harm(classifier: Path, add_runtime: Callable[..., str]) -> None:
    """Lines that native code or Python writes to standard output do not end up among the answers."""
    runtime = add_runtime(on_invoke="os.write(1, b'native noise\\n'); print('noise', flush=True)")
    outputs = next(run_file(Artifact.open(classifier), [[X]], runtime=runtime))
    assert outputs[0].shape == (5, 1)


@pytest.mark.parametrize("when", ["on_import", "on_load", "on_invoke"])
def test_a_worker_that_dies_is_one_line(classifier: Path, add_runtime: Callable[..., str], when: str) -> None:
    """A crash says which file crashed which runtime and by which signal, whenever it happens."""
    runtime = add_runtime(**{when: "os.kill(os.getpid(), 11)"})
    with pytest.raises(EdgecnnError, match=r"classifier\.tflite crashed sum \(signal 11, SIGSEGV\)"):
        next(run_file(Artifact.open(classifier), [[X]], runtime=runtime))


def test_a_worker_that_exits_is_one_line(classifier: Path, add_runtime: Callable[..., str]) -> None:
    """An early exit is told with its code and the last line of standard error."""
    runtime = add_runtime(on_load="sys.exit('out of luck')")
    with pytest.raises(EdgecnnError, match=r"worker of sum ended.*\(exit code 1: out of luck\)"):
        next(run_file(Artifact.open(classifier), [[X]], runtime=runtime))


def test_a_missing_runtime_gets_the_pip_line(classifier: Path, add_runtime: Callable[..., str]) -> None:
    """Where the runtime cannot be imported the message says how to install it."""
    runtime = add_runtime(on_import="import not_there_at_all")
    with pytest.raises(EdgecnnError, match=r"sum is not installed.*not_there_at_all.*: pip install sum-runtime"):
        next(run_file(Artifact.open(classifier), [[X]], runtime=runtime))


def test_a_failure_says_what_could_not_be_done(classifier: Path, add_runtime: Callable[..., str]) -> None:
    """An exception of the runtime is one line: the file, the runtime, the step, its text."""
    runtime = add_runtime(on_load="raise RuntimeError('operator 7\\nis odd')")
    with pytest.raises(EdgecnnError, match=r"classifier\.tflite: sum cannot load it: operator 7 is odd"):
        next(run_file(Artifact.open(classifier), [[X]], runtime=runtime))


def test_a_silent_worker_is_given_up(classifier: Path, add_runtime: Callable[..., str]) -> None:
    """A worker that does not answer in time is stopped, and that is said."""
    runtime = add_runtime(on_load="time.sleep(60)")
    artifact = Artifact.open(classifier)
    job = {"kind": "run", "inputs": [], "outputs": []}
    with (
        pytest.raises(EdgecnnError, match="did not answer within 0 s"),
        started_worker(artifact, job, runtime=runtime, threads=1, target=None, patience_s=0.5),
    ):
        pass


class Babble(Local):
    """A target where something else answers."""

    def run(self, program: str) -> Process:
        """Start a program that is not the worker."""
        return Process([sys.executable, "-c", "print('Welcome to the board!')"], Path(tempfile.gettempdir()))


def test_answers_that_are_not_ours_are_one_line(classifier: Path) -> None:
    """A target that says something else than our worker is named, with what it said."""
    with Babble() as target, pytest.raises(EdgecnnError, match=r"litert's worker sent an unreadable answer.*Welcome"):
        next(run_file(Artifact.open(classifier), [[X]], target=target))


def test_nothing_is_left_behind(classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the iterator early ends the worker and removes its folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with closing(run_file(Artifact.open(classifier), [[X], [X]])) as outputs:
        next(outputs)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """Return an .onnx file with an open batch: y = relu(x) and z = x summed, float32 [n, 3]."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto
    axes = make.make_tensor("axes", kind.INT64, [1], [1])
    nodes = [make.make_node("Relu", ["x"], ["y"]), make.make_node("ReduceSum", ["x", "axes"], ["z"])]
    x, y = (make.make_tensor_value_info(name, kind.FLOAT, ["n", 3]) for name in "xy")
    z = make.make_tensor_value_info("z", kind.FLOAT, ["n", 1])
    graph = make.make_graph(nodes, "g", [x], [y, z], [axes])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "m.onnx"))
    return tmp_path / "m.onnx"


def test_an_onnx_file_runs_in_onnxruntime(onnx_file: Path) -> None:
    """Samples go through one by one where the batch is open, and every output comes back in the order of the file."""
    x = np.asarray([[1, -2, 3], [-4, 5, 6]], np.float32)
    y, z = next(run_file(Artifact.open(onnx_file), [[x]]))
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(z, x.sum(axis=1, keepdims=True))


def test_an_onnx_file_is_timed(onnx_file: Path) -> None:
    """The timed path works too, and says which onnxruntime it was."""
    timed = time_process(
        Artifact.open(onnx_file), runtime="onnxruntime", threads=1, effort=BenchmarkConfig(warmup_s=0, min_time_s=0)
    )
    assert len(timed.run.values_ns) == 50
    assert timed.runtime_version


@pytest.fixture
def int16_file(tmp_path: Path) -> Path:
    """Return a .tflite file of int16 inputs, which LiteRT's `CompiledModel` refuses: y = x + x, [1, 4, 4, 2]."""
    net = Builder("int16")
    x = net.tensor((1, 4, 4, 2))
    path = tmp_path / "m.tflite"
    path.write_bytes(net.file([x], [net.binary("ADD", x, x)]))
    return path


@pytest.mark.slow
def test_a_file_that_one_interface_refuses_is_run_by_the_next(
    int16_file: Path, brief: BenchmarkConfig, tmp_path: Path
) -> None:
    """It gives right answers and a latency, and the result says which interface ran it and why."""
    x = np.arange(-32, 32, dtype=np.int16).reshape(2, 4, 4, 2)
    (y,) = next(run_file(Artifact.open(int16_file), [[x]]))
    np.testing.assert_array_equal(y, (2 * x))
    measurement = measure(int16_file, effort=brief)
    assert measurement.interface == "Interpreter"
    assert "run through the Interpreter of its runtime" in measurement.warnings[0]
    assert "int16" in measurement.warnings[0]
    other = replace(measurement, interface="CompiledModel")
    with pytest.raises(EdgecnnError, match="interface 'CompiledModel' then, 'Interpreter' now"):
        find_change(measurement, [other])
    for one in (measurement, other):
        add_to_history(one, tmp_path / "history.sqlite")
    kept = [entry.interface for entry in read_history(file=tmp_path / "history.sqlite")]
    assert kept == ["Interpreter", "CompiledModel"]


def test_a_file_that_every_interface_refuses_is_one_line(tmp_path: Path) -> None:
    """The last interface's reason is told."""
    net = Builder("float32")
    x = net.tensor((1, 4))
    y = net.operator("CUSTOM", (x,), (1, 4))
    (tmp_path / "m.tflite").write_bytes(net.file([x], [y]))
    with pytest.raises(EdgecnnError, match=r"m\.tflite: litert cannot load it: .*[Cc]ustom"):
        next(run_file(Artifact.open(tmp_path / "m.tflite"), [[np.zeros((1, 4), np.float32)]]))
