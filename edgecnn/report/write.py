"""`write_report`: measure, evaluate and check exported files, and show all of it on one page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.benchmarks.plan import check_files, evaluating
from edgecnn.benchmarks.predict import Prediction
from edgecnn.benchmarks.profile import profile_file
from edgecnn.datasets import Data, DataSource
from edgecnn.errors import EdgecnnError, require
from edgecnn.evaluate.choice import TaskChoice
from edgecnn.evaluate.files import Evaluation
from edgecnn.evaluate.inputs import image_of, open_for
from edgecnn.files import check_writable, write_whole
from edgecnn.fit import device_within
from edgecnn.formats import REJECTED
from edgecnn.formats.precision import PRECISIONS
from edgecnn.measurement import Measurement, read_measurements
from edgecnn.progress import Progress, silent
from edgecnn.report.devices import predict_on, smallest_each
from edgecnn.report.facts import Contents, NetworkFigures, ReportedFile, ReportFacts, to_json
from edgecnn.report.page import render_page
from edgecnn.report.verification import read_verification
from edgecnn.short_repr import short_repr

#: About a second a file: enough for a page, too little for a comparison.
BRIEF = BenchmarkConfig(processes=2, warmup_s=0.1, min_time_s=0.3, min_values=20)

Evaluate = Callable[[Artifact, str | None], Evaluation]


@dataclass(frozen=True)
class Report:
    """A page, and what stands on it.

    Example:
        >>> report = edgecnn.write_report(["classifier.tflite"], results="results.json", devices=["stm32h7a3"])
        >>> [(one.fit.device, one.fit.fits) for one in report.predictions]
        [('stm32h7a3', True)]
    """

    __repr__ = short_repr

    contents: Contents
    page: str  # HTML that needs no network, no script and no other file
    path: Path | None = None  # where it was written

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """Latency, memory and accuracy of each file on this machine."""
        return self.contents.measurements

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """The latency and memory of each file on each device, estimated."""
        return self.contents.predictions

    @property
    def smallest(self) -> list[Prediction]:
        """For each device the prediction of the file that takes the least RAM there."""
        return smallest_each(self.predictions)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `edgecnn report --json` prints."""
        return {**to_json(self.contents), "report": None if self.path is None else str(self.path)}


def write_report(
    files: Sequence[Path | str],
    path: Path | str | None = None,
    *,
    title: str | None = None,
    facts: ReportFacts | None = None,
    data: Data | None = None,
    task: TaskChoice | str | None = None,
    devices: Sequence[str] = (),
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    results: Path | str | None = None,
    profile: bool = False,
    effort: BenchmarkConfig | None = None,
    progress: Progress = silent,
) -> Report:
    """Measure *files* here, estimate and check them on devices, and write one page that shows it all.

    A file that its runtime cannot run stands on the page with the reason. What an export found out about a file
    (scores, SQNR) is read from the JSON beside it.

    Args:
        files: `.tflite` and `.onnx` files, of edgecnn or of others.
        path: the HTML file to write; None: none is written, the page is in the result.
        title: of the page; None: the names of the files.
        facts: what the files do not say themselves.
        data: samples to take the score on, as `open_dataset` takes them; None: what the export found. The normalization
            of a `DataSource` is for files that do not record theirs.
        task: what the networks do; None: as each file records, else as the data say.
        devices: names of devices; none given: some usual ones that suit the files.
        ram_bytes: RAM that a file may take on each of *devices*, or without them on a device that is not named.
        flash_bytes: flash, likewise.
        results: a result file of `edgecnn bench -o` in place of measuring.
        profile: whether to show the operators of each file with their time, by the runtime's own profiler.
        effort: how long to measure; None: about a second a file.
        progress: called with the step, what is done and the total.

    Raises:
        EdgecnnError: matplotlib is missing (extra `report`), a broken file, data that do not suit one, an unknown
            device, results of other files, or *path* cannot be written.

    Example:
        >>> report = edgecnn.write_report(["classifier.tflite"], "page.html", results="results.json")
        >>> report.path.read_text().startswith("<!doctype html>")
        True
    """
    require("matplotlib", "report")  # missed now, not after the measurements
    if path is not None:
        check_writable(Path(path))
    paths = list(dict.fromkeys(Path(file) for file in files))
    if not paths:
        raise EdgecnnError("give FILES to report on: .tflite or .onnx")
    source = DataSource.of(data)
    check_files(paths, data=source, task=task)
    opened = [_open(file) for file in paths]
    limits = {"ram": ram_bytes, "flash": flash_bytes}
    is_bare = not devices and any(size is not None for size in limits.values())
    named: Sequence[str | None] = [None] if is_bare else list(dict.fromkeys(devices))
    chosen = [device_within(name, ram_bytes=ram_bytes, flash_bytes=flash_bytes) for name in named]
    predictions = predict_on(opened, chosen, progress)
    earlier = None if results is None else _of_files(read_measurements(Path(results)), opened, Path(results))
    evaluate = evaluating(source, task=task, progress=progress)
    ran = [_run(file, evaluate, effort or BRIEF if earlier is None else None, progress) for file in opened]
    reported, taken = [file for file, _ in ran], [one for _, own in ran for one in own]
    measurements = taken if earlier is None else [one for file in opened for one in earlier[file.path]]
    able = [file.artifact for file in reported if profile and file.failure is None]
    profiles = [profile_file(one, effort=effort or BRIEF, progress=progress) for one in able]
    progress("writing the report")
    judged = next((file.artifact for file in reported if file.evaluation.scores), None)
    dataset = None if judged is None or source.data is None else open_for(image_of(judged), source)
    contents = Contents(
        title=title or _title(paths),
        facts=facts
        or _facts(reported, dataset.name if dataset else None, _command(paths, path, source, devices, limits, results)),
        files=tuple(reported),
        measurements=tuple(measurements),
        predictions=predictions,
        labels=dataset.labels or () if dataset else (),
        profiles=tuple(profiles),
    )
    page = render_page(contents)
    if path is not None:
        write_whole(Path(path), page)
    return Report(contents, page, None if path is None else Path(path))


def _open(path: Path) -> ReportedFile:
    artifact = Artifact.open(path)
    return ReportedFile(artifact, read_verification(artifact))


def _run(
    file: ReportedFile, evaluate: Evaluate | None, effort: BenchmarkConfig | None, progress: Progress
) -> tuple[ReportedFile, list[Measurement]]:
    """Return *file* with its scores, and its measurement (none without *effort*), or with why it cannot be run."""
    try:
        found = replace(file, evaluation=evaluate(file.artifact, None)) if evaluate else file
        return found, [] if effort is None else [_measured(found, effort, progress)]
    except EdgecnnError as error:
        return replace(file, failure=str(error).replace(str(file.path), file.path.name)), []


def _measured(file: ReportedFile, effort: BenchmarkConfig, progress: Progress) -> Measurement:
    return replace(measure(file.artifact, effort=effort, progress=progress), scores=file.evaluation.scores)


def _of_files(
    results: Sequence[Measurement], files: Sequence[ReportedFile], where: Path
) -> dict[Path, list[Measurement]]:
    """Return the results of each of *files*: those of the same content, or of the same path where it is not known.

    Raises:
        EdgecnnError: there are none.
    """
    found = {
        file.path: [
            replace(result, file=str(file.path))
            for result in results
            if (result.sha256 == file.artifact.sha256 if result.sha256 else Path(result.file) == file.path)
        ]
        for file in files
    }
    if not any(found.values()):
        names = ", ".join(dict.fromkeys(Path(result.file).name for result in results)) or "nothing"
        raise EdgecnnError(f"{where} has no results of these files (it has {names}); measure them: edgecnn bench -o")
    return found


def _title(paths: Sequence[Path]) -> str:
    stems = list(dict.fromkeys(map(_stem, paths)))
    return ", ".join(stems) if len(stems) < 4 else f"{', '.join(stems[:3])} and {len(stems) - 3} more"


def _stem(path: Path) -> str:
    """Return the name of the network: `net-0.25` of `net-0.25.w8a8.tflite.rejected`."""
    name = Path(path.name.removesuffix(REJECTED)).stem
    stem, _, precision = name.rpartition(".")
    return stem if stem and precision in PRECISIONS else name


def _facts(files: Sequence[ReportedFile], data: str | None, command: str) -> ReportFacts:
    """Return what all *files* say alike."""
    models = {str(model) for file in files if (model := file.artifact.metadata.get("model"))}
    graphs = [file.artifact.graph for file in files]
    costs = {(graph.params, graph.macs) for graph in graphs}
    known = [file.verification for file in files if file.verification]
    originals = [found.original for found in known]
    original = originals[0] if originals and all(one == originals[0] for one in originals) else None
    samples = data or ", ".join(dict.fromkeys(found.data for found in known if found.data)) or None
    return ReportFacts(
        model=models.pop() if len(models) == 1 else _title([file.path for file in files]),
        data=samples,
        before=NetworkFigures(score=original),
        after=NetworkFigures(*costs.pop()) if len(costs) == 1 else NetworkFigures(),
        commands=(command,),
    )


def _command(
    paths: Sequence[Path],
    path: Path | str | None,
    source: DataSource,
    devices: Sequence[str],
    limits: Mapping[str, int | None],
    results: Path | str | None,
) -> str:
    def words() -> Iterator[str]:
        yield from ("edgecnn", "report", *map(str, paths))
        yield from ("--data", source.data) if isinstance(source.data, str) else ()
        for name in devices:
            yield from ("--device", name)
        for name, size in limits.items():
            yield from (f"--{name}", f"{size}B") if size is not None else ()
        yield from ("--results", str(results)) if results else ()
        yield from ("-o", "-" if path is None else str(path))

    return shlex.join(words())
