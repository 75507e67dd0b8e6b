"""Measure an exported file: cold start, steady state, memory, accuracy, and whether to believe it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
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
from edgecnn.targets import Target, open_target, target_of


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
    target: str | Target = "local",
    data: Dataset | None = None,
    normalization: Normalization | None = None,
    effort: Effort | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Measure *file* with *threads* threads of *runtime* (None: the usual one of its format), each process anew.

    With *data* the accuracy on its evaluation samples is taken too; *normalization* is for files that do not say
    what their input expects. A *target* that is open already stays open, and what was sent there is not sent again.

    Raises:
        EdgecnnError: a broken file, an unknown or missing runtime, a device that is not at hand, or a worker that died.
    """
    artifact = file if isinstance(file, Artifact) else Artifact.open(file)
    effort = effort or Effort()
    where = check_at_hand(device, target) if isinstance(target, str) else target.name
    if threads < 1 or effort.processes < 1:
        raise EdgecnnError("threads and processes are at least 1")
    name = runtime_for(artifact.format, runtime)
    with open_target(where) if isinstance(target, str) else nullcontext(target) as place:
        check_architecture(device, place)
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
        target=where,
        threads=threads,
        runs=tuple(process.run for process in processes),
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        accuracy=evaluation.accuracy,
        assumptions=evaluation.assumptions,
        conditions={"taken_at": datetime.now(UTC).isoformat(timespec="seconds"), **processes[0].machine},
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


def check_at_hand(device: str, target: str) -> str:
    """Return the target that leads to *device*: *target*, or for `local` the one that the user tied to the device.

    Raises:
        EdgecnnError: an unknown device, or none of this machine's without a target that leads to it, or a target for
            which no device is named.
    """
    if device == HOST:
        if target != "local":
            raise EdgecnnError(
                f"whose figures does {target} give? say --device NAME; edgecnn devices probe {target} makes a profile"
            )
        return target
    profile = load_device(device)
    tied = target_of(device) if target == "local" else target
    if tied == "local":
        raise EdgecnnError(
            f"{profile.title} is not attached here, and this machine's figures are not its own: give --target "
            f"ssh://user@board, or run edgecnn bench with --device {HOST} on the board itself; edgecnn fit --device "
            f"{device} checks its memory from here"
        )
    return tied


def check_architecture(device: str, target: Target) -> None:
    """Raise EdgecnnError where *target* has another architecture than *device*, whose figures it cannot give."""
    if device == HOST or target.machine is None:
        return
    arch = load_device(device).arch
    families = [_FAMILIES.get(name, name) for name in (arch, target.machine)]
    if families[0] != families[1]:
        raise EdgecnnError(f"{device} is {arch} but {target.name} is {target.machine}: name the device that it is")


#: A board with a 64-bit core may run a 32-bit system.
_FAMILIES = {"arm64": "arm", "aarch64": "arm", "armv8l": "arm", "armv7l": "arm", "AMD64": "x86_64"}


__all__ = ["Effort", "TimedProcess", "check_architecture", "check_at_hand", "measure", "time_process"]
