"""`csv:FILE`: images by their paths, and what is right for each in columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import DataRequest, Dataset, training_part
from edgecnn.datasets.images import ImageFiles, check_channels, common_side, cover_assumptions
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples

EVALUATION_SHARE = 0.2
_PATHS = ("path", "file", "filename", "image")
_CLASSES = ("class", "label")
_SPLIT = "split"
_TRAINING, _EVALUATION = ("train", "training"), ("val", "validation", "test")
_MOST_ROWS = 10_000_000

Column = Sequence[str]


def open_csv(request: DataRequest) -> Dataset:
    """Return the images that a table lists, with their targets.

    The first line names the columns: `path` (or `file`, `filename`, `image`), relative to the table or absolute;
    `split`, if there is one, says `train` or `val` (or `test`), else a fifth is for evaluation. The others are
    targets: one column `class` (or `label`) of names or numbers is for classification; several columns of 0 and 1 are
    for multilabel, columns of other numbers for regression.

    Raises:
        EdgecnnError: no such file, no paths or no targets in it, or a line that has others.
    """
    path = Path(request.argument)
    channels = check_channels(request, f"csv:{path}")
    columns = _read(path)
    name = next((name for name in _PATHS if name in columns), None)
    if name is None:
        raise EdgecnnError(f"{path}: no column 'path' in it; it has: {', '.join(columns)}")
    split = columns.get(_SPLIT)
    targets = {key: column for key, column in columns.items() if key not in (name, _SPLIT)}
    y, labels, task, assumptions = _targets(path, targets)
    paths = [path.parent / one for one in columns[name]]
    side = request.side or common_side(paths)
    images = ImageFiles(paths, side, request.resize, channels)
    assumptions += cover_assumptions(request, [images])
    training, evaluation = _split(path, Samples.of(images, y), split)
    return Dataset(
        path.stem,
        partial(training_part, training, str(path), "add some with the split 'train'"),
        lambda: evaluation,
        Normalization.parse("unit" if channels == 1 else "imagenet"),
        labels,
        assumptions,
        task,
    )


def _read(path: Path) -> dict[str, list[str]]:
    """Return the columns of a table by their names.

    Raises:
        EdgecnnError: no such file, not a table, or a line of another length.
    """
    if not path.is_file():
        raise EdgecnnError(f"no file at '{path}' (for --data csv:FILE)")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows = []
            for row in reader:
                if row and len(row) != len(header):
                    raise EdgecnnError(
                        f"{path}: line {reader.line_num} has {len(row)} columns, the first {len(header)}"
                    )
                rows += [row] if row else []
                if len(rows) > _MOST_ROWS:
                    raise EdgecnnError(f"{path}: more than {_MOST_ROWS} lines")
    except (UnicodeDecodeError, csv.Error) as error:
        raise EdgecnnError(f"{path}: not a table of comma-separated values ({error})") from None
    if not rows or len(set(header)) < len(header):
        raise EdgecnnError(f"{path}: {'two columns have the same name' if rows else 'no lines below the first'}")
    return {name: [row[at].strip() for row in rows] for at, name in enumerate(header)}


def _targets(
    path: Path, columns: Mapping[str, Column]
) -> tuple[npt.NDArray[Any] | None, tuple[str, ...] | None, str | None, tuple[str, ...]]:
    """Return the targets, the names of the classes, the task, and what was assumed.

    Raises:
        EdgecnnError: a column is neither of numbers nor the only one.
    """
    if not columns:
        return None, None, None, ()
    (first, column), *others = columns.items()
    numbers = {name: _numbers(values) for name, values in columns.items()}
    if not others and (first.lower() in _CLASSES or numbers[first] is None):
        return (*_classes(path, first, column), "classification", ())
    wrong = next((name for name, values in numbers.items() if values is None), None)
    if wrong is not None:
        bad = next((number for number, text in enumerate(columns[wrong]) if _number(text) is None), 0)
        raise EdgecnnError(
            f"{path}: column '{wrong}' has {columns[wrong][bad]!r} among numbers (sample {bad + 1}); several columns "
            f"of targets are numbers, and classes are one column 'class'"
        )
    table = np.stack([values for values in numbers.values() if values is not None], axis=1)
    if others and np.isin(table, (0, 1)).all():
        names = tuple(columns)
        return (
            table.astype(np.float32),
            names,
            "multilabel",
            ("columns of 0 and 1 are labels of which several may hold",),
        )
    if not others and (table == np.round(table)).all():
        assumed = (f"column '{first}' holds values; it would be called 'class' if they were classes",)
        return table.astype(np.float32), None, "regression", assumed
    return table.astype(np.float32), None, "regression", ()


def _classes(path: Path, name: str, column: Column) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Return the class numbers, as the column has them or in the order of its names, and the names."""
    numbers = _numbers(column)
    if numbers is None:
        names = sorted(set(column))
        if "" in names:
            raise EdgecnnError(f"{path}: column '{name}' is empty for sample {column.index('') + 1}")
        place = {text: number for number, text in enumerate(names)}
        return np.asarray([place[text] for text in column]), tuple(names)
    if (numbers != np.round(numbers)).any() or numbers.min() < 0 or numbers.max() >= len(column) + 1000:
        raise EdgecnnError(f"{path}: column '{name}' holds classes, names or numbers from 0 on")
    return numbers.astype(np.int64), tuple(f"class {number}" for number in range(int(numbers.max()) + 1))


def _numbers(column: Column) -> npt.NDArray[np.float64] | None:
    values = [_number(text) for text in column]
    return None if None in values else np.asarray(values, np.float64)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _split(path: Path, samples: Samples, split: Column | None) -> tuple[Samples | None, Samples]:
    """Return the samples to train on and those to judge by.

    Raises:
        EdgecnnError: a part has another name, or none is for evaluation.
    """
    if split is None:
        return samples.split_or_whole(EVALUATION_SHARE)
    wrong = sorted(set(split) - {*_TRAINING, *_EVALUATION})
    if wrong:
        raise EdgecnnError(f"{path}: split '{wrong[0]}' is none of {', '.join((*_TRAINING, *_EVALUATION))}")
    held_out = next((name for name in _EVALUATION if name in split), None)
    if held_out is None:
        raise EdgecnnError(f"{path}: no sample has the split val or test")
    parts = np.asarray(split)
    training, evaluation = (np.flatnonzero(np.isin(parts, names)) for names in (_TRAINING, (held_out,)))
    of = partial(Samples, samples.images, samples.labels)
    return of(training) if len(training) else None, of(evaluation)
