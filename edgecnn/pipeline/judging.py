"""What a compression is judged by: samples that its network does not know, and at the end others that chose nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgecnn.compress.objective import Objective
from edgecnn.compress.sensitivity import MeanInterval
from edgecnn.datasets import Dataset
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.judge import Judge
from edgecnn.evaluate.run import run_network
from edgecnn.nets.network import Network
from edgecnn.pipeline.budget import Budget
from edgecnn.pipeline.plan import EVALUATION, TRAINING
from edgecnn.pipeline.subject import Subject
from edgecnn.progress import Progress, silent, with_prefix
from edgecnn.samples import Samples
from edgecnn.tasks.score import Score
from edgecnn.tasks.task import ORIGINAL, Metric, Records, drop_between, judged_by, score_of

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
    answers: tuple[tuple[Samples, Records], ...] = ()  # of the original, as far as they are known

    def records(self, samples: Samples) -> Records | None:
        """Return the metric's records of the original's answers to *samples*, [n, ...]; None where it was not asked."""
        for asked, records in self.answers:
            if asked.images is samples.images and np.isin(samples.indices, asked.indices).all():
                order = np.argsort(asked.indices)
                return records[order[np.searchsorted(asked.indices, samples.indices, sorter=order)]]
        return None


def objective_of(subject: Subject) -> Objective:
    """Return what *subject* is trained for and judged by.

    Raises:
        EdgecnnError: its targets are no numbers where its task needs some.
    """
    samples, task = subject.data.training, subject.judge.task
    targets = samples.labels
    if targets is not None and task.name == "regression":
        targets = targets[samples.indices]
    return Objective.of(task, subject.judge.decode, targets)


def records_of(
    subject: Subject, network: Network, samples: Samples, metric: Metric, progress: Progress = silent
) -> Records:
    """Return what *metric* makes of the answers of *network* to *samples*, [n, ...].

    Raises:
        EdgecnnError: answers that do not suit the metric, or are not finite.
    """
    assert subject.network is not None
    original = subject.network
    needs_original = judged_by(metric) == ORIGINAL and network is not original
    reference = run_network(original, samples, subject.normalization) if needs_original else None
    judge = Judge(replace(subject.judge.task, metrics=(metric,), answers=None), subject.judge.decode)
    found = judge.judge(
        run_network(network, samples, subject.normalization),
        f"network {network.name}",
        originals=None if reference is None else (answered.outputs for answered in reference),
        is_original=network is original,
        step="judging",
        total=len(samples),
        progress=progress,
    )
    return found.records[metric.name]


def choose_validation(
    subject: Subject, metric: Metric, progress: Progress = silent, most: int | None = None
) -> Validation:
    """Return which samples the cuts of *subject* are to be chosen by.

    A tenth of the training part, unless the network was trained on it: published networks have seen all of the training
    part. Then it is far more often right there than on the evaluation part, and would seem to lose more by each cut
    than it does. Half of the evaluation part takes its place, and the final figures are of the other half.

    Args:
        subject: a network and data.
        metric: what it is judged by.
        progress: called with the step, what is done and the total.
        most: samples of each part to ask the network about; None: all.

    Raises:
        EdgecnnError: answers that do not suit the metric.
    """
    before = chosen_before(subject)
    if before is not None:
        return before
    usual = Parts.of(subject.data, SHARES[TRAINING], TRAINING)
    assert usual.validation is not None
    assert subject.network is not None
    answers = []
    for name, samples in (("validation", usual.validation.take(most)), ("evaluation", usual.evaluation.take(most))):
        tell = with_prefix(progress, f"the network on the {name} part")
        answers.append((samples, records_of(subject, subject.network, samples, metric, tell)))
    known, unseen = (score_of(metric, records) for _, records in answers)
    if not is_better(known, unseen):
        return Validation(TRAINING, SHARES[TRAINING], answers=tuple(answers))
    why = (
        f"its {known.name} is {known.text} on the validation samples, and {unseen.text} on the evaluation part: it was "
        "trained on them"
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


def is_better(a: Score, b: Score) -> bool:
    """Return whether score *a* is better than *b*, of other samples, by more than chance.

    The 95 % interval of the difference of two shares is Newcombe's (1998, method 10,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I).

    Example:
        >>> from edgecnn.tasks.score import share
        >>> is_better(share("accuracy", 4989, 5000), share("accuracy", 9173, 10000))
        True
    """
    if not a.higher_is_better:
        return b.value - a.value > math.hypot(a.high - a.value, b.value - b.low)
    return a.value - b.value > math.hypot(a.value - a.low, b.high - b.value)


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

    before: Score
    after: Score
    lost: MeanInterval  # on the same samples
    unmet: tuple[str, ...] = ()  # that more was lost than may be, beyond chance
    notes: tuple[str, ...] = ()  # likewise, within chance

    @property
    def n(self) -> int:
        """How many samples there were."""
        return self.after.n


def verdict(metric: Metric, before: Records, after: Records, budget: Budget) -> Verdict:
    """Return what was lost between two networks' answers to the same samples, and whether that breaks *budget*.

    Args:
        metric: what they are judged by.
        before: its records of the original's answers, [n, ...].
        after: those of the result's; the same object where the result is the original.
        budget: the goals, among them the score that may be lost, and the score that the user counts the drop from;
            without one it is the original's on these samples.
    """
    first, last = score_of(metric, before), score_of(metric, after)
    # Of a network that is as it was nothing is lost for certain; an interval would be that of two networks.
    drop = lost = MeanInterval(0.0, 0.0, 0.0) if after is before else MeanInterval(*drop_between(metric, before, after))
    if budget.reference is not None:
        best, worst = sorted((last.low, last.high), reverse=last.higher_is_better)
        drops = [replace(last, value=end).drop_from(budget.reference) for end in (last.value, best, worst)]
        drop = MeanInterval(*drops)
    sentence = (
        f"on the {last.n} evaluation samples not used for choosing the {last.name} is {100 * drop.mean:.2f} points "
        f"lower (95 %: {100 * drop.low:.2f} to {100 * drop.high:.2f}); the goal allows {100 * (budget.max_drop or 0):g}"
    )
    unmet = () if budget.allows(drop.low) else (sentence,)
    notes: tuple[str, ...] = ()
    if not unmet and not budget.allows(drop.mean):
        notes = (f"{sentence}; the difference may be chance",)
    elif not unmet and not budget.allows(drop.high):
        notes = (
            f"{last.n} evaluation samples are few: up to {100 * drop.high:.2f} points of {last.name} may be lost "
            f"(95 %), and the goal allows {100 * (budget.max_drop or 0):g}",
        )
    return Verdict(first, last, lost, unmet, notes)
