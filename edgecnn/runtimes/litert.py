"""LiteRT, and the older `tflite_runtime` where only that is installed.

Goes to boards inside the worker: Python 3.9 or later, standard library, numpy and the runtime alone.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = list[npt.NDArray[Any]]
Details = list[dict[str, Any]]  # of each input or output: name, shape, dtype


class LiteRT:
    """The runtime, imported; the newest interface that is there is used, as a user of it would.

    `CompiledModel` loads no recurrent network and takes no int16 (ai-edge-litert 2.3.0); `Interpreter` runs both.
    """

    formats = ("tflite",)
    interfaces = ("CompiledModel", "Interpreter")  # the second runs what the first refuses
    install = "pip install 'edgecnn[litert]', or '.[litert]' in a checkout"
    packages = ("ai-edge-litert", "numpy")

    def __init__(self, interface: str | None = None) -> None:
        """Import the runtime.

        Args:
            interface: one of `interfaces`; None: the newest.

        Raises:
            ImportError: neither `ai_edge_litert` nor `tflite_runtime` is there.
        """
        found = [name for name in ("ai_edge_litert", "tflite_runtime") if importlib.util.find_spec(name)]
        package = found[0] if found else "ai_edge_litert"
        # Before it had options, `CompiledModel` could not be told the number of threads (2.1, the last on Python 3.9).
        newest = importlib.util.find_spec(package + ".options") and not _is_early_arm64()
        self.interface = interface or ("CompiledModel" if newest else "Interpreter")
        module = {"CompiledModel": ".compiled_model", "Interpreter": ".interpreter"}[self.interface]
        self._module = importlib.import_module(package + module)
        self.version = importlib.metadata.version(package.replace("_", "-"))

    def open(self, path: str, threads: int) -> Any:
        """Load the file at *path* for *threads* threads and return its session."""
        session = _Compiled if self.interface == "CompiledModel" else _Interpreted
        return session(self._module, path, threads)


def _is_early_arm64() -> bool:
    """Whether this is an ARM64 processor before Armv8.1: Cortex-A53, A57, A72, A73, so every Raspberry Pi up to 4.

    `CompiledModel` loads a library for GPUs that uses the atomic instructions of Armv8.1 (LSE), and kills the process
    where there are none ("This binary was compiled with lse enabled", ai-edge-litert 2.3.0). `Interpreter` does not.
    """
    if platform.machine() != "aarch64":
        return False
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        features = [line.split() for line in file if line.startswith("Features")]
    return not all("atomics" in words for words in features)


class _Compiled:
    """A file loaded through `CompiledModel`; inputs and outputs in the order of its first signature."""

    def __init__(self, litert: Any, path: str, threads: int) -> None:
        options = litert.Options(
            hardware_accelerators=litert.HardwareAccelerator.CPU, cpu_options=litert.CpuOptions(num_threads=threads)
        )
        self._model = litert.CompiledModel.from_file(path, options=options)
        signature, names = next(iter(self._model.get_signature_list().items()))
        inputs = self._model.get_input_tensor_details(signature)
        outputs = self._model.get_output_tensor_details(signature)
        self.inputs: Details = [inputs[name] for name in names["inputs"]]
        self.outputs: Details = [outputs[name] for name in names["outputs"]]
        self._input_buffers = self._model.create_input_buffers(0)
        self._output_buffers = self._model.create_output_buffers(0)
        for buffer, detail in zip(
            (*self._input_buffers, *self._output_buffers), (*self.inputs, *self.outputs), strict=True
        ):
            buffer.write(np.zeros(1, detail["dtype"]))  # int16, int64 and strings are refused now, not when it runs

    def write(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Copy *arrays* into the inputs."""
        for index, array in enumerate(arrays):
            self._input_buffers[index].write(array)

    def invoke(self) -> None:
        """Run once on what the inputs hold: this is what is timed."""
        self._model.run_by_index(0, self._input_buffers, self._output_buffers)

    def read(self) -> Arrays:
        """Return copies of the outputs."""
        arrays = []
        for index, buffer in enumerate(self._output_buffers):
            shape, dtype = self.outputs[index]["shape"], np.dtype(self.outputs[index]["dtype"])
            arrays.append(buffer.read(int(np.prod(shape)), dtype).reshape(shape))
        return arrays

    def close(self) -> None:
        """Free the model."""
        self._model.close()


class _Interpreted:
    """A file loaded through `Interpreter`; inputs and outputs in the order of the graph."""

    def __init__(self, module: Any, path: str, threads: int) -> None:
        self._interpreter = module.Interpreter(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input_details = self._interpreter.get_input_details()
        self._output_details = self._interpreter.get_output_details()
        self.inputs: Details = [_plain(detail) for detail in self._input_details]
        self.outputs: Details = [_plain(detail) for detail in self._output_details]

    def write(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Copy *arrays* into the inputs."""
        for index, array in enumerate(arrays):
            self._interpreter.set_tensor(self._input_details[index]["index"], array)

    def invoke(self) -> None:
        """Run once on what the inputs hold: this is what is timed."""
        self._interpreter.invoke()

    def read(self) -> Arrays:
        """Return copies of the outputs."""
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._output_details]

    def close(self) -> None:
        """Free the model."""
        del self._interpreter


def every_tensor(file: str | bytes) -> Callable[[Arrays], Callable[[int], npt.NDArray[Any]]]:
    """Load a file, its path or its content, so that every tensor can be read, and return what runs it.

    That takes the arrays of the inputs and returns what reads a tensor by its index in the graph, until the next run.
    The kernels are the runtime's own, not XNNPACK's, which keep no tensor between two operators.
    """
    module = importlib.import_module("ai_edge_litert.interpreter")
    interpreter = module.Interpreter(
        **({"model_path": file} if isinstance(file, str) else {"model_content": file}),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()

    def run(arrays: Arrays) -> Callable[[int], npt.NDArray[Any]]:
        for detail, array in zip(details, arrays):  # noqa: B905 (Python 3.9)
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return lambda index: np.asarray(interpreter.get_tensor(index))

    return run


def open_content(content: bytes) -> Callable[[Sequence[npt.NDArray[Any]]], Arrays]:
    """Load a file's *content* and return what runs it: from the arrays of its inputs to those of its outputs."""
    module = importlib.import_module("ai_edge_litert.interpreter")
    interpreter = module.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    inputs = [detail["index"] for detail in interpreter.get_input_details()]
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def run(arrays: Sequence[npt.NDArray[Any]]) -> Arrays:
        for index, array in zip(inputs, arrays):  # noqa: B905 (Python 3.9)
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return run


def _plain(detail: Any) -> dict[str, Any]:
    shape = [int(size) for size in detail["shape"]]
    return {"name": detail["name"], "shape": shape, "dtype": np.dtype(detail["dtype"]).name}
