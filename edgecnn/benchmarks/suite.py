"""`Suite`: a table of files × devices × runtimes × threads, measured in one run, under the same settings."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgecnn.benchmarks.changes import find_counterpart
from edgecnn.benchmarks.measure import BenchmarkConfig, check_target
from edgecnn.benchmarks.plan import check_files, measure_files, plan_cases
from edgecnn.datasets import Data, DataSource
from edgecnn.device import HOST
from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.evaluate.choice import TaskChoice
from edgecnn.measurement import Measurement
from edgecnn.parsing import read_toml
from edgecnn.progress import Progress, silent
from edgecnn.runtimes.conditions import read_machine
from edgecnn.shipped import find_shipped, shipped_files
from edgecnn.short_repr import short_repr
from edgecnn.targets import device_of, open_target
from edgecnn.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What to measure and for how long. The fields are the keys of its TOML file.

    Example:
        >>> edgecnn.load_suite("quick").threads
        (1, 2)
    """

    __repr__ = short_repr

    title: str = ""
    files: tuple[str, ...] = ()  # paths or patterns (`*.tflite`)
    devices: tuple[str, ...] = (HOST,)
    targets: Mapping[str, str] = field(default_factory=dict)  # device → where it is; else this machine
    runtimes: tuple[str, ...] = ()  # none: the usual one of each file
    threads: tuple[int, ...] = (1,)
    data: str | None = None  # for the score; None: none is taken
    task: str | None = None  # what the networks do, a name in `TASKS`; None: as each file records, else the data say
    normalize: str | None = None  # for files that do not say what their input expects
    resize: str | None = None  # how images in files come to a file's size, as `Resize.parse` reads it
    effort: BenchmarkConfig = field(default_factory=BenchmarkConfig)

    def __post_init__(self) -> None:
        for device in self.targets:
            if device not in self.devices:
                raise unknown_name("device among the suite's targets", device, self.devices)
        if not self.devices or not self.threads or min(self.threads) < 1 or self.effort.processes < 1:
            raise EdgecnnError("a suite needs a device, and at least 1 thread and 1 process")
        if self.task is not None and self.task not in TASKS.rows:  # a file does not choose which code runs
            raise unknown_name("task of the suite", self.task, TASKS.names())
        self.source()  # tells what is wrong with it

    def source(self, data: Data | None = None) -> DataSource:
        """Return where the data come from: *data*, with the suite's own where it says nothing."""
        return DataSource.of(data).over(DataSource(self.data, normalization=self.normalize, resize=self.resize))


def load_suite(name: str | Path, files: Sequence[Path | str] = ()) -> Suite:
    """Return a benchmark suite.

    Args:
        name: `quick`, `regression`, a suite of the user's own, or a TOML file.
        files: files to measure, in place of the suite's. The suite's own paths and patterns are relative to its file.

    Raises:
        EdgecnnError: unknown suite, a broken file, or a path or pattern of it that no file matches.

    Example:
        >>> edgecnn.load_suite("regression", ["small.tflite"]).effort.processes
        9
    """
    path = find_shipped("benchmarks/suites", str(name), "suite")
    suite = read_toml(path, Suite)
    if files:
        return replace(suite, files=tuple(map(str, files)))
    return replace(suite, files=tuple(file for pattern in suite.files for file in _matching(pattern, path)))


def suite_names() -> list[str]:
    """Return the names of all known suites, sorted."""
    return sorted(shipped_files("benchmarks/suites"))


def with_given(
    suite: Suite,
    *,
    device: str | None = None,
    target: str | None = None,
    runtimes: Sequence[str] = (),
    threads: Sequence[int] = (),
    processes: int | None = None,
    min_time_s: float | None = None,
    cpus: Sequence[int] = (),
    cool_down_s: float | None = None,
) -> Suite:
    """Return *suite* with what is given in place of its own; *target* is where every one of its devices is."""
    devices = suite.devices if device is None else (device,)
    targets = {name: suite.targets[name] for name in devices if name in suite.targets}
    effort = suite.effort
    return replace(
        suite,
        devices=devices,
        targets=targets if target is None else dict.fromkeys(devices, target),
        runtimes=tuple(runtimes) or suite.runtimes,
        threads=tuple(threads) or suite.threads,
        effort=replace(
            effort,
            processes=effort.processes if processes is None else processes,
            min_time_s=effort.min_time_s if min_time_s is None else min_time_s,
            cpus=tuple(cpus) or effort.cpus,
            cool_down_s=effort.cool_down_s if cool_down_s is None else cool_down_s,
        ),
    )


def measure_suite(
    suite: Suite,
    *,
    data: Data | None = None,
    task: TaskChoice | str | None = None,
    install: bool = False,
    progress: Progress = silent,
) -> Iterator[Measurement]:
    """Yield each measurement of a suite as soon as it is taken.

    Args:
        suite: what to measure, from `load_suite`.
        data: samples with targets, or a `DataSource` of what else is to be said of the suite's, in place of its own.
        task: what the networks do, in place of the suite's.
        install: install a missing runtime on the target.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: the suite names no files, or as `measure_files` does.

    Example:
        >>> brief = edgecnn.BenchmarkConfig(processes=1, min_time_s=0.1)
        >>> suite = edgecnn.Suite(files=("classifier.tflite",), effort=brief)
        >>> [measurement.file for measurement in edgecnn.measure_suite(suite)]
        ['classifier.tflite']
    """
    _check_has_files(suite)
    source = suite.source(data)
    targets = {device: suite.targets.get(device, "local") for device in suite.devices}
    for device, target in targets.items():
        check_target(device, target)
    for device, target in targets.items():
        yield from measure_files(
            suite.files,
            runtimes=suite.runtimes,
            threads=suite.threads,
            device=device,
            target=target,
            data=source,
            task=TaskChoice.of(task).over(TaskChoice(task=suite.task)),
            effort=suite.effort,
            install=install,
            progress=progress,
        )


def check_suite(suite: Suite, *, data: Data | None = None, task: TaskChoice | str | None = None) -> None:
    """Check all of *suite* that can be checked without its targets: devices, files, runtimes, data.

    Raises:
        EdgecnnError: as `measure_suite` does.
    """
    _check_has_files(suite)
    for device in suite.devices:
        check_files(
            suite.files,
            runtimes=suite.runtimes,
            device=device,
            target=suite.targets.get(device, "local"),
            data=suite.source(data),
            task=TaskChoice.of(task).over(TaskChoice(task=suite.task)),
        )


def check_against(suite: Suite, earlier: Sequence[Measurement]) -> None:
    """See before anything is measured that *earlier* has a result to compare each case of *suite* with.

    Compared is what is known by now: file, device, target, runtime, threads, precision, whether it is emulated, and
    the CPU of this machine where it is the one. What only the runtime reports, `find_change` compares afterwards.

    Raises:
        EdgecnnError: some have none; the message names them all, and what differs.
    """
    _check_has_files(suite)
    wrong = []
    for device in suite.devices:
        place = open_target(check_target(device, suite.targets.get(device, "local")))
        machine = read_machine() if place.name == "local" else {}
        same = {"device": device_of(place.name) or device, "target": place.name, "method": place.method}
        same |= {name: machine[key] for name, key in (("CPU", "cpu"), ("architecture", "machine")) if key in machine}
        for case in plan_cases(suite.files, suite.runtimes, suite.threads):
            artifact = case.artifact
            own = {"runtime": case.runtime, "threads": case.threads, "precision": artifact.precision}
            try:
                find_counterpart(str(artifact.path), {**same, **own}, earlier)
            except EdgecnnError as error:
                wrong.append(str(error))
    if wrong:
        raise EdgecnnError("; ".join(dict.fromkeys(wrong)))


def _check_has_files(suite: Suite) -> None:
    if not suite.files:
        raise EdgecnnError("no files to measure: give FILES, or a suite that names some")


def _matching(pattern: str, suite_file: Path) -> list[str]:
    """Return the files that *pattern* stands for, as paths that lead there from the folder we are in."""
    folder = suite_file.parent
    found = sorted(glob.glob(pattern, root_dir=folder, recursive=True))
    if not found:
        raise EdgecnnError(f"{suite_file}: no file matches '{pattern}' in {folder}")
    return [str(folder / name) for name in found]
