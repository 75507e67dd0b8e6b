"""What the history beside a file says of its verification at export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from edgecnn.artifact import Artifact
from edgecnn.evaluate.parity import Part
from edgecnn.parsing import convert, from_table
from edgecnn.tasks.score import Score, score_from_json


@dataclass(frozen=True)
class Verification:
    """How a file stood beside the network it was exported from, on the same samples; None: not known."""

    data: str | None = None  # which samples
    score: Score | None = None
    original: Score | None = None  # of the network
    sqnr_db: float | None = None  # the lowest of all outputs and channels
    worst: str | None = None  # which output or channel that is
    is_identical: bool = False  # no output differs
    top1_agreement: float | None = None  # fraction of samples with the same top-1 class
    float_operators: tuple[str, ...] = ()  # of a w8a8 file: what still computes in float
    rejected: str | None = None  # the limit of its recipe that it breaks


class _Parity(TypedDict, total=False):
    max_abs_diff: float
    sqnr_db: float | None
    top1_agreement: float | None
    worst: Mapping[str, Any] | None


class _Result(TypedDict, total=False):
    data: str | None
    accuracy: Mapping[str, Any] | None
    score: Mapping[str, Any] | None
    reference_accuracy: Mapping[str, Any] | None
    reference_score: Mapping[str, Any] | None
    parity: Mapping[str, Any] | None
    float_operators: list[str]
    rejected: str | None


@dataclass(frozen=True)
class _Worst:
    output: int
    axis: int | None = None
    channel: int | None = None
    sqnr_db: float | None = None


def read_verification(artifact: Artifact) -> Verification | None:
    """Return what the JSON beside *artifact* says of its verification; None where there is none.

    Raises:
        EdgecnnError: the JSON is broken, or of another file.
    """
    where = f"{artifact.history_path}: result"
    result = convert(_Result, artifact.result, where)
    if not result:
        return None
    parity = convert(_Parity, result.get("parity") or {}, f"{where}.parity")
    stored = parity.get("worst")
    worst = None if stored is None else from_table(_Worst, stored, f"{where}.parity.worst", strict=False)
    return Verification(
        data=result.get("data"),
        score=score_from_json(result, where),
        original=score_from_json(
            {"accuracy": result.get("reference_accuracy"), "score": result.get("reference_score")},
            f"{where}: reference",
        ),
        sqnr_db=worst.sqnr_db if worst else None,
        worst=str(Part(worst.output, 0.0, 0.0, worst.axis, worst.channel)) if worst else None,
        is_identical=parity.get("max_abs_diff") == 0,
        top1_agreement=parity.get("top1_agreement"),
        float_operators=tuple(result.get("float_operators", ())),
        rejected=result.get("rejected"),
    )
