"""Credit card fraud: a sample of the 284 807 transactions that Dal Pozzolo et al. 2015 gave out."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import DataRequest, Dataset, in_memory
from edgecnn.datasets.places import find_files
from edgecnn.errors import EdgecnnError
from edgecnn.samples import Samples

EVALUATION_SHARE = 0.3
CLIP = 3.0  # standard deviations: frauds lie dozens away, and the steps of int8 would be spent on them

_FILE = "creditcard_partial.csv"
_COLUMNS = ["Time", *(f"V{number}" for number in range(1, 29)), "Amount", "Class"]
_LABELS = ("normal", "fraud")


def open_creditcard(request: DataRequest) -> Dataset:
    """Return the transactions as `parted` gives them, 70 % for training, 30 % of each class for evaluation.

    Raises:
        EdgecnnError: the file is not there, cut, or something else.
    """
    return parted(*read_whole(request).split(EVALUATION_SHARE))


def read_whole(request: DataRequest) -> Samples:
    """Return all transactions as they stand in the file, [29]: 0 is normal, 1 a fraud.

    Raises:
        EdgecnnError: the file is not there, cut, or something else.
    """
    (path,) = find_files(request, "creditcard", [[_FILE]], source=f"it cannot be downloaded: put {_FILE} there")
    features, labels = read_transactions(path)
    if min(np.bincount(labels, minlength=2)) < 2:
        raise EdgecnnError(
            f"{path}: {len(labels)} rows, {labels.sum()} of them frauds: too few to split; fetch it again"
        )
    return Samples.of(features, labels)


def parted(training: Samples, evaluation: Samples) -> Dataset:
    """Return two parts of the same transactions as float32 [29], standardised by the mean and deviation of *training*.

    The features are V1 … V28 and Amount. Time counts from the first row of the collection: it says when a transaction
    was collected, not what it is like, and is left out.
    """
    features = np.asarray(training.images)
    seen = features[training.indices]
    spread = seen.std(axis=0)
    scaled = (features - seen.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    clipped = scaled.clip(-CLIP, CLIP).astype(np.float32)
    return in_memory(
        "creditcard", replace(training, images=clipped), replace(evaluation, images=clipped), None, _LABELS
    )


def read_transactions(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the features [n, 29] as they stand in the file, and the classes [n]: 1 is a fraud.

    Raises:
        EdgecnnError: a line that is not whole, with its number.
    """
    try:
        with path.open(newline="", encoding="ascii") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if header != _COLUMNS:
                raise EdgecnnError(f"{path}: not the columns Time, V1, …, V28, Amount, Class; fetch it again")
            rows = [_numbers(path, reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise EdgecnnError(f"{path}: not a table of numbers ({error}); fetch it again") from None
    table = np.asarray(rows).reshape(-1, len(_COLUMNS))
    return table[:, 1:-1], table[:, -1].astype(np.int64)


def _numbers(path: Path, line: int, row: list[str]) -> list[float]:
    try:
        numbers = [float(cell) for cell in row]
    except ValueError:
        numbers = []
    if len(numbers) != len(_COLUMNS) or not np.isfinite(numbers).all() or numbers[-1] not in (0, 1):
        raise EdgecnnError(f"{path}: line {line} is not {len(_COLUMNS)} numbers that end in 0 or 1; fetch it again")
    return numbers
