"""OpenVINO on the CPU, which reads ONNX files as they are.

Goes to boards inside the worker: Python 3.9 or later, standard library, numpy and the runtime alone.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = list[npt.NDArray[Any]]
Details = list[dict[str, Any]]  # of each input or output: name, shape, dtype

_MOST_RUNS = 300


class OpenVino:
    """The runtime, imported."""

    formats = ("onnx",)
    install = "pip install 'edgecnn[openvino]', or '.[openvino]' in a checkout"
    packages = ("openvino", "numpy")
    interface = "CompiledModel"

    def __init__(self) -> None:
        """Import the runtime.

        Raises:
            ImportError: `openvino` is not there.
        """
        self._module = importlib.import_module("openvino")
        self.version = str(self._module.__version__).split("-")[0]

    def open(self, path: str, threads: int) -> Any:
        """Load the file at *path* for *threads* threads and return its session."""
        return _Session(self._module, path, threads)

    def profile(
        self, path: str, threads: int, least_ns: int, between: Callable[[], None]
    ) -> list[list[dict[str, Any]]]:
        """Run the file at *path* for *least_ns* at least, and return the operators of each run with their time.

        *between* is called before each run.
        """
        session = _Session(self._module, path, threads, counting=True)
        runs: list[list[dict[str, Any]]] = []
        start_ns = time.perf_counter_ns()
        while not runs or (time.perf_counter_ns() - start_ns < least_ns and len(runs) < _MOST_RUNS):
            between()
            session.invoke()  # fills the caches
            session.invoke()
            runs.append(session.operators())
        session.close()
        return runs


class _Session:
    """A loaded file; a dimension left open counts as 1."""

    def __init__(self, openvino: Any, path: str, threads: int, *, counting: bool = False) -> None:
        core = openvino.Core()
        model = core.read_model(path)
        shapes = {port.any_name: _closed(port.partial_shape) for port in model.inputs}
        if any(port.partial_shape.is_dynamic for port in model.inputs):
            model.reshape(shapes)
        # As the other runtimes compute: without half precision, which it would take where the processor has it.
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERF_COUNT": counting,
        }
        self._model = core.compile_model(model, "CPU", options)
        self._request = self._model.create_infer_request()
        self.inputs: Details = [_details(port) for port in self._model.inputs]
        self.outputs: Details = [_details(port) for port in self._model.outputs]

    def write(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Copy *arrays* into the inputs."""
        for index, array in enumerate(arrays):
            self._request.get_input_tensor(index).data[...] = array

    def invoke(self) -> None:
        """Run once on what the inputs hold: this is what is timed."""
        self._request.infer()

    def read(self) -> Arrays:
        """Return copies of the outputs."""
        return [np.array(self._request.get_output_tensor(index).data) for index in range(len(self.outputs))]

    def operators(self) -> list[dict[str, Any]]:
        """Return the operators of the last run that took time, in order, each with its time."""
        return [
            {
                "kind": operator.node_type,
                "name": operator.node_name,
                "ns": round(operator.real_time.total_seconds() * 1e9) + 500,
            }
            for operator in self._request.get_profiling_info()
            if "EXECUTED" in str(operator.status).rsplit(".", 1)[-1] and operator.node_type not in _NOTHING
        ]

    def close(self) -> None:
        """Free the model."""
        del self._request, self._model


#: Kinds of its graph that compute nothing.
_NOTHING = ("Const", "Constant", "Parameter", "Result", "Input", "Output")


def _closed(shape: Any) -> list[int]:
    return [1 if size.is_dynamic else size.get_length() for size in shape]


def _details(port: Any) -> dict[str, Any]:
    shape = [int(size) for size in port.shape]
    return {"name": port.any_name, "shape": shape, "dtype": np.dtype(port.element_type.to_dtype()).name}
