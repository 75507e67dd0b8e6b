"""`CompressResult`: what came of a compression."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.pipeline.budget import NetworkStatus, SparseSize
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import ACCURACY, Score, accuracy_to_json

if TYPE_CHECKING:
    from edgecnn.compress.unit import Fixed
    from edgecnn.measurement import Measurement
    from edgecnn.pipeline.judging import Validation, Verdict
    from edgecnn.pipeline.search import Attempt


@dataclass(frozen=True, kw_only=True)
class CompressResult:
    """A compressed network beside the original, both judged at the end on evaluation samples that chose nothing."""

    __repr__ = short_repr

    path: Path
    before: NetworkStatus
    after: NetworkStatus
    verdict: Verdict
    warnings: tuple[str, ...] = ()  # what was assumed of the network
    plan: Path | None = None  # the file that says how to do the same again
    attempts: tuple[Attempt, ...] = ()  # the rounds, those that lost too much among them
    stopped: str = ""  # why there was no further round
    unmet: tuple[str, ...] = ()  # the goals that the result misses, each as a sentence
    sparse_size: tuple[SparseSize, SparseSize] | None = None  # before and after, where weights were set to 0
    fixed: tuple[Fixed, ...] = ()  # the layers that cannot be cut, and why; none are named for a plan
    unsubstituted: tuple[Fixed, ...] = ()  # where blocks that were asked for cannot stand, likewise
    validation: Validation | None = None  # what the cuts were chosen by
    measured: Measurement | None = None  # of the w8a8 TFLite file, on the target that the budget names

    @property
    def score_before(self) -> Score:
        """The original's score."""
        return self.verdict.before

    @property
    def score_after(self) -> Score:
        """The compressed network's score, on the same samples."""
        return self.verdict.after

    def to_json(self) -> dict[str, Any]:
        """Return the document of `edgecnn compress --json`; scores on the evaluation part but where it is said."""
        name, other = ("accuracy", "score") if self.score_after.name == ACCURACY else ("score", "accuracy")
        judged = {
            "before": _json_of(self.score_before),
            "after": _json_of(self.score_after),
            "lost": asdict(self.verdict.lost),
        }
        return {
            "path": str(self.path),
            "method": "measured",
            "plan": None if self.plan is None else str(self.plan),
            "params": {"before": self.before.params, "after": self.after.params},
            "macs": {"before": self.before.macs, "after": self.after.macs},
            name: judged,
            other: None,
            "judged_by": None
            if self.validation is None
            else {"part": self.validation.part, "share": self.validation.share, "why": self.validation.note or None},
            f"validation_{name}": {"before": _json_of(self.before.score), "after": _json_of(self.after.score)},
            f"validation_{other}": None,
            "w8a8_tflite_bytes": {"before": self.before.size_bytes, "after": self.after.size_bytes},
            "sparse_size": None
            if self.sparse_size is None
            else dict(zip(("before", "after"), map(asdict, self.sparse_size), strict=True)),
            "memory": {
                "method": "estimated",
                "before": [asdict(use) for use in self.before.memory],
                "after": [asdict(use) for use in self.after.memory],
            },
            "latency": {
                "method": "estimated",
                "before": None if self.before.latency is None else asdict(self.before.latency),
                "after": None if self.after.latency is None else asdict(self.after.latency),
                "measured": None if self.measured is None else self.measured.to_json(),
            },
            "rounds": [
                {
                    "round": one.number,
                    "cuts": dict(one.cuts),
                    "sparsity": one.sparsity,
                    "kept": one.kept,
                    "params": one.status.params,
                    "macs": one.status.macs,
                    "w8a8_tflite_bytes": one.status.size_bytes,
                    "latency_ns": None if one.status.latency is None else one.status.latency.p50_ns,
                    f"validation_{name}": _json_of(one.status.score),
                    f"validation_{other}": None,
                }
                for one in self.attempts
            ],
            "fixed": [asdict(one) for one in self.fixed],
            "unsubstituted": [asdict(one) for one in self.unsubstituted],
            "stopped": self.stopped or None,
            "unmet": list(self.unmet),
        }


def _json_of(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return accuracy_to_json(score) if score.name == ACCURACY else score.to_json()
