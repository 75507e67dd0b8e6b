"""Top-1 accuracy of an exported file, in its own runtime; for two classes the area under the ROC curve as well."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.datasets import Dataset
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.inputs import InputPlan, class_scores, plan_input, real_outputs
from edgecnn.measurement import Accuracy
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress, silent
from edgecnn.samples import Samples
from edgecnn.short_repr import short_repr
from edgecnn.targets import Target
from edgecnn.targets.execute import run_file
from edgecnn.tasks.roc import ranking


@dataclass(frozen=True)
class Evaluation:
    """An accuracy (None where there are no labels or no class scores) and what had to be assumed to take it."""

    __repr__ = short_repr

    accuracy: Accuracy | None = None
    assumptions: tuple[str, ...] = ()
    #: (true class, class that the file gave) → samples: the entries of the confusion matrix that are not 0.
    confusion: Mapping[tuple[int, int], int] = field(default_factory=dict)


def evaluate(
    artifact: Artifact,
    samples: Samples,
    *,
    normalization: Normalization | str | None = None,
    of_data: Normalization | None = None,
    classes: int | None = None,
    runtime: str | None = None,
    threads: int = 1,
    target: Target | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Return the top-1 accuracy of *artifact* on *samples*, and where it tells two classes apart, how well.

    A file with one output more than the data have classes may bear a background class first, as those of TF-Slim do:
    it is judged both ways, and taken to have one where that is right beyond the interval of the other.

    Args:
        artifact: the file.
        samples: labelled samples; without labels the accuracy is None.
        classes: how many the data have; None: as the file has.
        normalization: how pixels become its input; None: as the file says, or can be told from it.
        of_data: the data set's own normalization, assumed for a float file that says nothing.
        runtime: which runtime; None: the usual one of the format.
        threads: for the runtime.
        target: where it runs; None: here.
        progress: told how many samples are done.

    Raises:
        EdgecnnError: the data do not fit the file, its outputs are not finite, or its runtime failed.
    """
    plan = plan_for(artifact, samples, normalization, of_data)
    if samples.labels is None:
        return Evaluation(None, plan.assumptions)
    # With the outputs as they come, and with the first one left out:
    correct, confusions = [0, 0], (Counter[tuple[int, int]](), Counter[tuple[int, int]]())
    done = outputs_n = 0
    margins: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []  # of two classes: score of 1 over 0
    for labels, outputs in outputs_of(artifact, samples, plan, runtime=runtime, threads=threads, target=target):
        scores = class_scores(outputs)
        if scores is None:
            return Evaluation(None, (*plan.assumptions, f"no accuracy: {no_classifier(artifact.path.name, outputs)}"))
        outputs_n = scores.shape[1]
        for offset in (0, 1) if outputs_n - 1 == classes else (0,):
            correct[offset] += count_correct(scores[:, offset:], labels, artifact.path.name)
            given = scores[:, offset:].argmax(axis=1)
            confusions[offset].update(zip(labels.tolist(), given.tolist(), strict=True))
        done += len(labels)
        if outputs_n == 2:
            # In double precision: beside a probability of nearly 1, small ones would all give the same.
            margins.append((scores[:, 1].astype(np.float64) - scores[:, 0], labels))
        progress(f"accuracy of {artifact.path.name}", done, len(samples))
    plain = Accuracy(correct[0], done, _auc(margins), classes or outputs_n)
    shifted = replace(plain, correct=correct[1], class_offset=1)
    chosen = shifted if shifted.interval[0] > plain.top1 else plain
    remark = _classes_told(artifact.path.name, outputs_n, plain, chosen)
    return Evaluation(chosen, (*plan.assumptions, *remark), dict(confusions[chosen.class_offset]))


def evaluate_on(
    data: Dataset,
    artifact: Artifact,
    *,
    normalization: Normalization | str | None = None,
    runtime: str | None = None,
    threads: int = 1,
    target: Target | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Return what `evaluate` does on the evaluation samples of *data*, with its classes and its normalization.

    Raises:
        EdgecnnError: as `evaluate` does.
    """
    found = evaluate(
        artifact,
        data.evaluation,
        normalization=normalization,
        of_data=data.normalization,
        classes=len(data.labels) if data.labels else None,
        runtime=runtime,
        threads=threads,
        target=target,
        progress=progress,
    )
    return replace(found, assumptions=(*found.assumptions, *data.assumptions))


def _classes_told(name: str, outputs: int, plain: Accuracy, chosen: Accuracy) -> Iterator[str]:
    """Say where a file has more *outputs* than the data have classes, and what was made of it."""
    if chosen.class_offset:
        yield (
            f"{name} has {outputs} outputs for {chosen.classes} classes: the first is treated as a background class "
            f"and ignored (with it {100 * plain.top1:.2f} % would be right)"
        )
    elif chosen.classes is not None and outputs > chosen.classes:
        yield (
            f"{name} has {outputs} outputs for {chosen.classes} classes: output 0 is treated as the first class, and "
            f"so on"
        )


def chance_warning(who: str, accuracy: Accuracy | None) -> tuple[str, ...]:
    """Return the sentence on an *accuracy* of *who* that guessing would give as well; nothing where it is better."""
    if accuracy is None or not accuracy.is_chance:
        return ()
    return (
        f"{who} is right in {100 * accuracy.top1:.1f} % of {accuracy.n} samples, no better than chance among "
        f"{accuracy.classes} classes: check its weights, --normalize, --resize and the order of the classes",
    )


def no_classifier(who: str, outputs: list[npt.NDArray[np.float32]]) -> str:
    """Return the sentence on *who*, whose *outputs* [n, ...] are not one score a class."""
    shape = " x ".join(map(str, outputs[0].shape[1:])) or "1"
    count = "value" if shape == "1" else "values"
    return f"{who} gives {shape} {count} a sample, not one score for each class; only classifiers have an accuracy"


def _auc(margins: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]) -> float | None:
    """Return the area under the ROC curve of *margins* with their labels; None without samples of both classes."""
    if not margins:
        return None
    scores, labels = (np.concatenate(part) for part in zip(*margins, strict=True))
    return ranking(scores, labels).auc if set(np.unique(labels)) == {0, 1} else None


def plan_for(
    artifact: Artifact, samples: Samples, normalization: Normalization | str | None, of_data: Normalization | None
) -> InputPlan:
    """Return the `InputPlan` of *artifact* for *samples*; *normalization* may be text that `parse` reads."""
    normalization = Normalization.of(normalization)
    is_pixels = samples.images[samples.indices[:1]].dtype == np.uint8
    return plan_input(artifact, samples.shape, is_pixels, normalization=normalization, of_data=of_data)


def outputs_of(
    artifact: Artifact,
    samples: Samples,
    plan: InputPlan,
    *,
    runtime: str | None = None,
    threads: int = 1,
    target: Target | None = None,
) -> Iterator[tuple[npt.NDArray[np.int64], list[npt.NDArray[np.float32]]]]:
    """Yield the labels [n] (-1 where there are none) and real outputs of *artifact*, batch by batch.

    Raises:
        EdgecnnError: outputs that are not finite (which, of which file), or the runtime failed.
    """
    waiting: deque[npt.NDArray[np.int64]] = deque()  # the labels of batches sent and not yet answered

    def packs() -> Iterator[list[npt.NDArray[Any]]]:
        for batch in samples:
            waiting.append(np.full(len(batch.x), -1) if batch.y is None else batch.y)
            yield [plan.prepare(batch.x)]

    for raw in run_file(artifact, packs(), runtime=runtime, threads=threads, target=target):
        outputs = real_outputs(artifact, raw)
        check_finite(outputs, artifact.path.name)
        yield waiting.popleft(), outputs


def check_finite(outputs: list[npt.NDArray[Any]], name: str) -> None:
    """Raise EdgecnnError where an output of *name* holds NaN or infinity."""
    for index, output in enumerate(outputs):
        bad = output.size - int(np.isfinite(output).sum())
        if bad:
            raise EdgecnnError(
                f"{name}: output {index} holds {bad} values of {output.size} that are NaN or infinite; "
                "check the weights and the normalization of the inputs"
            )


def count_correct(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], name: str) -> int:
    """Return how many of the highest *scores* [n, classes] are at *labels* [n].

    Raises:
        EdgecnnError: a label outside the classes.
    """
    if labels.max() >= scores.shape[1]:
        raise EdgecnnError(
            f"{name} distinguishes {scores.shape[1]} classes, but the data has more (label {labels.max()}); "
            "use the data set it was trained on"
        )
    return int((scores.argmax(axis=1) == labels).sum())
