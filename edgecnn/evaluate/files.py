"""The scores of an exported file, in its own runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgecnn.artifact import Artifact
from edgecnn.datasets import Dataset
from edgecnn.evaluate.choice import TaskChoice, choose, size_of_input
from edgecnn.evaluate.inputs import plan_for
from edgecnn.evaluate.run import run_artifact
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress, silent
from edgecnn.short_repr import short_repr
from edgecnn.targets import Target
from edgecnn.tasks.score import ACCURACY, Score
from edgecnn.units import format_score


@dataclass(frozen=True)
class Evaluation:
    """The scores of a file, the task's first one first, and what had to be assumed to take them."""

    __repr__ = short_repr

    scores: tuple[Score, ...] = ()  # none where nothing says what is right
    assumptions: tuple[str, ...] = ()

    @property
    def score(self) -> Score | None:
        """The score that comparisons are about."""
        return self.scores[0] if self.scores else None

    @property
    def confusion(self) -> Mapping[tuple[int, int], int]:
        """(true class, class that the file gave) → samples: the entries of the confusion matrix that are not 0."""
        accuracy = next((score for score in self.scores if score.name == ACCURACY), None)
        found = accuracy.details.get("confusion", ()) if accuracy is not None else ()
        return {(true, given): count for true, given, count in found}


def evaluate(
    artifact: Artifact,
    data: Dataset,
    *,
    task: TaskChoice | str | None = None,
    normalization: Normalization | str | None = None,
    runtime: str | None = None,
    threads: int = 1,
    target: Target | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Return the scores of *artifact* on the evaluation samples of *data*.

    Args:
        artifact: the file.
        data: with targets; without any there is no score.
        task: what the network does; None: as the file records, else as the data say.
        normalization: how pixels become its input; None: as the file says, or can be told from it, or as the data say.
        runtime: which runtime; None: the usual one of the format.
        threads: for the runtime.
        target: where it runs; None: here.
        progress: told how many samples are done.

    Raises:
        EdgecnnError: data or a task that do not fit the file, outputs that are not finite, or its runtime failed.
    """
    samples, name = data.evaluation, artifact.path.name
    plan = plan_for(artifact, samples, normalization, data.normalization)
    recorded, remarks = TaskChoice.recorded(artifact.metadata, name, task)
    choice = choose(task, recorded, data)
    judge = choice.judge(data.facts, size_of_input(data.shape))
    remarks = (*plan.assumptions, *remarks)
    if not judge.task.metrics or (samples.labels is None and judge.task.needs_targets):
        return Evaluation((), (*remarks, *data.assumptions))
    answers = run_artifact(artifact, samples, plan, runtime=runtime, threads=threads, target=target)
    step = f"judging {name}"
    verdict = judge.judge(answers, name, step=step, total=len(samples), progress=progress)
    told = [text for score in verdict.scores for text in background_told(name, score)]
    return Evaluation(verdict.scores, (*remarks, *told, *data.assumptions))


def background_told(name: str, score: Score) -> Iterator[str]:
    """Say where a file has more outputs than the data have classes, and what was made of it."""
    outputs, classes = score.details.get("outputs"), score.details.get("classes")
    if outputs is None:
        return
    if score.details.get("class_offset"):
        yield (
            f"{name} has {outputs} outputs for {classes} classes: the first is treated as a background class and "
            f"ignored (with it {100 * score.details['with_background']:.2f} % would be right)"
        )
    else:
        yield f"{name} has {outputs} outputs for {classes} classes: output 0 is treated as the first class, and so on"


def chance_warning(who: str, score: Score | None) -> tuple[str, ...]:
    """Return the sentence on a *score* of *who* that guessing would give as well; nothing where it is better."""
    if score is None or not score.is_chance:
        return ()
    if score.name == ACCURACY:
        return (
            f"{who} is right in {100 * score.value:.1f} % of {score.n} samples, no better than chance among "
            f"{score.details['classes']} classes: check its weights, --normalize, --resize and the order of the "
            "classes",
        )
    return (
        f"{who} has {score.name} {format_score(score.value)} on {score.n} samples, no better than guessing "
        f"({format_score(score.details['chance'])}): check its weights and --normalize",
    )
