"""The one loop that judges: metrics and parity are fed side by side, from one run over the samples."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.parity import Parity, ParityTally
from edgecnn.evaluate.run import Answered
from edgecnn.progress import Progress, silent
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import Score
from edgecnn.tasks.task import INPUT, ORIGINAL, TARGETS, Metric, Outputs, Records, Task, judged_by, score_of

#: Turns raw outputs into what the task's metrics take.
Decode = Callable[[Outputs], Any]


@dataclass(frozen=True)
class Judgement:
    """How one run over samples was judged."""

    __repr__ = short_repr

    scores: tuple[Score, ...]  # the task's first metric comes first; none where nothing says what is right
    parity: Parity | None  # None: there was no original to compare with
    n: int
    records: Mapping[str, Records] = field(default_factory=dict)  # metric → its record of each sample, [n, ...]
    no_score: str | None = None  # why there is none


@dataclass(frozen=True)
class Judge:
    """A task, and how raw outputs become what its metrics take.

    Example:
        >>> from edgecnn.tasks import load_task
        >>> from edgecnn.samples import Batch
        >>> outputs = np.array([[0.9, 0.1], [0.8, 0.2]])
        >>> answered = Answered(Batch(np.zeros((2, 4)), np.array([0, 1])), [outputs], None)
        >>> Judge(load_task("classification")).judge([answered], "net").scores[0].value
        0.5
    """

    task: Task
    decode: Decode | None = None

    def judge(
        self,
        answers: Iterable[Answered],
        name: str,
        *,
        originals: Iterable[Outputs] | None = None,
        is_original: bool = False,
        centred: bool = True,
        step: str | None = None,
        total: int | None = None,
        progress: Progress = silent,
    ) -> Judgement:
        """Return what the task's metrics make of *answers*, and how close they are to *originals*.

        Args:
            answers: of a file or a network, batch by batch.
            name: of it, in errors.
            originals: the outputs of the original network for the same batches; None: no parity.
            is_original: the answers are the original's own; metrics that compare with it are given them.
            centred: as for `ParityTally`.
            step: what the progress calls it; None: *name*.
            total: samples there are, for the progress.
            progress: told how many are done.

        Raises:
            EdgecnnError: outputs or targets that do not suit the task; *name* says of what.
        """
        parity = None if originals is None else ParityTally(centred, self._same)
        taken: list[_Taking] | None = None
        done = 0
        with _ended(answers):
            for answered, original in _pairs(answers, originals):
                if taken is None:
                    taken = self._takings(answered, has_original=original is not None or is_original)
                with _naming(name):
                    if parity is not None and original is not None:
                        parity.add(original, answered.outputs)
                    self._add(taken, answered, original)
                done += len(answered.batch.x)
                progress(step or name, done, total)
        found = parity.parity if parity is not None else None
        with _naming(name):
            scores = tuple(_scores(taken or ()))
        records = {one.metric.name: one.records for one in taken or () if not one.failed}
        return Judgement(scores, found, done, records, self._no_score() if not scores else None)

    def check(self, answered: Answered, name: str) -> None:
        """See that some *answered* samples of the original network suit the task, before any work.

        Raises:
            EdgecnnError: they do not; *name* says of what.
        """
        with _naming(name):
            self._add(self._takings(answered, has_original=True), answered, None)

    def _takings(self, answered: Answered, *, has_original: bool) -> list[_Taking]:
        """Return what takes the records of each metric for which there is something to judge by."""
        has = {INPUT, *((TARGETS,) if answered.batch.y is not None else ()), *((ORIGINAL,) if has_original else ())}
        usable = [metric for metric in self.task.metrics if judged_by(metric) in has]
        return [_Taking(metric, must=not index) for index, metric in enumerate(usable)]

    def _add(self, taken: Sequence[_Taking], answered: Answered, original: Outputs | None) -> None:
        """Have each metric take a batch; None: the batch is the original's own."""
        if taken:
            own = self._decoded(answered.outputs)
            reference = own if original is None else self._decoded(original)
            for one in taken:
                one.add(own, answered, reference)

    def _no_score(self) -> str:
        if not self.task.metrics:
            return "nothing says what the network does; say it with --task, or name a metric of your own with --metric"
        return f"there are no targets ({self.task.targets} for each sample)"

    def _decoded(self, outputs: Outputs) -> Any:
        return outputs if self.decode is None else self.decode(outputs)

    @property
    def _same(self) -> Callable[[Outputs], Any] | None:
        """What of raw outputs is the same or not; a decoder's are boxes, which never are."""
        return self.task.answers if self.decode is None else None


@contextmanager
def _ended(answers: Iterable[Answered]) -> Iterator[None]:
    """End a run that is still going at once, with its process and its files, where an error cuts it off."""
    try:
        yield
    finally:
        if isinstance(answers, Generator):
            answers.close()


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Put *name* before the message of an error that is raised within."""
    try:
        yield
    except EdgecnnError as error:
        raise EdgecnnError(f"{name}: {error}") from error


@dataclass
class _Taking:
    """The records of one metric, batch by batch; where the metric is a further one, it may fail by itself."""

    metric: Metric
    must: bool
    batches: list[Records] = field(default_factory=list)
    failed: bool = False

    def add(self, outputs: Any, answered: Answered, original: Any) -> None:
        """Take the records of a batch.

        Raises:
            EdgecnnError: the metric must be taken, and the outputs or the targets do not suit it.
        """
        if self.failed:
            return
        kind = judged_by(self.metric)
        targets = {TARGETS: answered.batch.y, ORIGINAL: original}.get(kind)
        try:
            records = self.metric.record(outputs, answered.inputs if kind == INPUT else targets)
            if not isinstance(records, np.ndarray) or len(records) != len(answered.batch.x):
                raise EdgecnnError(
                    f"metric {self.metric.name} gives {np.shape(records)[:1]} records for {len(answered.batch.x)} "
                    "samples; `record` returns an array [n, ...]"
                )
        except EdgecnnError:
            if self.must:
                raise
            self.failed = True
            return
        self.batches.append(records)

    @property
    def records(self) -> Records:
        """All records, [n, ...]."""
        return np.concatenate(self.batches)


def _scores(taken: Sequence[_Taking]) -> Iterator[Score]:
    """Yield the score of each metric; a further one that comes to no figure is left out."""
    for one in taken:
        if one.failed or not one.batches:
            continue
        try:
            yield score_of(one.metric, one.records)
        except EdgecnnError:
            if one.must:
                raise


def _pairs(
    answers: Iterable[Answered], originals: Iterable[Outputs] | None
) -> Iterator[tuple[Answered, Outputs | None]]:
    if originals is None:
        return ((answered, None) for answered in answers)
    return zip(answers, originals, strict=True)
