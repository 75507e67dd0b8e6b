"""Top-1 accuracy of an exported file, in its own runtime; for two classes the area under the ROC curve as well."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.detection import detection
from edgecnn.benchmarks.execute import run_file
from edgecnn.benchmarks.inputs import InputPlan, class_scores, plan_input, real_outputs
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Accuracy
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress, silent
from edgecnn.samples import Samples
from edgecnn.targets import Target


@dataclass(frozen=True)
class Evaluation:
    """An accuracy (None where there are no labels or no class scores) and what had to be assumed to take it."""

    accuracy: Accuracy | None
    assumptions: tuple[str, ...] = ()


def evaluate(
    artifact: Artifact,
    samples: Samples,
    *,
    normalization: Normalization | None = None,
    of_data: Normalization | None = None,
    runtime: str | None = None,
    threads: int = 1,
    target: Target | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Return the top-1 accuracy of *artifact* on *samples*, and where it tells two classes apart, how well.

    Args:
        artifact: the file.
        samples: labelled samples; without labels the accuracy is None.
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
    correct = done = 0
    margins: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []  # of two classes: score of 1 over 0
    for labels, outputs in outputs_of(artifact, samples, plan, runtime=runtime, threads=threads, target=target):
        scores = class_scores(outputs)
        if scores is None:
            return Evaluation(None, (*plan.assumptions, "no class scores among the outputs: no accuracy"))
        correct += count_correct(scores, labels, artifact.path.name)
        done += len(labels)
        if scores.shape[1] == 2:
            # In double precision: beside a probability of nearly 1, small ones would all give the same.
            margins.append((scores[:, 1].astype(np.float64) - scores[:, 0], labels))
        progress(f"accuracy of {artifact.path.name}", done, len(samples))
    return Evaluation(Accuracy(correct, done, _auc(margins)), plan.assumptions)


def _auc(margins: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]) -> float | None:
    """Return the area under the ROC curve of *margins* with their labels; None without samples of both classes."""
    if not margins:
        return None
    scores, labels = (np.concatenate(part) for part in zip(*margins, strict=True))
    return detection(scores, labels).auc if set(np.unique(labels)) == {0, 1} else None


def plan_for(
    artifact: Artifact, samples: Samples, normalization: Normalization | None, of_data: Normalization | None
) -> InputPlan:
    """Return the `InputPlan` of *artifact* for *samples*."""
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
            f"{name} tells {scores.shape[1]} classes apart, the data has more (label {labels.max()}); "
            "use the data set it was trained on"
        )
    return int((scores.argmax(axis=1) == labels).sum())
