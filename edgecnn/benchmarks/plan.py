"""What to measure: files, runtimes and numbers of threads, each with each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, check_architecture, check_target, check_threads, measure
from edgecnn.datasets import Data, Dataset, DataSource
from edgecnn.device import HOST
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.choice import TaskChoice, choose, size_of_input
from edgecnn.evaluate.files import Evaluation, chance_warning, evaluate
from edgecnn.evaluate.inputs import image_of, open_for, plan_for
from edgecnn.measurement import Measurement
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress, silent
from edgecnn.runtimes import runtime_class, runtime_for, runtimes_for
from edgecnn.targets import Target, open_target
from edgecnn.targets.execute import check_runtime


@dataclass(frozen=True)
class Case:
    """One measurement to take."""

    artifact: Artifact
    runtime: str
    threads: int


def plan_cases(
    files: Sequence[Path | str | Artifact], runtimes: Sequence[str] = (), threads: Sequence[int] = (1,)
) -> list[Case]:
    """Return a case for each file, each of *runtimes* that runs it (none given: its usual one), and each of *threads*.

    Raises:
        EdgecnnError: a broken file, an unknown runtime, or a file that none of *runtimes* runs.
    """
    if isinstance(files, (str, Path, Artifact)):
        raise EdgecnnError("files are several: give a list of paths, of one perhaps")
    for name in runtimes:
        runtime_class(name)
    cases = []
    for artifact in [Artifact.open(file) for file in files]:
        able = [name for name in runtimes if name in runtimes_for(artifact.format)]
        chosen = able or [runtime_for(artifact.format, runtimes[0] if runtimes else None)]
        cases += [Case(artifact, name, count) for name in chosen for count in threads]
    return cases


def measure_files(
    files: Sequence[Path | str | Artifact],
    *,
    runtimes: Sequence[str] = (),
    threads: Sequence[int] = (1,),
    device: Path | str = HOST,
    target: str | Target = "local",
    data: Data | None = None,
    task: TaskChoice | str | None = None,
    effort: BenchmarkConfig | None = None,
    install: bool = False,
    progress: Progress = silent,
) -> Iterator[Measurement]:
    """Yield the measurement of each file, runtime and number of threads as soon as it is taken.

    Everything that can be checked is checked before the first measurement. The score does not depend on the number
    of threads, so it is measured once for each file and runtime.

    Args:
        files: `.tflite` and `.onnx` files.
        runtimes: `litert`, `onnxruntime`; none: the usual runtime of each file's format.
        threads: numbers of threads; each file is measured with each of them.
        device: the device to report for, as `load_device` takes it.
        target: where to run: `local`, `ssh://user@host`, `adb:SERIAL` or `emulated:DEVICE`, or a `Target`,
            open already.
        data: samples with targets for the score, as `open_dataset` takes them; None: no score. The normalization of a
            `DataSource` is for files that do not record theirs.
        task: what the networks do; None: as each file records, else as the data say.
        effort: how long to measure; None: the defaults of `BenchmarkConfig`.
        install: install a missing runtime on the target.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: as `plan_cases`, `open_dataset` and `measure` do; data that do not suit one of the files.

    Example:
        >>> brief = edgecnn.BenchmarkConfig(processes=1, min_time_s=0.1)
        >>> for measurement in edgecnn.measure_files(["classifier.tflite"], threads=[1, 2], effort=brief):
        ...     print(measurement.runtime, measurement.threads)
        litert 1
        litert 2
    """
    device = str(device)
    where = check_target(device, target) if isinstance(target, str) else target.name
    cases, source = plan_cases(files, runtimes, threads), DataSource.of(data)

    @cache
    def data_for(image: tuple[int, int, int] | None) -> Dataset | None:
        return None if source.data is None else open_for(image, source)

    _check_data(cases, data_for, source.normalization, task)
    judged: dict[tuple[Path, str], Measurement] = {}
    with open_target(where) if isinstance(target, str) else nullcontext(target) as place:
        check_architecture(device, place)
        check_threads(max(case.threads for case in cases), place)
        needed = {case.runtime for case in cases}
        if install or (where != "local" and len(needed) > 1):  # the first worker reports a single one
            for name in sorted(needed):
                check_runtime(name, place, install=install)
        for case in cases:
            key = (case.artifact.path, case.runtime)
            measurement = measure(
                case.artifact,
                runtime=case.runtime,
                threads=case.threads,
                device=device,
                target=place,
                data=None if key in judged else replace(source, data=data_for(image_of(case.artifact))),
                task=task,
                effort=effort,
                progress=progress,
            )
            first = judged.setdefault(key, measurement)
            yield measurement if first is measurement else _with_scores_of(first, measurement)


def _with_scores_of(first: Measurement, other: Measurement) -> Measurement:
    """Return *other*, of the same file and runtime, with the scores of *first*."""
    return replace(
        other,
        scores=first.scores,
        assumptions=first.assumptions,
        warnings=(*chance_warning("the file", first.score), *other.warnings),
    )


def evaluating(
    data: Data | None,
    *,
    task: TaskChoice | str | None = None,
    progress: Progress = silent,
) -> Callable[[Artifact, str | None], Evaluation] | None:
    """Return what evaluates a file in a runtime (None: the usual one) on *data*, on this machine; None without data.

    Raises:
        EdgecnnError: as `open_dataset` and `evaluate` do, when it is called.
    """
    source = DataSource.of(data)
    if source.data is None:
        return None

    def evaluation(artifact: Artifact, runtime: str | None) -> Evaluation:
        dataset, how = open_for(image_of(artifact), source), source.normalization
        return evaluate(artifact, dataset, task=task, runtime=runtime, normalization=how, progress=progress)

    return evaluation


def check_files(
    files: Sequence[Path | str | Artifact],
    *,
    runtimes: Sequence[str] = (),
    device: str = HOST,
    target: str = "local",
    data: Data | None = None,
    task: TaskChoice | str | None = None,
) -> None:
    """Check all of `measure_files` that can be checked without its target.

    Raises:
        EdgecnnError: as `measure_files` does.
    """
    open_target(check_target(device, target))  # made, not entered: its name is checked, and nothing is reached
    cases, source = plan_cases(files, runtimes), DataSource.of(data)

    @cache
    def data_for(image: tuple[int, int, int] | None) -> Dataset | None:
        return None if source.data is None else open_for(image, source)

    _check_data(cases, data_for, source.normalization, task)


def _check_data(
    cases: Sequence[Case],
    data_for: Callable[[tuple[int, int, int] | None], Dataset | None],
    normalization: Normalization | str | None,
    task: TaskChoice | str | None,
) -> None:
    for case in cases:
        data = data_for(image_of(case.artifact))
        if data is not None:
            plan_for(case.artifact, data.evaluation, normalization, data.normalization)
            recorded, _ = TaskChoice.recorded(case.artifact.metadata, case.artifact.path.name)
            choose(task, recorded, data).judge(data.facts, size_of_input(data.shape))


def left_out(results: Sequence[Measurement], runtimes: Sequence[str]) -> list[str]:
    """Return a sentence for each file of *results* that not all of *runtimes* run, naming those that do not."""
    formats = {result.file: result.format for result in results}
    unable = {file: [name for name in runtimes if name not in runtimes_for(kind)] for file, kind in formats.items()}
    return [
        f"{file} was not measured with {', '.join(names)}, which does not run .{formats[file]}"
        for file, names in unable.items()
        if names
    ]
