"""LiteRT, and the older `tflite_runtime` where only that is installed.

Goes to boards inside the worker: Python 3.9 or later, standard library, numpy and the runtime alone.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import time
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
        # Before it had options, `CompiledModel` could not be given the number of threads (2.1, the last on Python 3.9).
        newest = importlib.util.find_spec(package + ".options") and not _is_early_arm64()
        self.interface = interface or ("CompiledModel" if newest else "Interpreter")
        module = {"CompiledModel": ".compiled_model", "Interpreter": ".interpreter"}[self.interface]
        self._module = importlib.import_module(package + module)
        self.version = importlib.metadata.version(package.replace("_", "-"))

    def open(self, path: str, threads: int) -> Any:
        """Load the file at *path* for *threads* threads and return its session."""
        session = _Compiled if self.interface == "CompiledModel" else _Interpreted
        return session(self._module, path, threads)

    def profile(
        self, path: str, threads: int, least_ns: int, between: Callable[[], None]
    ) -> list[list[dict[str, Any]]]:
        """Run the file at *path* for *least_ns* at least, and return the operators of each run with their time.

        *between* is called before each run.

        Raises:
            RuntimeError: the interface in use has no profiler, or it refuses the file.
        """
        if self.interface != "CompiledModel":
            raise RuntimeError(f"the {self.interface} of LiteRT has no profiler that Python reaches")
        profiler = _Profiler(path, threads)
        try:
            return profiler.runs(least_ns, between)
        finally:
            profiler.close()


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


class _Event(ctypes.Structure):
    """One event of LiteRT's profiler (`ProfiledEventData` of its C interface)."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


#: Kinds of events that are one operator: of the interpreter, within a delegate, and told by a delegate (XNNPACK).
_OPERATOR_EVENTS = (2, 4, 8)
_MOST_RUNS = 1000


class _Profiler:
    """A file loaded through LiteRT's C interface with its profiler on, which its Python interface does not offer."""

    def __init__(self, path: str, threads: int) -> None:
        package = importlib.util.find_spec("ai_edge_litert")
        folder = os.path.dirname(package.origin) if package is not None and package.origin else ""
        self._library = ctypes.CDLL(os.path.join(folder, "libLiteRt.so"))
        self._made: list[tuple[str, Any]] = []
        if not hasattr(self._library, "LiteRtGetProfilerEvents"):
            raise RuntimeError("this version of LiteRT has no profiler; it came with 2.3")
        environment = self._make("Environment", 0, None)
        options = self._make("Options")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, 1)  # the CPU
        self._kept = [ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)]  # nothing to free: Python does
        for name, text in (
            ("runtime_options_string", "enable_profiling = true"),
            ("xnnpack", f"num_threads={threads}"),
        ):
            payload, option = ctypes.create_string_buffer(text.encode() + b"\n"), ctypes.c_void_p()
            self._kept.append(payload)  # type: ignore[arg-type]
            self._call("LiteRtCreateOpaqueOptions", name.encode(), payload, self._kept[0], ctypes.byref(option))
            self._call("LiteRtAddOpaqueOptions", options, option)
        model = self._make("Model", environment, path.encode(), suffix="FromFile")
        self._model = self._make("CompiledModel", environment, model, options)
        self._profiler = ctypes.c_void_p()
        self._call("LiteRtCompiledModelGetProfiler", self._model, ctypes.byref(self._profiler))
        signature = ctypes.c_void_p()
        self._call("LiteRtGetModelSignature", model, ctypes.c_size_t(0), ctypes.byref(signature))
        self._inputs = self._buffers("Input", environment, signature)
        self._outputs = self._buffers("Output", environment, signature)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} of LiteRT failed with status {status}")

    def _make(self, kind: str, *arguments: Any, suffix: str = "") -> Any:
        made = ctypes.c_void_p()
        self._call(f"LiteRtCreate{kind}{suffix}", *arguments, ctypes.byref(made))
        self._made.append((kind, made))
        return made

    def _buffers(self, kind: str, environment: Any, signature: Any) -> Any:
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{kind}s", signature, ctypes.byref(count))
        buffers = (ctypes.c_void_p * count.value)()
        for index in range(count.value):
            tensor, needs, place = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t(index)
            tensor_type = ctypes.create_string_buffer(1024)  # more than a LiteRtRankedTensorType takes
            self._call(f"LiteRtGetSignature{kind}TensorByIndex", signature, place, ctypes.byref(tensor))
            self._call("LiteRtGetRankedTensorType", tensor, tensor_type)
            find = f"LiteRtGetCompiledModel{kind}BufferRequirements"
            self._call(find, self._model, ctypes.c_size_t(0), place, ctypes.byref(needs))
            buffer = ctypes.c_void_p()
            make = "LiteRtCreateManagedTensorBufferFromRequirements"
            self._call(make, environment, tensor_type, needs, ctypes.byref(buffer))
            self._made.append(("TensorBuffer", buffer))
            buffers[index] = buffer.value
        return buffers

    def _run(self) -> None:
        ins, outs = (ctypes.c_size_t(len(buffers)) for buffers in (self._inputs, self._outputs))
        self._call("LiteRtRunCompiledModel", self._model, ctypes.c_size_t(0), ins, self._inputs, outs, self._outputs)

    def runs(self, least_ns: int, between: Callable[[], None]) -> list[list[dict[str, Any]]]:
        """Return the operators of each run; another run before it fills the caches."""
        found: list[list[dict[str, Any]]] = []
        start_ns = time.perf_counter_ns()
        while not found or (time.perf_counter_ns() - start_ns < least_ns and len(found) < _MOST_RUNS):
            between()
            self._run()
            self._call("LiteRtResetProfiler", self._profiler)
            self._call("LiteRtStartProfiler", self._profiler)
            self._run()
            self._call("LiteRtStopProfiler", self._profiler)
            found.append(self._operators())
        return found

    def _operators(self) -> list[dict[str, Any]]:
        """Return the operators of the run since the profiler began; times are cut to whole microseconds by XNNPACK."""
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * count.value)()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return [
            {"kind": event.tag.decode(errors="replace"), "ns": event.elapsed_us * 1000 + 500}
            for event in events
            if event.kind in _OPERATOR_EVENTS
        ]

    def close(self) -> None:
        """Free everything, the last first."""
        for kind, made in reversed(self._made):
            getattr(self._library, f"LiteRtDestroy{kind}")(made)
        self._made.clear()


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
