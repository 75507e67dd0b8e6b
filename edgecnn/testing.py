"""A runtime, a target and a metric for tests: no board, no runtime, no process, and the same figures each time.

Code that calls `edgecnn.measure`, `edgecnn.run_file` or `edgecnn.find_change` is tested with a `FakeTarget`; code that
is given a runtime's session is tested with a `FakeRuntime`; what follows from scores, such as limits and drops, with a
`FakeMetric`. The network is not computed: see `FakeRuntime.compute`.

Example:
    >>> from edgecnn.testing import FakeTarget
    >>> def measure(duration_ns: int) -> edgecnn.Measurement:
    ...     target, effort = FakeTarget([duration_ns]), edgecnn.BenchmarkConfig(processes=9)
    ...     return edgecnn.measure("classifier.tflite", target=target, effort=effort)
    >>> edgecnn.find_change(measure(1_200_000), [measure(1_000_000)], tolerance=0.1).verdict
    'slower'
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.formats import TensorSpec, read_graph
from edgecnn.measurement import MEASURED
from edgecnn.runtimes import Runtime, Session
from edgecnn.runtimes.frames import read_message, write_message
from edgecnn.runtimes.worker import run_pack
from edgecnn.targets import Process, Target
from edgecnn.tasks.task import Metric, Outputs, Records

Arrays = Sequence[npt.NDArray[Any]]


class FakeRuntime:
    """A `Runtime` that reads a file's inputs and outputs, and gives what a function of the inputs gives.

    Args:
        compute: from the inputs, one array [batch, ...] each, to the outputs; None: zeros of the file's own shapes.

    Example:
        >>> import numpy as np
        >>> from edgecnn.testing import FakeRuntime
        >>> session = FakeRuntime(lambda inputs: [inputs[0].sum(axis=(1, 2, 3))]).open("classifier.tflite")
        >>> session.write([np.ones((1, 8, 8, 1), np.float32)])
        >>> session.invoke()
        >>> session.read()
        [array([64.], dtype=float32)]
    """

    formats: tuple[str, ...] = ("tflite", "onnx")
    install = "FakeRuntime needs nothing"
    packages: tuple[str, ...] = ()
    version = "0"
    interface = "FakeRuntime"
    interfaces: tuple[str, ...] = ("FakeRuntime",)

    def __init__(self, compute: Callable[[Arrays], Arrays] | None = None) -> None:
        self.compute = compute

    def open(self, path: Path | str, threads: int = 1) -> Session:
        """Read the inputs and outputs of the file at *path*; *threads* changes nothing.

        Raises:
            EdgecnnError: no such file, or a broken one.
        """
        graph = read_graph(path)
        return _Session(graph.input_specs, graph.output_specs, self.compute)


class _Session:
    def __init__(
        self, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec], compute: Callable[[Arrays], Arrays] | None
    ) -> None:
        self.inputs = [_details(spec) for spec in inputs]
        self.outputs = [_details(spec) for spec in outputs]
        self._compute = compute or self._zeros
        self._given: list[npt.NDArray[Any]] = []
        self._results: Arrays = ()

    def _zeros(self, _: Arrays) -> Arrays:
        return [np.zeros(one["shape"], one["dtype"]) for one in self.outputs]

    def write(self, arrays: Arrays) -> None:
        """Keep copies of *arrays*."""
        self._given = [np.array(array) for array in arrays]

    def invoke(self) -> None:
        """Compute the outputs of what was written last."""
        self._results = self._compute(self._given)

    def read(self) -> list[npt.NDArray[Any]]:
        """Return copies of the outputs."""
        return [np.array(array) for array in self._results]

    def close(self) -> None:
        """Do nothing."""


def _details(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype}


class FakeTarget:
    """A `Target` that answers as a board would, from memory, with the durations that it is given.

    What was asked of it is in `pushed` (files), `jobs` (as the worker gets them), `installed` (packages) and
    `limit_bytes`.

    Args:
        durations_ns: of the calls of each process, in nanoseconds, repeated until there are enough.
        runtime: computes the outputs.
        name: of the target, as it stands in a measurement.
        machine: architecture, as `uname -m` says; None: it matches every device.
        method: `measured`, or `emulated`: the durations are then counts of instructions.
        free_bytes: memory that is free on it.
        peak_rss_bytes: of each process.
        error: a step (`missing`: the runtime is not installed; `load`, `run`) and the text of its error, which every
            job is answered with.

    Example:
        >>> from edgecnn.testing import FakeTarget
        >>> board = FakeTarget(durations_ns=[1_000_000, 3_000_000], name="ssh://pi@board", machine="aarch64")
        >>> measurement = edgecnn.measure("classifier.tflite", device="rpi4", target=board)
        >>> measurement.p50_ns, measurement.target, len(measurement.runs)
        (2000000.0, 'ssh://pi@board', 3)
        >>> [path.name for path in board.pushed if path.suffix == ".tflite"][:1]
        ['classifier.tflite']
    """

    def __init__(
        self,
        durations_ns: Sequence[int] = (1_000_000,),
        runtime: FakeRuntime | None = None,
        *,
        name: str = "fake",
        machine: str | None = None,
        method: str = MEASURED,
        free_bytes: int | None = None,
        peak_rss_bytes: int | None = None,
        error: tuple[str, str] | None = None,
    ) -> None:
        self.durations_ns = tuple(durations_ns)
        self.runtime = runtime or FakeRuntime()
        self.name = name
        self.machine = machine
        self.method = method
        self.free_bytes = free_bytes
        self.peak_rss_bytes = peak_rss_bytes
        self.error = error
        self.pushed: list[Path] = []
        self.jobs: list[Mapping[str, Any]] = []
        self.installed: list[str] = []
        self.limit_bytes: int | None = None

    def __enter__(self) -> FakeTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: nothing was opened."""

    def push(self, path: Path, *data_files: Path) -> str:
        """Note the files, and return the path as it is."""
        self.pushed += [path, *data_files]
        return str(path)

    def run(self, program: str) -> Process:
        """Return a process that has the answers to one job; *program* is not started."""
        return _Process(self)

    def limit_memory(self, limit_bytes: int) -> None:
        """Note the limit."""
        self.limit_bytes = limit_bytes

    def install_line(self, packages: Sequence[str]) -> str:
        """Return the line for pip."""
        return f"pip install {' '.join(packages)}"

    def install(self, packages: Sequence[str]) -> None:
        """Note the packages; a runtime that was `missing` is there from then on."""
        self.installed += packages
        if self.error is not None and self.error[0] == "missing":
            self.error = None

    def timed(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a worker answers to a *job* of the kind `time`: as many values as it asks for at least."""
        values = list(islice(cycle(self.durations_ns), max(1, job["min_values"], len(self.durations_ns))))
        memory = {"peak_bytes": self.peak_rss_bytes}
        machine = {"system": "fake", "python": "fake", "cpu": self.name, "cores": 1}
        if self.machine is not None:
            machine["machine"] = self.machine
        start = {"import_ns": 0, "load_ns": 0, "first_ns": values[0], "warmup": 0}
        calls = {"loops": 1, "values_ns": values, "finite": True, "before": {}, "after": {}, "during": []}
        return {**start, **calls, "memory": memory, "machine": machine}


class FakeMetric:
    """A `Metric` that gives each sample the value it was told, whatever the outputs are; its figure is their mean.

    What it was asked is in `calls`: the outputs and the targets of each batch.

    Args:
        values: of the samples, in their order, repeated until there are enough: as many values as samples give each
            network that is judged the same ones.
        name: in tables and JSON.
        higher_is_better: which way is better.
        error: text of an `EdgecnnError` that every batch is answered with, as for targets that do not suit.

    Example:
        >>> import numpy as np
        >>> from edgecnn.testing import FakeMetric
        >>> metric = FakeMetric([1, 1, 0, 1], name="found")
        >>> judge = edgecnn.TaskChoice(task="none", metric=metric).judge(edgecnn.TargetFacts())
        >>> records = judge.task.metrics[0].record([np.zeros((4, 10))], targets=np.zeros(4))
        >>> metric.value(records), len(metric.calls)
        (0.75, 1)
    """

    def __init__(
        self,
        values: Sequence[float] = (1.0,),
        *,
        name: str = "fake",
        higher_is_better: bool = True,
        error: str | None = None,
    ) -> None:
        self.values = tuple(values)
        self.name = name
        self.higher_is_better = higher_is_better
        self.error = error
        self.calls: list[tuple[Outputs, Any]] = []
        self._given = 0

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return the next values, one for each of the n samples.

        Raises:
            EdgecnnError: the metric was made with an `error`.
        """
        self.calls.append((outputs, targets))
        if self.error is not None:
            raise EdgecnnError(self.error)
        n = len(outputs[0])
        places = (self._given + np.arange(n)) % len(self.values)
        self._given += n
        return np.asarray(self.values, np.float64)[places]

    def value(self, records: Records) -> float:
        """Return the mean; NaN of nothing."""
        return float(records.mean()) if len(records) else float("nan")


class _Process(Process):
    """The worker of one job, whose answers are made when its questions are flushed."""

    def __init__(self, target: FakeTarget) -> None:
        self._target = target
        self._session: Session | None = None
        self._answers = _Answers()
        self.stdin = cast("BinaryIO", _Questions(self._answer))
        self.stdout = cast("BinaryIO", self._answers)

    def _answer(self, message: Mapping[str, Any], arrays: list[npt.NDArray[Any]]) -> None:
        if self._session is not None:
            self._answers.add({}, run_pack(self._session, arrays))
            return
        target, runtime = self._target, self._target.runtime
        target.jobs.append(message)
        if target.error is not None:
            step, text = target.error
            self._answers.add({"error": step, "text": text})
            return
        opened = {"version": runtime.version, "interface": runtime.interface}
        if message["kind"] == "time":
            self._answers.add({**opened, **target.timed(message)})
            return
        self._answers.add(opened)
        if message["kind"] == "run":
            self._session = runtime.open(message["model"], message["threads"])

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is no process."""

    def kill(self) -> None:
        """Do nothing."""

    def ended(self, patience_s: float) -> bool:
        """Say that it has ended."""
        return True

    def ending(self, patience_s: float = 5.0) -> str:
        """Say that it ended well."""
        return "exit code 0"

    def last_words(self) -> str:
        """Return nothing."""
        return ""


class _Questions(io.BytesIO):
    """The worker's standard input: each message is handed on when it is flushed."""

    def __init__(self, answer: Callable[[Mapping[str, Any], list[npt.NDArray[Any]]], None]) -> None:
        super().__init__()
        self._hand_on = answer

    def flush(self) -> None:
        content = self.getvalue()
        self.seek(0)
        self.truncate()
        message = read_message(io.BytesIO(content))
        if message is not None:
            self._hand_on(*message)


class _Answers(io.BytesIO):
    """The worker's standard output: written at its end, read from where reading was."""

    def add(self, message: Mapping[str, Any], arrays: Arrays = ()) -> None:
        place = self.tell()
        self.seek(0, io.SEEK_END)
        write_message(self, message, arrays)
        self.seek(place)


if TYPE_CHECKING:  # they keep to the protocols
    _RUNTIME: Runtime = FakeRuntime()
    _TARGET: Target = FakeTarget()
    _METRIC: Metric = FakeMetric()

__all__ = ["FakeMetric", "FakeRuntime", "FakeTarget"]
