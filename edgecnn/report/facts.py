"""What a report is written from, and its rows: each file with each way that it was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn.benchmarks.verify import ExportedFile
from edgecnn.measurement import Accuracy, Measurement

_FORMATS = {"tflite": "TFLite", "onnx": "ONNX"}


@dataclass(frozen=True)
class NetworkFigures:
    """What a network costs and reaches; None: not taken."""

    params: int | None = None
    macs: int | None = None  # of one sample
    accuracy: Accuracy | None = None


@dataclass(frozen=True)
class ReportFacts:
    """What no file tells of itself."""

    model: str
    data: str | None = None  # which samples the accuracy was taken on
    before: NetworkFigures = NetworkFigures()  # the network as it came
    after: NetworkFigures = NetworkFigures()  # the network as it was exported
    steps: tuple[str, ...] = ()  # what was done, a sentence each, in order
    warnings: tuple[str, ...] = ()  # beyond those of the files and measurements
    commands: tuple[str, ...] = ()  # that do all of it again


@dataclass(frozen=True)
class Row:
    """One file as one runtime ran it: verified, measured, or both."""

    file: ExportedFile | None
    measured: Measurement | None
    label: str = ""  # the shortest kind of label that tells the rows of a report apart

    @property
    def name(self) -> str:
        """The file's name."""
        return self.file.path.name if self.file else Path(self._measured.file).name

    @property
    def format(self) -> str:
        """`TFLite` or `ONNX`."""
        name = self.file.artifact.format if self.file else self._measured.format
        return _FORMATS.get(name, name)

    @property
    def precision(self) -> str:
        """`fp32`, `w8a8`, ..."""
        return self.file.artifact.precision if self.file else self._measured.precision

    @property
    def is_integer(self) -> bool:
        """Whether its weights are integers."""
        return self.precision.startswith("w")

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return self.file.artifact.size_bytes if self.file else self._measured.size_bytes

    @property
    def accuracy(self) -> Accuracy | None:
        """As measured with this runtime, else as verified at export."""
        verified = self.file.accuracy if self.file else None
        return (self.measured.accuracy if self.measured else None) or verified

    @property
    def p50_ns(self) -> float | None:
        """The median latency."""
        return self.measured.p50_ns if self.measured else None

    @property
    def _measured(self) -> Measurement:
        assert self.measured is not None  # a row has a file, a measurement, or both
        return self.measured


def rows_of(files: Sequence[ExportedFile], measurements: Sequence[Measurement]) -> list[Row]:
    """Return a row for each measurement, and one for each file that was not measured; the best first.

    Best is: kept before rejected, then measured before not measured, then the lower p50.
    """
    by_path = {str(file.path): file for file in files}
    rows = [Row(by_path.get(measured.file), measured) for measured in measurements]
    seen = {measured.file for measured in measurements}
    rows += [Row(file, None) for path, file in by_path.items() if path not in seen]
    rows.sort(key=_rank)
    label = next((label for label in _LABELS if len({label(row) for row in rows}) == len(rows)), _LABELS[-1])
    return [replace(row, label=label(row)) for row in rows]


def _rank(row: Row) -> tuple[bool, float, int]:
    rejected = row.file is not None and row.file.rejected is not None
    return rejected, float("inf") if row.p50_ns is None else row.p50_ns, row.size_bytes


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
    """Return *name* with its middle left out where it is longer than *most* characters."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"
