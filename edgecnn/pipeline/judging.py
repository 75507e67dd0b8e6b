"""What a compression is judged by: samples that its network does not know, and at the end others that chose nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgecnn.compress.sensitivity import MeanInterval, accuracy_lost
from edgecnn.datasets import Dataset
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Accuracy
from edgecnn.nets.evaluate import Correct, correct_of, counted
from edgecnn.pipeline.budget import Budget
from edgecnn.pipeline.plan import EVALUATION, TRAINING
from edgecnn.pipeline.subject import Subject
from edgecnn.progress import Progress, silent, with_prefix
from edgecnn.samples import Samples

#: The share of the training part, or else of the evaluation part, that cuts are chosen by.
SHARES = {TRAINING: 0.1, EVALUATION: 0.5}


@dataclass(frozen=True)
class Parts:
    """The samples of a data set, by what they are for."""

    training: Samples
    validation: Samples | None  # to choose by; None: nothing is chosen
    evaluation: Samples  # for the final figures; none of these were chosen by

    @classmethod
    def of(cls, data: Dataset, share: float, part: str) -> Parts:
        """Return the parts of *data*, of which a *share* of that *part* is for validation.

        Raises:
            EdgecnnError: too few samples.
        """
        if not share:
            return cls(data.training, None, data.evaluation)
        whole = data.training if part == TRAINING else data.evaluation
        rest, validation = whole.split(share)
        if not len(rest) or not len(validation):
            raise EdgecnnError(
                f"data set '{data.name}' is too small to set aside {100 * share:g} % of each class of the {part} part "
                f"for validation; give more data"
            )
        return cls(rest, validation, data.evaluation) if part == TRAINING else cls(data.training, validation, rest)


@dataclass(frozen=True)
class Validation:
    """Which samples cuts are chosen by, and what the original answers to them."""

    part: str  # of the data set: `TRAINING`, `EVALUATION`
    share: float  # of that part
    note: str = ""  # why it is not the usual one
    answers: tuple[tuple[Samples, Correct], ...] = ()  # of the original, as far as they are known

    def correct(self, samples: Samples) -> Correct | None:
        """Return which answers of the original to *samples* are right, [n]; None where it was not asked."""
        for asked, correct in self.answers:
            if asked.images is samples.images and np.isin(samples.indices, asked.indices).all():
                order = np.argsort(asked.indices)
                return correct[order[np.searchsorted(asked.indices, samples.indices, sorter=order)]]
        return None


def choose_validation(subject: Subject, progress: Progress = silent, most: int | None = None) -> Validation:
    """Return which samples the cuts of *subject* are to be chosen by.

    A tenth of the training part, unless the network was trained on it: published networks have seen all of the training
    part. Then it is far more often right there than on the evaluation part, and would seem to lose more by each cut
    than it does. Half of the evaluation part takes its place, and the final figures are of the other half.

    Args:
        subject: a network and labelled data.
        progress: called with the step, what is done and the total.
        most: samples of each part to ask the network about; None: all.

    Raises:
        EdgecnnError: the network gives no class scores.
    """
    before = chosen_before(subject)
    if before is not None:
        return before
    usual = Parts.of(subject.data, SHARES[TRAINING], TRAINING)
    assert usual.validation is not None
    assert subject.network is not None
    answers = []
    for name, samples in (("validation", usual.validation.take(most)), ("evaluation", usual.evaluation.take(most))):
        tell = with_prefix(progress, f"the original on the {name} part")
        answers.append((samples, correct_of(subject.network, samples, subject.normalization, tell)))
    known, unseen = (counted(correct) for _, correct in answers)
    if not is_better(known, unseen):
        return Validation(TRAINING, SHARES[TRAINING], answers=tuple(answers))
    why = (
        f"it classifies {100 * known.top1:.1f} % of the validation samples correctly, and {100 * unseen.top1:.1f} % of "
        f"the evaluation part: it was trained on them"
    )
    return Validation(EVALUATION, SHARES[EVALUATION], _note(subject, why), tuple(answers))


def chosen_before(subject: Subject) -> Validation | None:
    """Return the half of the evaluation part where an earlier compression of the network chose by it, else None.

    It is no unseen part any more, so whatever comes of the network is not judged by it at the end.
    """
    checkpoint = subject.network and subject.network.checkpoint
    judged = [step.get("judged_by") for step in checkpoint.history] if checkpoint else []
    if any(isinstance(by, Mapping) and by.get("part") == EVALUATION for by in judged):
        return Validation(
            EVALUATION,
            SHARES[EVALUATION],
            _note(subject, "an earlier compression used half of the evaluation data for choosing"),
        )
    return None


def is_better(a: Accuracy, b: Accuracy) -> bool:
    """Return whether accuracy *a* is above *b*, of other samples, by more than chance.

    The 95 % interval of the difference of two shares is Newcombe's (1998, method 10,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I).

    Example:
        >>> is_better(Accuracy(4989, 5000), Accuracy(9173, 10000))
        True
    """
    return a.top1 - b.top1 > math.hypot(a.top1 - a.interval[0], b.interval[1] - b.top1)


def _note(subject: Subject, why: str) -> str:
    parts = Parts.of(subject.data, SHARES[EVALUATION], EVALUATION)
    assert parts.validation is not None
    return (
        f"{subject.name} cannot be judged on a tenth of the training data: {why}. Cuts are chosen on "
        f"{len(parts.validation)} evaluation samples, and the final figures use the other {len(parts.evaluation)}"
    )


@dataclass(frozen=True)
class Verdict:
    """What a compression lost on samples that chose nothing."""

    before: Accuracy
    after: Accuracy
    lost: MeanInterval  # on the same samples
    unmet: tuple[str, ...] = ()  # that more was lost than may be, beyond chance
    notes: tuple[str, ...] = ()  # likewise, within chance


def verdict(before: Correct, after: Correct, budget: Budget, reference: float | None) -> Verdict:
    """Return what was lost between two networks' answers [n] to the same samples, and whether that breaks *budget*.

    Args:
        before: which answers of the original are right.
        after: which of the result are.
        budget: the goals, among them the accuracy that may be lost.
        reference: the accuracy that the user counts the drop from; None: the original's on these samples.
    """
    first, last, lost = counted(before), counted(after), accuracy_lost(before, after)
    drop = lost
    if reference is not None:
        drop = MeanInterval(reference - last.top1, reference - last.interval[1], reference - last.interval[0])
    sentence = (
        f"on the {last.n} evaluation samples not used for choosing the accuracy is {100 * drop.mean:.2f} points lower "
        f"(95 %: {100 * drop.low:.2f} to {100 * drop.high:.2f}); the goal allows {100 * (budget.max_drop or 0):g}"
    )
    unmet = () if budget.allows(drop.low) else (sentence,)
    notes = () if unmet or budget.allows(drop.mean) else (f"{sentence}; the difference may be chance",)
    return Verdict(first, last, lost, unmet, notes)
