"""Measure an exported file: cold start, steady state, memory, accuracy, and whether to believe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.accuracy import Evaluation, evaluate
from edgecnn.benchmarks.execute import started_worker
from edgecnn.benchmarks.stability import find_instabilities
from edgecnn.datasets import Dataset
from edgecnn.device import HOST, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Measurement, Memory, Run
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress, silent
from edgecnn.runtimes import runtime_for
from edgecnn.targets import Target, open_target


@dataclass(frozen=True)
class Effort:
    """How long is measured; the defaults are those of TFLite's benchmark tool, and pyperf's several processes."""

    processes: int = 3
    warmup_s: float = 0.5
    min_time_s: float = 1.0  # of each process
    max_time_s: float = 60.0
    min_values: int = 50  # in each process
    min_value_s: float = 0.001  # shorter calls are timed several at once


@dataclass(frozen=True)
class TimedProcess:
    """What one worker process tells: the run, and what ran it where."""

    run: Run
    runtime_version: str
    interface: str
    machine: Mapping[str, Any]  # `runtimes.conditions.read_machine`


def measure(
    file: Path | str | Artifact,
    *,
    runtime: str | None = None,
    threads: int = 1,
    device: str = HOST,
    target: str = "local",
    data: Dataset | None = None,
    normalization: Normalization | None = None,
    effort: Effort | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Measure *file* with *threads* threads of *runtime* (None: the usual one of its format), each process anew.

    With *data* the accuracy on its evaluation samples is taken too; *normalization* is for files that do not say
    what their input expects.

    Raises:
        EdgecnnError: a broken file, an unknown or missing runtime, a device that is not at hand, or a worker that died.
    """
    artifact = file if isinstance(file, Artifact) else Artifact.open(file)
    effort = effort or Effort()
    check_at_hand(device, target)
    if threads < 1 or effort.processes < 1 or not effort.min_time_s >= 0:
        raise EdgecnnError("threads and processes are at least 1, the time is at least 0")
    name = runtime_for(artifact.format, runtime)
    with open_target(target) as place:
        evaluation = Evaluation(None)
        if data is not None:
            evaluation = evaluate(
                artifact,
                data.evaluation,
                normalization=normalization,
                of_data=data.normalization,
                runtime=name,
                threads=threads,
                target=place,
                progress=progress,
            )
        processes = []
        step = f"{artifact.path.name}, {name}, {threads} thread{'s' * (threads > 1)}"
        progress(step, 0, effort.processes)
        for done in range(1, effort.processes + 1):
            processes.append(time_process(artifact, runtime=name, threads=threads, target=place, effort=effort))
            progress(step, done, effort.processes)
    measurement = Measurement(
        file=str(artifact.path),
        format=artifact.format,
        precision=artifact.precision,
        runtime=name,
        runtime_version=processes[0].runtime_version,
        interface=processes[0].interface,
        device=device,
        target=target,
        threads=threads,
        runs=tuple(process.run for process in processes),
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        accuracy=evaluation.accuracy,
        assumptions=evaluation.assumptions,
        conditions={
            "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **processes[0].machine,
            **extremes_of([process.run for process in processes]),
        },
    )
    return replace(measurement, warnings=find_instabilities(measurement))


def time_process(
    artifact: Artifact, *, runtime: str, threads: int, target: Target | None = None, effort: Effort | None = None
) -> TimedProcess:
    """Time *artifact* in one worker process.

    Raises:
        EdgecnnError: the runtime is missing, or it fails or dies on the file.
    """
    effort = effort or Effort()
    job = {
        "kind": "time",
        "warmup_ns": round(effort.warmup_s * 1e9),
        "min_time_ns": round(effort.min_time_s * 1e9),
        "max_time_ns": round(effort.max_time_s * 1e9),
        "min_values": effort.min_values,
        "min_value_ns": round(effort.min_value_s * 1e9),
    }
    with started_worker(artifact, job, runtime=runtime, threads=threads, target=target) as worker:
        answer, _ = worker.receive()
    own = ("import_ns", "load_ns", "first_ns", "warmup", "loops", "finite", "before", "after")
    taken: dict[str, Any] = {key: answer[key] for key in own}
    run = Run(**taken, values_ns=tuple(answer["values_ns"]), memory=Memory(**answer["memory"]))
    return TimedProcess(run, answer["version"], answer["interface"], answer["machine"])


def extremes_of(runs: Sequence[Run]) -> dict[str, Any]:
    """Return how the machine fared over *runs* at the worst, as JSON values; None: the system does not tell."""
    ends = [end for run in runs for end in (run.before, run.after)]
    frequencies_mhz = [mhz for end in ends for mhz in end.get("frequencies_mhz") or ()]
    temperatures_c = [degrees for end in ends for degrees in (end.get("temperatures_c") or {}).values()]
    loads = [end["load_1m"] for end in ends if end.get("load_1m") is not None]
    flags = [end["throttled"] for end in ends if end.get("throttled") is not None]
    return {
        "frequency_min_mhz": min(frequencies_mhz, default=None),
        "frequency_max_mhz": max(frequencies_mhz, default=None),
        "temperature_max_c": max(temperatures_c, default=None),
        "load_1m_max": max(loads, default=None),
        "throttled": reduce(or_, flags) if flags else None,  # as `runtimes.conditions` reads it, all ends together
    }


def check_at_hand(device: str, target: str) -> None:
    """Raise where *device* cannot be measured through *target*.

    Raises:
        EdgecnnError: an unknown device, or a device other than this machine without a target that leads to it.
    """
    if device == HOST:
        return
    profile = load_device(device)
    if target == "local":
        raise EdgecnnError(
            f"{profile.title} is not attached here, and this machine's figures are not its own: run edgecnn bench "
            f"with --device {HOST} on the board itself; edgecnn fit --device {device} checks its memory from here"
        )


__all__ = ["Effort", "TimedProcess", "check_at_hand", "measure", "time_process"]
