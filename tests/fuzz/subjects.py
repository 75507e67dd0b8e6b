"""What is fuzzed: of each kind of input some valid ones, how they are changed, and what reads them.

A reader may return or raise EdgecnnError. Anything else is a failure, and so is time or memory out of proportion.
"""

from __future__ import annotations

import io
import json
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from edgecnn.artifact import METADATA_KEY, Artifact
from edgecnn.benchmarks.changes import find_change
from edgecnn.benchmarks.stability import find_instabilities
from edgecnn.device import load_device
from edgecnn.errors import EdgecnnError
from edgecnn.fit import check_fit
from edgecnn.host import read_host
from edgecnn.measurement import Measurement, Memory, Run, read_measurements, to_document
from edgecnn.runtimes.frames import read_message, write_message
from edgecnn.shipped import shipped_files
from tests.fuzz import mutations
from tests.tflite_builder import Builder


@dataclass(frozen=True)
class Subject:
    """One kind of input."""

    suffix: str  # of its files
    valid: Callable[[], list[bytes]]
    mutate: Callable[[bytes, Random], bytes]
    read: Callable[[Path], None]  # in a folder of its own


def _document(parse: Callable[[bytes], Any], write: Callable[[Any], bytes]) -> Callable[[bytes, Random], bytes]:
    def mutate(content: bytes, random: Random) -> bytes:
        if random.random() < 0.3:
            return mutations.mutated_bytes(content, random)
        try:
            document = parse(content)
            return write(mutations.mutated_document(document, random)) if document else content
        except (ValueError, TypeError, RecursionError):  # changed before, to something that is none
            return mutations.mutated_bytes(content, random)

    return mutate


@cache
def tflite_files() -> list[bytes]:
    """Return small networks of many operators, int8 and float."""
    files = []
    for dtype in ("int8", "float32"):
        net = Builder(dtype)
        image = net.tensor((1, 8, 8, 3))
        x = net.conv(image, 4, stride=2)
        x = net.pool(net.binary("ADD", net.depthwise(net.pad(x)), net.depthwise(net.pad(x))))
        x = net.softmax(net.dense(net.mean(net.concat(x, x)), 3))
        files.append(net.file([image], [x]))
    return files


@cache
def onnx_files() -> list[bytes]:
    """Return a small classifier, and one in QDQ form."""
    from onnx import TensorProto, helper, numpy_helper

    def stored(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(np.ones(shape, np.float32), name)

    ends = [helper.make_tensor_value_info(*end) for end in (("x", 1, ["N", 3, 8, 8]), ("y", 1, [1, 5]))]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([1, -1]), "shape")),
        helper.make_node("Reshape", ["r", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "net", ends[:1], ends[1:], [stored("w", 4, 3, 3, 3), stored("b", 4), stored("d", 64, 5)]
    )
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    plain.metadata_props.add(key=METADATA_KEY, value=metadata_documents()[0].decode())
    zero = numpy_helper.from_array(np.int8(0), "z")
    pairs = (
        ("QuantizeLinear", "x", "q"),
        ("DequantizeLinear", "q", "f"),
        ("Relu", "f", "r"),
        ("QuantizeLinear", "r", "y"),
    )
    steps = [helper.make_node(kind, [a] if kind == "Relu" else [a, "s", "z"], [b]) for kind, a, b in pairs]
    ends = [helper.make_tensor_value_info("x", 1, [1, 4]), helper.make_tensor_value_info("y", TensorProto.INT8, [1, 4])]
    integer = helper.make_graph(steps, "qdq", ends[:1], ends[1:], [numpy_helper.from_array(np.float32(1), "s"), zero])
    return [plain.SerializeToString(), helper.make_model(integer).SerializeToString()]


@cache
def metadata_documents() -> list[bytes]:
    """Return the JSON text that edgecnn keeps in its files."""
    document = {
        "model": "net", "precision": "w8a8", "layout": "NHWC", "labels": ["a", "b"], "tools": {"torch": "2"},
        "normalization": {"mean": [0.5], "std": [0.5]}, "calibration": "digits", "calibration_samples": 8,
        "quantization": {"x": {"scale": [0.5], "zero_point": [3]}},
    }  # fmt: skip
    return [mutations.as_json(document)]


@cache
def results() -> list[bytes]:
    """Return a result file with all that a measurement may say."""
    state = {"frequencies_mhz": [1000.0], "temperatures_c": {"cpu": 40.0}, "throttled": 0, "load_1m": 0.5}
    ticks = {"busy_ticks": 10, "steal_ticks": 0, "ticks_per_second": 100, "process_ns": 5, "monotonic_ns": 7}
    after = {**state, **ticks, "busy_ticks": 20, "monotonic_ns": 10**9}
    memory = Memory(1, 2, 3, 4)
    run = Run(
        import_ns=1,
        load_ns=2,
        first_ns=3,
        warmup=4,
        loops=1,
        values_ns=(5, 6, 7),
        memory=memory,
        finite=True,
        before={**state, **ticks},
        after=after,
        during=(state,),
    )
    machine = {
        "cpu": "C",
        "cores": 4,
        "cores_allowed": 4,
        "cores_quota": 1.5,
        "governors": ["powersave"],
        "features": [],
    }
    measurement = Measurement(
        file="a.tflite",
        format="tflite",
        precision="fp32",
        runtime="litert",
        runtime_version="2",
        device="host",
        target="local",
        threads=1,
        runs=(run,) * 3,
        size_bytes=100,
        conditions=machine,
    )
    return [mutations.as_json(to_document([measurement]))]


@cache
def messages() -> list[bytes]:
    """Return a worker's answer with arrays."""
    stream = io.BytesIO()
    write_message(stream, {"version": "1", "values_ns": [1]}, [np.ones((2, 3), np.float32), np.zeros(0, np.int8)])
    return [stream.getvalue()]


@cache
def devices() -> list[bytes]:
    """Return the shipped device profiles."""
    return [path.read_bytes() for path in shipped_files("devices").values()]


@cache
def hosts() -> list[bytes]:
    """Return what a board sends of itself, as JSON: file → content."""
    files = {
        "proc/cpuinfo": "processor : 0\nCPU part : 0xd08\nFeatures : asimd\ncpu MHz : 900.5\n\nModel : Pi\n",
        "proc/meminfo": "MemTotal:  1000 kB\nMemAvailable:  500 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1500000\n",
        "sys/fs/cgroup/memory.max": "4096\n",
        "sys/fs/cgroup/memory.current": "99\n",
        "sys/fs/cgroup/memory.stat": "inactive_file 3\n",
    }  # fmt: skip
    return [mutations.as_json(files)]


def read_model(path: Path) -> None:
    """Read a model file, all that its metadata say, and check it against a board and a microcontroller."""
    artifact = Artifact.open(path)
    _read_metadata(artifact)
    for device in ("rpi4", "stm32h7a3"):
        _tolerating(lambda device=device: json.dumps(check_fit(path, device).to_json(), allow_nan=False))


def read_metadata(path: Path) -> None:
    """Read *path* as the metadata of a model file."""
    file = path.with_name("net.tflite")
    file.write_bytes(tflite_files()[0])
    artifact = Artifact.open(file)
    _read_metadata(Artifact(file, replace(artifact.graph, metadata={METADATA_KEY: path.read_bytes()})))


def _read_metadata(artifact: Artifact) -> None:
    for name in ("metadata", "normalization", "precision", "layout", "history"):
        _tolerating(lambda name=name: getattr(artifact, name))


def read_result(path: Path) -> None:
    """Read a result file and compare and judge what it holds."""
    for measurement in read_measurements(path):
        json.dumps(measurement.to_json(), allow_nan=False)
        find_instabilities(measurement)
        _tolerating(lambda measurement=measurement: find_change(measurement, [measurement]))


def read_answer(path: Path) -> None:
    """Read the messages of a worker, which raise ValueError where they are none."""
    with path.open("rb") as stream:
        try:
            while read_message(stream) is not None:
                pass
        except ValueError as error:
            raise EdgecnnError(str(error)) from None


def read_device(path: Path) -> None:
    """Read a device profile and check a file against it."""
    json.dumps(load_device(str(path)).to_json(), allow_nan=False)
    file = path.with_name("net.tflite")
    file.write_bytes(tflite_files()[0])
    _tolerating(lambda: check_fit(file, str(path)))


def read_board(path: Path) -> None:
    """Read what a board sent of itself."""
    try:
        files = json.loads(path.read_bytes())
        for name, content in files.items():
            place = path.parent / "root" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content, encoding="utf-8")
    except (ValueError, AttributeError, TypeError, OSError, RecursionError):
        return  # the harness's own wrapping
    read_host(path.parent / "root", "aarch64")


def _tolerating(read: Callable[[], Any]) -> None:
    """Call *read*: that it says no is an answer, and what comes after it is to be read as well."""
    with suppress(EdgecnnError):
        read()


_JSON = _document(json.loads, mutations.as_json)

SUBJECTS = {
    "tflite": Subject(".tflite", tflite_files, mutations.mutated_tflite, read_model),
    "onnx": Subject(".onnx", onnx_files, mutations.mutated_onnx, read_model),
    "metadata": Subject(".json", metadata_documents, _JSON, read_metadata),
    "result": Subject(".json", results, _JSON, read_result),
    "message": Subject(".bin", messages, mutations.mutated_bytes, read_answer),
    "device": Subject(
        ".toml", devices, _document(lambda content: tomllib.loads(content.decode()), mutations.as_toml), read_device
    ),
    "board": Subject(".json", hosts, _JSON, read_board),
}
