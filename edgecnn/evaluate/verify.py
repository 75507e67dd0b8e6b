"""Judge an exported file against the network it came from."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError, library_error
from edgecnn.evaluate.layers import LayerNoise
from edgecnn.evaluate.parity import Parity
from edgecnn.fit.advice import short_name
from edgecnn.recipe import Limits
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import Score, scores_to_json
from edgecnn.units import format_score


@dataclass(frozen=True)
class Attempt:
    """One way to make the file, and how near its outputs come to the float file's on the samples held back."""

    quantize: str
    sqnr_db: float | None  # of all outputs, against their variance; None where this failed
    agreement: float | None  # share of samples of the same class; None for what is no classifier
    kept: bool
    seconds: float
    failed: str | None = None
    in_float: tuple[str, ...] = ()  # layers that stay in float, each by its first operator in the float file

    def __str__(self) -> str:
        """`bias, conv1 in float: 22.7 dB, 91.8 % top-1 agree, kept`."""
        floats = f", {', '.join(map(short_name, self.in_float))} in float" if self.in_float else ""
        if self.failed is not None:
            return f"{self.quantize}{floats}: failed, {self.failed}"
        agree = "" if self.agreement is None else f", {100 * self.agreement:.1f} % top-1 agree"
        return f"{self.quantize}{floats}: {self.sqnr_db:.1f} dB{agree}, {'kept' if self.kept else 'not kept'}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self) | {"in_float": list(self.in_float)}


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One written file, and how it stands beside the original network on the same samples."""

    __repr__ = short_repr

    artifact: Artifact
    scores: tuple[Score, ...]  # the task's first one first; none where nothing says what is right
    parity: Parity
    float_operators: tuple[tuple[str, str], ...]  # of a w8a8 file: (kind, output) of what still computes in float
    rejected: str | None  # the limit it breaks, or what its runtime refuses; its name then ends in `.rejected`
    path: Path
    breaks_limit: bool = False  # what it computes is not close enough to the network
    attempts: tuple[Attempt, ...] = ()  # of an int8 file that was searched for
    layers: tuple[LayerNoise, ...] = ()  # of a rejected TFLite file: where its signal gets lost, layer by layer
    most_lost: float | None = None  # of its score, by the 95 % interval, as a fraction; None: not asked

    @property
    def score(self) -> Score | None:
        """The score that its limit is about."""
        return self.scores[0] if self.scores else None

    def to_json(self) -> dict[str, Any]:
        """Return the file's entry of `edgecnn export --json`."""
        return {
            "path": str(self.path),
            "name": self.path.name,
            "format": self.artifact.format,
            "precision": self.artifact.precision,
            "size_bytes": self.artifact.size_bytes,
            **scores_to_json(self.scores),
            "parity": self.parity.to_json(),
            "float_operators": [f"{kind} {output}" for kind, output in self.float_operators],
            "rejected": self.rejected,
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "layers": [layer.to_json() for layer in self.layers],
            "failed": None,
        }


@dataclass(frozen=True)
class FailedFile:
    """One file of a recipe that could not be written or verified."""

    __repr__ = short_repr

    path: Path  # where it would be
    format: str
    precision: str
    reason: str
    error: Exception

    @classmethod
    def of(cls, error: Exception, path: Path, format_name: str, precision: str, step: str) -> FailedFile:
        """Return what *error* in *step* means for the file at *path*.

        Raises:
            OSError: *error* itself, where the disk is full: no other file can be written then.
        """
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise error
        reason = str(error) if isinstance(error, EdgecnnError) else f"{step} failed: {library_error(error)}"
        return cls(path, format_name, precision, reason, error)

    def to_json(self) -> dict[str, Any]:
        """Return the file's entry of `edgecnn export --json`: the keys of `ExportedFile`, null but for these."""
        lists = ("parity", "float_operators", "rejected", "attempts", "layers")
        keys = ("path", "size_bytes", *scores_to_json(()), *lists)
        own = {"name": self.path.name, "format": self.format, "precision": self.precision, "failed": self.reason}
        return {**dict.fromkeys(keys), **own}


def unseen_drop(files: Sequence[ExportedFile], max_drop: float) -> tuple[str, ...]:
    """Return the sentence on *files* that may lose more than *max_drop* and were judged on too few samples to see it.

    Args:
        files: of one export, verified on the same samples.
        max_drop: the score that they may lose, as a fraction.
    """
    unsure = [file for file in files if not file.rejected and (file.most_lost or 0.0) > max_drop + 1e-9]
    if not unsure:
        return ()
    names = ", ".join(file.path.name for file in unsure)
    score = unsure[0].score
    assert score is not None
    unit = "points" if score.higher_is_better else "%"
    most = f"{100 * max(file.most_lost or 0.0 for file in unsure):.2f} {unit} of {score.name}"
    return (
        f"{score.n} samples are few: {names} may have lost up to {most} (95 %), and the limit is {100 * max_drop:g}; "
        "verify on more",
    )


def broken_limit(limits: Limits, parity: Parity, score: Score | None, reference: Score | None) -> str | None:
    """Return the sentence that says which limit is broken, None where none is.

    The *reference* is the original network's score on the same samples.
    """
    if limits.max_drop is not None and score is not None and reference is not None:
        drop = score.drop_from(reference.value)
        # In whole samples: a single one that tips over is rounding, however few there are.
        if drop > max(1 / score.n, limits.max_drop) + 1e-9:
            better = score.higher_is_better
            before, after = (format_score(one.value, is_share=better) for one in (reference, score))
            yielded = f"fell by {100 * drop:.2f} points" if better else f"rose by {100 * drop:.2f} %"
            unit = "" if better else " %"
            return (
                f"{score.name} {yielded} (from {before} to {after}, {score.n} samples), the recipe allows "
                f"{100 * limits.max_drop:.2f}{unit}"
            )
    worst = parity.worst
    if limits.min_sqnr_db is not None and worst is not None and (worst.sqnr_db or 0.0) < limits.min_sqnr_db:
        return (
            f"signal to quantization noise is {worst.sqnr_db:.1f} dB in {worst}, the recipe asks for "
            f"{limits.min_sqnr_db:.1f}"
        )
    least = parity.least_agreeing
    if limits.min_agreement is not None and least is not None and (least.agreement or 0.0) < limits.min_agreement:
        return (
            f"{100 * (least.agreement or 0.0):.2f} % of the class numbers in {least} are those of the network, the "
            f"recipe asks for {100 * limits.min_agreement:.2f}"
        )
    return None
