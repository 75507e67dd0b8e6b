"""Figures that others published about the networks of a study, read from CSV files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.study.definition import Study

_MOST_BYTES = 2**20
_VARIANTS = ("variant", "params_millions", "flops_millions", "size_mib", "accuracy_percent")
_PRUNING = ("iteration", "variant", "nonzero", "accuracy_percent", "sparsity_percent")


@dataclass(frozen=True)
class Published:
    """What is printed about one network, rounded or cut off as it is printed; None: nothing is."""

    params_millions: float | None = None
    flops_millions: float | None = None
    size_mib: float | None = None
    accuracy_percent: float | None = None


@dataclass(frozen=True)
class PublishedIteration:
    """What is printed about one network after some iterations of pruning."""

    nonzero: int
    accuracy_percent: float | None
    sparsity_percent: float | None


def read_published(study: Study) -> Mapping[int, Published]:
    """Return what was published of each variant, by number; empty where the study names no file.

    Raises:
        EdgecnnError: the file is not there or broken.
    """
    rows = _read(study.published, _VARIANTS)
    return {
        int(_number(row, "variant", where)): Published(*(_optional(row, key, where) for key in _VARIANTS[1:]))
        for where, row in rows
    }


def read_published_pruning(study: Study) -> Mapping[tuple[int, int], PublishedIteration]:
    """Return what was published of pruned variants, by (variant, iteration); empty where the study names no file.

    Raises:
        EdgecnnError: the file is not there or broken.
    """
    found = {}
    for where, row in _read(study.published_pruning, _PRUNING):
        key = int(_number(row, "variant", where)), int(_number(row, "iteration", where))
        accuracy, sparsity = (_optional(row, name, where) for name in _PRUNING[3:])
        found[key] = PublishedIteration(int(_number(row, "nonzero", where)), accuracy, sparsity)
    return found


def _read(file: str | None, columns: tuple[str, ...]) -> list[tuple[str, dict[str, str]]]:
    """Return the rows of a CSV file, each with its place."""
    if file is None:
        return []
    path = Path(file)
    if not path.is_file():
        raise EdgecnnError(f"no file at '{path}', which the study names for published figures")
    content = path.read_bytes()
    if len(content) > _MOST_BYTES:
        raise EdgecnnError(f"{path}: {len(content)} bytes are no table of published figures")
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8")), strict=True)
        lines = [line for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise EdgecnnError(f"{path}: not a CSV file: {error}") from None
    if not lines or tuple(lines[0]) != columns:
        raise EdgecnnError(f"{path}: the first line must be {','.join(columns)}")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise EdgecnnError(f"{path}: line {number}: {len(line)} values for {len(columns)} columns")
    return [
        (f"{path}: line {number}", dict(zip(columns, line, strict=True))) for number, line in enumerate(lines[1:], 2)
    ]


def _number(row: Mapping[str, str], key: str, where: str) -> float:
    try:
        value = float(row[key])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise EdgecnnError(f"{where}: {key}: expected a number, found '{row[key][:40]}'")
    return value


def _optional(row: Mapping[str, str], key: str, where: str) -> float | None:
    return _number(row, key, where) if row[key] else None
