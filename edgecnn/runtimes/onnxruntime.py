"""onnxruntime on the CPU.

Goes to boards inside the worker: Python 3.9 or later, standard library, numpy and the runtime alone.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = list[npt.NDArray[Any]]
Details = list[dict[str, Any]]  # of each input or output: name, shape, dtype

_DTYPES = {"float": "float32", "double": "float64"}  # tensor(float) → float32; the others bear numpy's names


class OnnxRuntime:
    """The runtime, imported."""

    formats = ("onnx",)
    install = "pip install 'edgecnn[onnx]', or '.[onnx]' in a checkout"
    packages = ("onnxruntime", "numpy")
    interface = "InferenceSession"

    def __init__(self) -> None:
        """Import the runtime.

        Raises:
            ImportError: `onnxruntime` is not there.
        """
        os.environ["ORT_LOAD_CONFIG_FROM_MODEL"] = "0"  # else a file may have profiles written
        self._module = importlib.import_module("onnxruntime")
        self.version = str(self._module.__version__)

    def open(self, path: str, threads: int) -> Any:
        """Load the file at *path* for *threads* threads and return its session."""
        return _Session(self._module, path, threads)

    def profile(
        self, path: str, threads: int, least_ns: int, between: Callable[[], None]
    ) -> list[list[dict[str, Any]]]:
        """Run the file at *path* for *least_ns* at least, and return the operators of each run with their time.

        *between* is called before each run.
        """
        with tempfile.TemporaryDirectory() as folder:
            session = _Session(self._module, path, threads, os.path.join(folder, "profile"))
            start_ns = time.perf_counter_ns()
            count = 0
            while not count or (time.perf_counter_ns() - start_ns < least_ns and count < _MOST_RUNS):
                between()
                session.invoke()  # fills the caches; every second run counts
                session.invoke()
                count += 1
            with open(session.end_profile(), encoding="utf-8") as file:
                events = json.load(file)
            session.close()
        return _operators_of(events)[1::2]


_MOST_RUNS = 300  # a profile has an entry for each operator of each run


def _operators_of(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the operators of each run in an onnxruntime profile, whose times are cut to whole microseconds."""
    suffix = "_kernel_time"
    runs: list[list[dict[str, Any]]] = []
    for event in sorted(events, key=lambda event: event.get("ts", 0)):
        if event.get("cat") == "Node" and event["name"].endswith(suffix):
            name, kind = event["name"][: -len(suffix)], event.get("args", {}).get("op_name", "")
            node = event.get("args", {}).get("node_index", name)
            if not runs or any(node == known["node"] for known in runs[-1]):
                runs.append([])
            runs[-1].append({"kind": kind, "name": name, "node": node, "ns": event["dur"] * 1000 + 500})
    return [_without_recording(run) for run in runs]


#: They move no value, so what a profile says of them is what it takes to record an operator: some microseconds.
_VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def _without_recording(run: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the operators less the time of recording each, which onnxruntime counts in."""
    recording = min((operator["ns"] for operator in run if operator["kind"] in _VIEWS), default=0)
    return [{**operator, "ns": max(operator["ns"] - recording, 0)} for operator in run]


class _Session:
    """A loaded file; a dimension left open counts as 1."""

    def __init__(self, onnxruntime: Any, path: str, threads: int, profile: str | None = None) -> None:
        options = onnxruntime.SessionOptions()
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors alone
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._ort_value = onnxruntime.OrtValue
        self.inputs: Details = [_details(value) for value in self._session.get_inputs()]
        self.outputs: Details = [_details(value) for value in self._session.get_outputs()]
        # Bound memory: `invoke` then neither copies nor allocates inputs and outputs, as in a tuned application.
        self._binding = self._session.io_binding()
        self._bound_inputs: list[Any] = []
        for detail in self.inputs:
            value = self._ort_value.ortvalue_from_numpy(np.zeros(detail["shape"], detail["dtype"]))
            self._binding.bind_ortvalue_input(detail["name"], value)
            self._bound_inputs.append(value)
        for detail in self.outputs:
            self._binding.bind_output(detail["name"], "cpu")

    def write(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Copy *arrays* into the inputs; sizes that the file leaves open are theirs."""
        for index, array in enumerate(arrays):
            array = np.ascontiguousarray(array)
            if list(array.shape) == list(self._bound_inputs[index].shape()):
                self._bound_inputs[index].update_inplace(array)
                continue
            value = self._ort_value.ortvalue_from_numpy(array)
            self._binding.bind_ortvalue_input(self.inputs[index]["name"], value)
            self._bound_inputs[index] = value

    def invoke(self) -> None:
        """Run once on what the inputs hold: this is what is timed."""
        self._session.run_with_iobinding(self._binding)

    def read(self) -> Arrays:
        """Return copies of the outputs."""
        return [np.array(value) for value in self._binding.copy_outputs_to_cpu()]

    def end_profile(self) -> str:
        """Return the file of the profile, which is on."""
        return str(self._session.end_profiling())

    def close(self) -> None:
        """Free the model."""
        del self._binding, self._session


def open_content(content: bytes, optimize: bool = True) -> Callable[[Mapping[str, npt.NDArray[Any]]], Arrays]:
    """Load a file's *content* and return what runs it: from arrays by input name to those of its outputs.

    Without *optimize* each node runs as it stands, none is fused with another.
    """
    os.environ["ORT_LOAD_CONFIG_FROM_MODEL"] = "0"
    module = importlib.import_module("onnxruntime")
    options = module.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = module.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = module.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda arrays: list(session.run(None, dict(arrays)))


def _details(value: Any) -> dict[str, Any]:
    kind = value.type[len("tensor(") : -1]
    shape = [size if isinstance(size, int) and size > 0 else 1 for size in value.shape]
    return {"name": value.name, "shape": shape, "dtype": _DTYPES.get(kind, kind)}
