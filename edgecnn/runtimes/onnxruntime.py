"""onnxruntime on the CPU.

Goes to boards inside the worker: Python 3.9 or later, standard library, numpy and the runtime alone.
"""

from __future__ import annotations

import importlib
import os
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


class _Session:
    """A loaded file; a dimension left open counts as 1."""

    def __init__(self, onnxruntime: Any, path: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
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
        """Copy *arrays* into the inputs."""
        for index, array in enumerate(arrays):
            self._bound_inputs[index].update_inplace(np.ascontiguousarray(array))

    def invoke(self) -> None:
        """Run once on what the inputs hold: this is what is timed."""
        self._session.run_with_iobinding(self._binding)

    def read(self) -> Arrays:
        """Return copies of the outputs."""
        return [np.array(value) for value in self._binding.copy_outputs_to_cpu()]

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
