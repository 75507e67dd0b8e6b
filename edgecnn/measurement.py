"""What was measured, raw; what is derived from it is computed on demand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

from edgecnn.errors import EdgecnnError
from edgecnn.parsing import convert, from_table, read_json
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import Score, scores_from_json, scores_to_json

SCHEMA_VERSION = 1

#: How a figure came to be: by a clock on the device itself, or by a board that counts instructions and has no clock.
MEASURED, EMULATED = "measured", "emulated"

#: A p99 of fewer values is one outlier, so there is none.
_LEAST_FOR_P99 = 100


class State(TypedDict, total=False):
    """The state of a machine at one moment: `runtimes.conditions.read_state`."""

    frequencies_mhz: list[float] | None
    temperatures_c: dict[str, float] | None
    throttled: int | None
    load_1m: float | None
    busy_ticks: int | None
    steal_ticks: int | None
    ticks_per_second: int | None
    process_ns: int
    monotonic_ns: int


class Conditions(TypedDict, total=False):
    """The machine and its state, as far as they are known: `runtimes.conditions.read_machine` and what we add."""

    taken_at: str
    ram_free_bytes: int | None
    cpu: str | None
    cpu_flags: list[str]
    machine: str
    system: str
    python: str
    cores: int | None
    cores_allowed: int | None
    cores_quota: float | None
    governors: list[str] | None
    features: list[str]
    frequency_min_mhz: float | None
    frequency_max_mhz: float | None
    temperature_max_c: float | None
    load_1m_max: float | None
    throttled: int | None
    repeated_after_throttling: int


@dataclass(frozen=True)
class Memory:
    """Resident memory of a worker, each step with all before it; None: the system does not tell."""

    python_bytes: int | None = None  # the interpreter and numpy
    import_bytes: int | None = None  # and the runtime
    load_bytes: int | None = None  # and the file, loaded
    peak_bytes: int | None = None  # the most it ever was


@dataclass(frozen=True, kw_only=True)
class Run:
    """One worker process, from its start to its end; durations in nanoseconds, None where there is no clock."""

    __repr__ = short_repr

    import_ns: int | None
    load_ns: int | None
    first_ns: int | None  # the first call
    warmup: int  # calls after the first that are not among the values
    loops: int  # calls that each value is the mean of
    values_ns: tuple[int, ...]  # of one call
    memory: Memory
    finite: bool  # no NaN or infinity came out
    before: Annotated[Mapping[str, Any], State] = field(default_factory=dict)  # how the machine fared
    after: Annotated[Mapping[str, Any], State] = field(default_factory=dict)
    during: tuple[Annotated[Mapping[str, Any], State], ...] = ()  # once a second
    instructions: int | None = None  # of one call, the median; None where they are not counted

    def __post_init__(self) -> None:
        counts = (self.import_ns, self.load_ns, self.first_ns, self.instructions, self.warmup, *self.values_ns)
        if self.loops < 1 or any(count is not None and count < 0 for count in counts):
            raise EdgecnnError("a duration or a count of a run is negative")

    @property
    def states(self) -> tuple[Mapping[str, Any], ...]:
        """How the machine fared before, meanwhile and after."""
        return (self.before, *self.during, self.after)

    @property
    def median_ns(self) -> float | None:
        """The median value; None where there is none."""
        return statistics.median(self.values_ns) if self.values_ns else None


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One file on one device with one runtime and number of threads, in several processes.

    Example:
        >>> (measurement,) = edgecnn.read_measurements("results.json")
        >>> measurement.p50_ns, measurement.peak_rss_bytes, len(measurement.runs)
        (1000000.0, 52428800, 9)
    """

    __repr__ = short_repr

    file: str
    format: str
    precision: str
    runtime: str
    runtime_version: str | None
    device: str
    target: str
    threads: int
    runs: tuple[Run, ...]
    size_bytes: int
    sha256: str | None = None
    interface: str | None = None  # which of the runtime's interfaces was used
    scores: tuple[Score, ...] = ()  # the task's first one first; none where none was taken
    assumptions: tuple[str, ...] = ()  # what the file does not say and we took for true
    warnings: tuple[str, ...] = ()
    conditions: Annotated[Mapping[str, Any], Conditions] = field(default_factory=dict)
    method: str = MEASURED
    #: What `check_fit` says of the peak, from the file alone.
    predicted_rss_bytes: int | None = field(default=None, metadata={"formerly": "foretold_rss_bytes"})

    @property
    def score(self) -> Score | None:
        """The score that comparisons are about."""
        return self.scores[0] if self.scores else None

    @property
    def values_ns(self) -> tuple[int, ...]:
        """The values of all processes, in order."""
        return tuple(value for run in self.runs for value in run.values_ns)

    @property
    def p50_ns(self) -> float | None:
        """The median of all values."""
        return percentile(self.values_ns, 50)

    @property
    def p90_ns(self) -> float | None:
        """The 90th percentile of all values."""
        return percentile(self.values_ns, 90)

    @property
    def p99_ns(self) -> float | None:
        """The 99th percentile; None from fewer than 100 values."""
        return percentile(self.values_ns, 99) if len(self.values_ns) >= _LEAST_FOR_P99 else None

    @property
    def throughput_per_s(self) -> float | None:
        """Calls a second, one after the other: 1e9 / mean value."""
        return 1e9 / statistics.fmean(self.values_ns) if self.values_ns else None

    @property
    def load_ns(self) -> float | None:
        """The median over the processes of what loading the file took, the runtime being imported."""
        return percentile([run.load_ns for run in self.runs if run.load_ns is not None], 50)

    @property
    def first_ns(self) -> float | None:
        """The median over the processes of the first call."""
        return percentile([run.first_ns for run in self.runs if run.first_ns is not None], 50)

    @property
    def instructions(self) -> float | None:
        """The instructions of one call, the median of the processes; None where they are not counted."""
        return percentile([run.instructions for run in self.runs if run.instructions is not None], 50)

    @property
    def peak_rss_bytes(self) -> int | None:
        """The highest resident memory of any of the processes, interpreter and runtime included."""
        peaks = [run.memory.peak_bytes for run in self.runs if run.memory.peak_bytes is not None]
        return max(peaks, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the result as `edgecnn bench --json` promises it; a figure not taken is null.

        `pandas.json_normalize([one.to_json() for one in measurements])` makes a table of several.
        """
        return {
            "file": self.file,
            "format": self.format,
            "precision": self.precision,
            "sha256": self.sha256,
            "runtime": self.runtime,
            "runtime_version": self.runtime_version,
            "interface": self.interface,
            "device": self.device,
            "target": self.target,
            "threads": self.threads,
            "method": self.method,
            "p50_ns": self.p50_ns,
            "p90_ns": self.p90_ns,
            "p99_ns": self.p99_ns,
            "throughput_per_s": self.throughput_per_s,
            "load_ns": self.load_ns,
            "first_ns": self.first_ns,
            "instructions": self.instructions,
            "peak_rss_bytes": self.peak_rss_bytes,
            "predicted_rss_bytes": self.predicted_rss_bytes,
            "size_bytes": self.size_bytes,
            **scores_to_json(self.scores),
            "assumptions": list(self.assumptions),
            "warnings": list(self.warnings),
            "conditions": dict(self.conditions),
            "values_ns": list(self.values_ns),
            "runs": [{**asdict(run), "values_ns": len(run.values_ns)} for run in self.runs],
        }

    @classmethod
    def from_json(cls, stored: Any, where: str = "result") -> Measurement:
        """Read what `to_json` wrote, *where* naming it in errors; keys that are not ours are left out.

        Raises:
            EdgecnnError: a key is missing, or its value is of the wrong type.
        """
        table = convert(Mapping[str, Any], stored, where)
        values = convert(list[int], table.get("values_ns"), f"{where}.values_ns")
        runs = []
        for index, run in enumerate(convert(list[Mapping[str, Any]], table.get("runs"), f"{where}.runs")):
            count = convert(int, run.get("values_ns"), f"{where}.runs[{index}].values_ns")
            if not 0 <= count <= len(values):
                raise EdgecnnError(f"{where}.runs[{index}].values_ns: there are not {count} values left")
            runs.append({**run, "values_ns": values[:count]})
            values = values[count:]
        measurement = from_table(cls, {**table, "runs": runs, "scores": []}, where, strict=False)
        return replace(measurement, scores=scores_from_json(table, where))


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the value below which *percent* of *values* lie, linear between neighbours; None where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def to_document(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Return the JSON document that holds *measurements*."""
    return {"schema_version": SCHEMA_VERSION, "results": [measurement.to_json() for measurement in measurements]}


def read_measurements(path: Path | str) -> list[Measurement]:
    """Read a result file of `edgecnn bench -o`, of this or an older version.

    Args:
        path: the JSON file.

    Raises:
        EdgecnnError: no such file, no result file, or one of a newer version.

    Example:
        >>> [measurement.file for measurement in edgecnn.read_measurements("results.json")]
        ['classifier.tflite']
    """
    try:
        document = convert(_Results, read_json(Path(path)), str(path))
    except FileNotFoundError:
        raise EdgecnnError(f"no result file at '{path}'") from None
    version, results = document.get("schema_version"), document.get("results")
    if version is None or results is None:
        raise EdgecnnError(f"{path}: not a result file of edgecnn bench: it has no schema_version or no results")
    if version > SCHEMA_VERSION:
        raise EdgecnnError(f"{path} has schema version {version}; this edgecnn reads up to {SCHEMA_VERSION}: update it")
    return [Measurement.from_json(stored, f"{path}: results[{index}]") for index, stored in enumerate(results)]


class _Results(TypedDict, total=False):
    schema_version: int
    results: list[Any]
