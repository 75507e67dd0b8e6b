"""How badly FLOPS predict what a deployed network takes: rank correlations, and the worst surprises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.study.results import Result

_LEAST = 3  # networks, below which a correlation says nothing


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of FLOPS, as papers count them, with what a deployed file takes."""

    what: str  # "p50 of w8a8 tflite, measured"
    spearman: float
    n: int


@dataclass(frozen=True)
class Surprise:
    """A network whose place by FLOPS is far from its place by latency, and what may be the reason."""

    name: str
    fvcore_flops: int
    p50_ns: float
    ranks: tuple[float, float]  # by FLOPS and by latency, the smallest first
    operators_per_million_macs: float
    depthwise_share: float
    moving_operators: int

    @property
    def distance(self) -> float:
        """How many places slower it is than its FLOPS say; negative: faster."""
        return self.ranks[1] - self.ranks[0]


def correlations(results: Sequence[Result]) -> list[Correlation]:
    """Return the correlation of FLOPS with latency and bytes, for each kind of file and each estimate."""
    found = []
    columns: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        flops = float(result.figures["counted"]["fvcore_flops"])
        for file in result.figures["files"]:
            if file.get("failed"):
                continue
            kind = f"{file['precision']} {file['format']}"
            values = {f"bytes of {kind}, measured": file["measured"]["size_bytes"]}
            values[f"p50 of {kind}, measured"] = file["measured"].get("p50_ns")
            for device, estimate in file["estimated"].items():
                values[f"p50 of {kind}, estimated for {device}"] = estimate["p50_ns"]
            for what, value in values.items():
                if value is not None:
                    columns.setdefault(what, []).append((flops, float(value)))
    for what, pairs in columns.items():
        if len(pairs) >= _LEAST:
            found.append(Correlation(what, spearman(*zip(*pairs, strict=True)), len(pairs)))
    return found


def surprises(results: Sequence[Result], most: int = 5) -> list[Surprise]:
    """Return the networks that FLOPS mislead most about, by the latency of their int8 TFLite files.

    The measured latency counts, where there is none the first estimate.
    """
    rows: list[tuple[Result, Mapping[str, Any], float]] = []
    for result in results:
        for file in result.figures["files"]:
            if not file.get("failed") and (file["format"], file["precision"]) == ("tflite", "w8a8"):
                p50_ns = _latency(file)
                if p50_ns is not None:
                    rows.append((result, file, p50_ns))
    if len(rows) < _LEAST:
        return []
    by_flops = ranks([row[0].figures["counted"]["fvcore_flops"] for row in rows])
    by_latency = ranks([row[2] for row in rows])
    found = []
    for (result, file, p50_ns), first, second in zip(rows, by_flops, by_latency, strict=True):
        counted, operators = result.figures["counted"], file["counted"]
        found.append(
            Surprise(
                result.name,
                counted["fvcore_flops"],
                p50_ns,
                (float(first), float(second)),
                operators["operators"] / (counted["macs"] / 1e6),
                operators["depthwise_share"],
                operators["moving_operators"],
            )
        )
    return sorted(found, key=lambda one: -abs(one.distance))[:most]


def _latency(file: Mapping[str, Any]) -> float | None:
    known = [file["measured"].get("p50_ns"), *(one["p50_ns"] for one in file["estimated"].values())]
    return next((float(value) for value in known if value is not None), None)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two rows; 0 where all values of one are equal.

    Example:
        >>> spearman([1, 2, 3], [10, 30, 20])
        0.5
    """
    first, second = (row - row.mean() for row in (ranks(a), ranks(b)))
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else 0.0


def ranks(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the place of each value, the smallest 1; equal values share the mean of their places."""
    row = np.asarray(values, dtype=np.float64)
    return np.array([(row < value).sum() + ((row == value).sum() + 1) / 2 for value in row])


def summary_of(results: Sequence[Result]) -> dict[str, Any]:
    """Return correlations and surprises for `--json`."""
    return {
        "correlations": [asdict(one) for one in correlations(results)],
        "surprises": [asdict(one) | {"distance": one.distance} for one in surprises(results)],
    }
