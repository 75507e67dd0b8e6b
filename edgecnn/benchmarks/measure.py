"""Measure an exported file: cold start, steady state, memory, accuracy, and whether to believe it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.stability import find_instabilities, is_throttled
from edgecnn.datasets import Data, DataSource
from edgecnn.device import HOST, load_device
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.choice import TaskChoice
from edgecnn.evaluate.files import Evaluation, chance_warning, evaluate
from edgecnn.evaluate.inputs import image_of, open_for
from edgecnn.fit import check_fit
from edgecnn.host import FEATURES
from edgecnn.measurement import EMULATED, Conditions, Measurement, Run
from edgecnn.parsing import from_table
from edgecnn.progress import Progress, silent
from edgecnn.runtimes import runtime_for
from edgecnn.targets import Target, device_of, open_target, target_of
from edgecnn.targets.execute import OutOfMemoryError, started_worker


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """How long to measure. The defaults follow TFLite's benchmark tool, and pyperf's several processes.

    Example:
        >>> edgecnn.BenchmarkConfig(processes=9).min_time_s
        1.0
    """

    processes: int = 3
    warmup_s: float = 0.5
    min_time_s: float = 1.0  # of each process
    max_time_s: float = 60.0
    min_values: int = 50  # in each process
    min_value_s: float = 0.001  # shorter calls are timed several at once
    cool_down_s: float = 0.0  # a process in which the board throttled is repeated after so long; 0: it is kept
    cpus: tuple[int, ...] = ()  # numbers of the cores to run on; none: all


@dataclass(frozen=True)
class TimedProcess:
    """The result of one worker process: the run, and what ran it where."""

    run: Run
    runtime_version: str
    interface: str
    machine: Mapping[str, Any]  # `runtimes.conditions.read_machine`
    refused: str | None = None  # the error of the runtime's usual interface, where another one ran the file
    repeated: int = 0  # how often it was done again since the board had throttled


def measure(
    file: Path | str | Artifact,
    *,
    runtime: str | None = None,
    threads: int = 1,
    device: Path | str = HOST,
    target: str | Target = "local",
    data: Data | None = None,
    task: TaskChoice | str | None = None,
    effort: BenchmarkConfig | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Measure one exported file in several worker processes.

    An open *target* stays open, and files that were sent there are not sent again.

    Args:
        file: a `.tflite` or `.onnx` file.
        runtime: `litert` or `onnxruntime`; None: the usual runtime of the file's format.
        threads: number of threads of the runtime.
        device: the device to report for, as `load_device` takes it.
        target: where to run, see `measure_files`, or an open `Target`.
        data: samples with targets for the score, as `open_dataset` takes them; None: no score. The normalization of a
            `DataSource` is for files that do not record theirs.
        task: what the network does; None: as the file records, else as the data say.
        effort: how long to measure; None: the defaults of `BenchmarkConfig`.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: a broken file, an unknown or missing runtime, a device that is not at hand, or a worker that died.

    Example:
        >>> brief = edgecnn.BenchmarkConfig(processes=1, min_time_s=0.1)
        >>> measurement = edgecnn.measure("classifier.tflite", threads=1, effort=brief)
        >>> measurement.runtime, measurement.p50_ns > 0
        ('litert', True)
    """
    artifact = Artifact.open(file)
    effort = effort or BenchmarkConfig()
    device = str(device)
    where = check_target(device, target) if isinstance(target, str) else target.name
    device = device_of(where) or device
    if threads < 1 or effort.processes < 1 or not effort.min_time_s >= 0:
        raise EdgecnnError("threads and processes are at least 1, the time is at least 0")
    name = runtime_for(artifact.format, runtime)
    source = DataSource.of(data)
    dataset = None if source.data is None else open_for(image_of(artifact), source)
    with open_target(where) if isinstance(target, str) else nullcontext(target) as place:
        check_architecture(device, place)
        check_threads(threads, place)
        limit_memory(device, place)
        evaluation = Evaluation()
        processes: list[TimedProcess] = []
        outgrown: tuple[str, ...] = ()
        step = f"{artifact.path.name}, {name}, {threads} thread{'s' * (threads > 1)}"
        try:
            if dataset is not None:
                evaluation = evaluate(
                    artifact,
                    dataset,
                    task=task,
                    normalization=source.normalization,
                    runtime=name,
                    threads=threads,
                    target=place,
                    progress=progress,
                )
            for done in range(effort.processes):
                progress(step, done, effort.processes)
                processes.append(
                    time_cool(artifact, runtime=name, threads=threads, target=place, effort=effort, progress=progress)
                )
            progress(step, effort.processes, effort.processes)
        except OutOfMemoryError as error:  # a result too: the device is too small for it
            outgrown = (str(error),)
    measurement = _measurement(artifact, name, threads, device, place, processes, evaluation)
    refused = _other_interface(processes[0]) if processes else ()
    chance = chance_warning("the file", measurement.score)
    return replace(measurement, warnings=(*outgrown, *refused, *chance, *find_instabilities(measurement)))


def _measurement(
    artifact: Artifact,
    runtime: str,
    threads: int,
    device: str,
    place: Target,
    processes: Sequence[TimedProcess],
    evaluation: Evaluation,
) -> Measurement:
    """Return what *processes* took on *place*, and under which conditions; none where the file did not fit there."""
    first = processes[0] if processes else None
    return Measurement(
        file=str(artifact.path),
        format=artifact.format,
        precision=artifact.precision,
        runtime=runtime,
        runtime_version=first.runtime_version if first else None,
        interface=first.interface if first else None,
        device=device,
        target=place.name,
        threads=threads,
        runs=tuple(process.run for process in processes),
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        scores=evaluation.scores,
        assumptions=(*artifact.contradictions, *evaluation.assumptions),
        conditions={
            "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "ram_free_bytes": place.free_bytes,
            **(first.machine if first else {}),
            **extremes_of([process.run for process in processes]),
            "repeated_after_throttling": sum(process.repeated for process in processes),
        },
        method=place.method,
        predicted_rss_bytes=predicted_rss_bytes(artifact, runtime, device),
    )


def _other_interface(process: TimedProcess) -> tuple[str, ...]:
    """Say which interface ran a file that the usual one refuses, and why: their latencies are not comparable."""
    if process.refused is None:
        return ()
    reason = process.refused.partition(": ")[2] or process.refused
    return (f"run through the {process.interface} of its runtime, because the usual interface rejects it ({reason})",)


def predicted_rss_bytes(artifact: Artifact, runtime: str, device: str) -> int | None:
    """Return what `check_fit` says of the peak memory of the process; None where it says nothing of *runtime*."""
    try:
        profile = load_device(device)
        own = profile.runtimes.get(runtime)
        if own is None or own.ram_bytes is None or runtime != runtime_for(artifact.format):
            return None
        used = {region.name: region.used_bytes for region in check_fit(artifact.path, profile).regions}
    except EdgecnnError:  # a file or a device that is measured all the same
        return None
    return used.get("ram")


#: A board that is still too hot after so many pauses will not get cooler.
_MOST_PAUSES = 3


def time_cool(
    artifact: Artifact,
    *,
    runtime: str,
    threads: int,
    target: Target,
    effort: BenchmarkConfig,
    progress: Progress = silent,
) -> TimedProcess:
    """Time *artifact* in one worker process, and again after a pause where the board throttled, up to three times.

    Raises:
        EdgecnnError: as `time_process` does.
    """
    for repeated in range(_MOST_PAUSES + 1):
        timed = replace(
            time_process(artifact, runtime=runtime, threads=threads, target=target, effort=effort), repeated=repeated
        )
        if not effort.cool_down_s or not is_throttled(timed.run) or repeated == _MOST_PAUSES:
            break
        end = time.monotonic() + effort.cool_down_s
        while (left_s := end - time.monotonic()) > 0:
            progress("cooling down", round(effort.cool_down_s - left_s), round(effort.cool_down_s))
            time.sleep(min(1.0, left_s))
    return timed


@dataclass(frozen=True)
class _Answer:
    """What a worker answers besides the run."""

    version: str
    interface: str
    machine: Annotated[Mapping[str, Any], Conditions]
    refused: str | None = None


def time_process(
    artifact: Artifact,
    *,
    runtime: str,
    threads: int,
    target: Target | None = None,
    effort: BenchmarkConfig | None = None,
) -> TimedProcess:
    """Time *artifact* in one worker process.

    Raises:
        EdgecnnError: the runtime is missing, or it fails or dies on the file.
    """
    effort = effort or BenchmarkConfig()
    counts = target is not None and target.method == EMULATED
    if counts:
        effort = replace(effort, **_COUNTING)
    job = {
        "kind": "time",
        "warmup_ns": round(effort.warmup_s * 1e9),
        "min_time_ns": round(effort.min_time_s * 1e9),
        "max_time_ns": round(effort.max_time_s * 1e9),
        "min_values": effort.min_values,
        "min_value_ns": round(effort.min_value_s * 1e9),
        "cpus": list(effort.cpus),
    }
    with started_worker(artifact, job, runtime=runtime, threads=threads, target=target) as (_, message):
        pass
    where = f"{artifact.path}: the answer of the {runtime} worker"
    answer = from_table(_Answer, message, where, strict=False)
    run = from_table(Run, {key: value for key, value in message.items() if key != "instructions"}, where, strict=False)
    machine = dict(answer.machine)
    flags = machine.pop("cpu_flags", [])
    machine["features"] = list(dict.fromkeys(name for flag, name in FEATURES.items() if flag in flags))
    return TimedProcess(counted(run) if counts else run, answer.version, answer.interface, machine, answer.refused)


#: A count is the same each time: a few calls are enough, and emulating more takes long.
_COUNTING: dict[str, Any] = {"warmup_s": 0.005, "min_time_s": 0.02, "min_values": 3}


def counted(run: Run) -> Run:
    """Return *run* of a board whose clock goes one nanosecond an instruction: a count, and no durations."""
    return replace(
        run, import_ns=None, load_ns=None, first_ns=None, values_ns=(), instructions=round(run.median_ns or 0)
    )


def limit_memory(device: str, target: Target) -> None:
    """Give programs on *target* no more RAM than *device* has for them: the board may be larger."""
    ram = None if device == HOST else load_device(device).region("ram")
    if ram is not None and ram.limit_bytes is not None:
        target.limit_memory(ram.limit_bytes)


def check_threads(threads: int, target: Target) -> None:
    """Raise EdgecnnError where *target* has one core, on which a count for more *threads* would mean nothing."""
    if target.method == EMULATED and threads > 1:
        raise EdgecnnError(f"{target.name} counts the instructions of one core: use --threads 1")


def extremes_of(runs: Sequence[Run]) -> dict[str, Any]:
    """Return how the machine fared over *runs* at the worst, as JSON values; None: the system does not tell."""
    ends = [state for run in runs for state in run.states]
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


def check_target(device: str, target: str) -> str:
    """Return the target that leads to *device*: *target*, or for `local` the one that the user tied to the device.

    Raises:
        EdgecnnError: an unknown device, or none of this machine's without a target that leads to it, or a target for
            which no device is named, or that names another one.
    """
    named = device_of(target)
    if named is not None:
        if device not in (HOST, named):
            raise EdgecnnError(f"{target} is not {device}: give --target emulated --device {device}")
        load_device(named)
        return target
    if device == HOST:
        if target != "local":
            open_target(target)  # made, not entered: what is no target at all is refused first
            raise EdgecnnError(
                f"Which device is {target}? Add --device NAME. edgecnn devices probe {target} makes a profile."
            )
        return target
    profile = load_device(device)
    tied = target_of(device) if target == "local" else target
    if tied == "local" and profile.kind == "mcu":
        raise EdgecnnError(
            f"{profile.title} is a microcontroller, which edgecnn does not run files on: leave --target out to "
            f"estimate the latency; edgecnn fit --device {device} checks the memory"
        )
    if tied == "local":
        raise EdgecnnError(
            f"{profile.title} is not connected, and this machine is another device: give --target "
            f"ssh://user@board, or --target emulated to count instructions on a virtual board, or run "
            f"edgecnn bench with --device {HOST} on the board itself; edgecnn fit --device "
            f"{device} checks its memory from here"
        )
    return f"emulated:{device}" if tied == "emulated" else tied


def check_architecture(device: str, target: Target) -> None:
    """Raise EdgecnnError if *target* has another architecture than *device*."""
    if device == HOST or target.machine is None:
        return
    arch = load_device(device).arch
    families = [_FAMILIES.get(name, name) for name in (arch, target.machine)]
    if families[0] != families[1]:
        raise EdgecnnError(f"{device} is {arch} but {target.name} is {target.machine}: give the right --device")


#: A board with a 64-bit core may run a 32-bit system.
_FAMILIES = {"arm64": "arm", "aarch64": "arm", "armv8l": "arm", "armv7l": "arm", "AMD64": "x86_64"}


__all__ = ["BenchmarkConfig", "TimedProcess", "check_architecture", "check_target", "measure", "time_process"]
