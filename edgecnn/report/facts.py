"""What a report is written from, and its rows: each file in each runtime that measured it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.choice import choose
from edgecnn.benchmarks.predict import Prediction
from edgecnn.benchmarks.profile import Profile
from edgecnn.evaluate.files import Evaluation
from edgecnn.formats import FORMATS
from edgecnn.measurement import Measurement
from edgecnn.report.verification import Verification
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import Score, score_to_json


@dataclass(frozen=True)
class NetworkFigures:
    """Parameters, MACs and score of a network; None means not measured.

    Example:
        >>> edgecnn.NetworkFigures(params=270_000, macs=41_000_000)
        NetworkFigures(params=270000, macs=41000000, score=None)
    """

    params: int | None = None
    macs: int | None = None  # of one sample
    score: Score | None = None


@dataclass(frozen=True)
class ReportFacts:
    """Facts for a report that the files do not contain.

    Example:
        >>> edgecnn.ReportFacts("mynet", data="digits").steps
        ()
    """

    __repr__ = short_repr

    model: str
    data: str | None = None  # which samples the score was taken on
    before: NetworkFigures = NetworkFigures()  # the network as it came
    after: NetworkFigures = NetworkFigures()  # the network as it was exported
    steps: tuple[str, ...] = ()  # what was done, a sentence each, in order
    warnings: tuple[str, ...] = ()  # beyond those of the files and measurements
    commands: tuple[str, ...] = ()  # that do all of it again


@dataclass(frozen=True)
class ReportedFile:
    """One exported file, and what was found about it on this machine."""

    artifact: Artifact
    verification: Verification | None = None  # None: no history lies beside it
    evaluation: Evaluation = field(default_factory=Evaluation)
    failure: str | None = None  # why it could not be run

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.artifact.path

    @property
    def score(self) -> Score | None:
        """As evaluated here, else as verified at export."""
        return self.evaluation.score or (self.verification.score if self.verification else None)

    @property
    def rejected(self) -> str | None:
        """The limit of its recipe that it broke at export."""
        return self.verification.rejected if self.verification else None


@dataclass(frozen=True)
class Contents:
    """All that stands on a page."""

    title: str
    facts: ReportFacts
    files: tuple[ReportedFile, ...] = ()
    measurements: tuple[Measurement, ...] = ()  # each of the file with the same path
    predictions: tuple[Prediction, ...] = ()  # each of a file on a device
    labels: tuple[str, ...] = ()  # names of the classes; empty: they have none
    profiles: tuple[Profile, ...] = ()  # the operators of files that were profiled


@dataclass(frozen=True)
class Row:
    """One file as one runtime ran it, or a file that was not measured."""

    file: ReportedFile
    measured: Measurement | None
    name: str  # of the file, with its folder where another has the same name
    label: str = ""  # the shortest kind of label that differs in every row of a report

    @property
    def format(self) -> str:
        """`TFLite` or `ONNX`."""
        return FORMATS[self.file.artifact.format].title

    @property
    def precision(self) -> str:
        """`fp32`, `w8a8`, ..."""
        return self.file.artifact.precision

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return self.file.artifact.size_bytes

    @property
    def score(self) -> Score | None:
        """As measured with this runtime, else as evaluated here, else as verified at export."""
        return (self.measured.score if self.measured else None) or self.file.score

    @property
    def further_scores(self) -> tuple[Score, ...]:
        """Those beside it that were taken on this machine."""
        taken = self.measured.scores if self.measured and self.measured.scores else self.file.evaluation.scores
        return taken[1:]

    @property
    def p50_ns(self) -> float | None:
        """The median latency."""
        return self.measured.p50_ns if self.measured else None

    @property
    def is_kept(self) -> bool:
        """Whether it broke no limit of its recipe."""
        return self.file.rejected is None


def rows_of(files: Sequence[ReportedFile], measurements: Sequence[Measurement]) -> list[Row]:
    """Return a row for each measurement, and one for each file that was not measured; the fastest first.

    Rejected files come last, before them those that were not measured.
    """
    names = distinct_names(file.path for file in files)
    rows = []
    for file in files:
        own = [measured for measured in measurements if measured.file == str(file.path)]
        rows += [Row(file, measured, names[str(file.path)]) for measured in own or (None,)]
    rows.sort(key=lambda row: (not row.is_kept, row.p50_ns is None, row.p50_ns or 0, row.size_bytes))
    label = next((label for label in _LABELS if len({label(row) for row in rows}) == len(rows)), _LABELS[-1])
    return [replace(row, label=label(row)) for row in rows]


def distinct_names(paths: Iterable[Path | str]) -> dict[str, str]:
    """Return each of *paths* → its name, with its folder's where another has the same name."""
    distinct = {str(path): Path(path) for path in paths}
    names = [path.name for path in distinct.values()]
    return {
        text: path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}"
        for text, path in distinct.items()
    }


def _threads(row: Row) -> str:
    count = row.measured.threads if row.measured else 0
    return f", {count} thread{'s' * (count > 1)}" if count else ""


def _runtime(row: Row) -> str:
    return f", {row.measured.runtime}" if row.measured else ""


_LABELS: tuple[Callable[[Row], str], ...] = (
    lambda row: f"{row.precision} {row.format}",
    lambda row: f"{row.precision} {row.format}{_threads(row)}",
    lambda row: shorten(row.name),
    lambda row: f"{shorten(row.name)}{_runtime(row)}{_threads(row)}",
)


def shorten(name: str, most: int = 30) -> str:
    """Return *name* with its middle left out where it is longer than *most* characters.

    Args:
        name: of a file, for example.
        most: length of the result, at least 3.
    """
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def to_json(contents: Contents) -> dict[str, Any]:
    """Return what the page shows, as `edgecnn report --json` prints it."""
    return {
        "title": contents.title,
        "data": contents.facts.data,
        "files": [_file_to_json(file, contents.labels) for file in contents.files],
        "results": [measured.to_json() for measured in contents.measurements],
        "devices": [prediction.to_json() for prediction in contents.predictions],
        "choices": [choice.to_json() for choice in choose(contents.measurements)],
        "profiles": [profile.to_json() for profile in contents.profiles],
    }


def _file_to_json(file: ReportedFile, labels: Sequence[str]) -> Mapping[str, Any]:
    verification = file.verification

    def name(number: int) -> str | int:
        return labels[number] if number < len(labels) else number

    return {
        "file": str(file.path),
        "format": file.artifact.format,
        "precision": file.artifact.precision,
        "size_bytes": file.artifact.size_bytes,
        **score_to_json(file.score),
        "sqnr_db": verification.sqnr_db if verification else None,
        "top1_agreement": verification.top1_agreement if verification else None,
        "rejected": file.rejected,
        "failed": file.failure,
        "confusion": [
            {"class": name(true), "predicted": name(given), "n": n}
            for (true, given), n in sorted(file.evaluation.confusion.items())
        ],
    }
