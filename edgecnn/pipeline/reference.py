"""What files are compared with: the outputs of the network they come from, on the same samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.evaluate.inputs import plan_for
from edgecnn.evaluate.judge import Judge, Judgement
from edgecnn.evaluate.parity import Outputs
from edgecnn.evaluate.run import Answered, run_artifact
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples
from edgecnn.tasks.score import Score


@dataclass(frozen=True)
class Reference:
    """The original's outputs over some samples, kept on disk: they may be large images themselves."""

    folder: Path
    judgement: Judgement

    @classmethod
    def take(cls, answers: Iterable[Answered], judge: Judge, name: str, folder: Path) -> Reference:
        """Keep the outputs of *answers*, those of the network *name*, in the new *folder*, and judge them."""
        folder.mkdir()

        def kept() -> Iterator[Answered]:
            for number, answered in enumerate(answers):
                np.savez(folder / f"{number:06d}.npz", *answered.outputs)
                yield answered

        return cls(folder, judge.judge(kept(), name, is_original=True))

    @property
    def score(self) -> Score | None:
        """The score that limits are about; None where nothing says what is right."""
        return self.judgement.scores[0] if self.judgement.scores else None

    def __iter__(self) -> Iterator[Outputs]:
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path) as stored:
                yield [stored[name] for name in stored.files]


@dataclass(frozen=True)
class HeldBack:
    """Training samples that no file is calibrated with, and what the float file makes of them."""

    float_file: Artifact
    samples: Samples
    normalization: Normalization | None
    judge: Judge
    reference: Reference

    @classmethod
    def take(
        cls, float_file: Artifact, samples: Samples, normalization: Normalization | None, judge: Judge, folder: Path
    ) -> HeldBack:
        """Run *float_file* over *samples*, and keep its outputs in the new *folder*."""
        answers = _run(float_file, samples, normalization)
        reference = Reference.take(answers, judge, float_file.path.name, folder)
        return cls(float_file, samples, normalization, judge, reference)

    def judged(self, artifact: Artifact) -> Judgement:
        """Return how *artifact* stands beside the float file."""
        answers = _run(artifact, self.samples, self.normalization)
        return self.judge.judge(answers, artifact.path.name, originals=self.reference)


def _run(artifact: Artifact, samples: Samples, normalization: Normalization | None) -> Iterator[Answered]:
    return run_artifact(artifact, samples, plan_for(artifact, samples, normalization, None))


__all__ = ["HeldBack", "Reference"]
