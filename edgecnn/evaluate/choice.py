"""`TaskChoice`: what is said of a network's task, by its user, by the network or file itself, or by the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

from edgecnn.datasets import Dataset
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.judge import Judge
from edgecnn.parsing import convert
from edgecnn.short_repr import short_repr
from edgecnn.tasks import TASKS, load_task
from edgecnn.tasks.own import as_metric
from edgecnn.tasks.task import Metric, TargetFacts, Task

if TYPE_CHECKING:
    from edgecnn.tasks.decoders import Decoder


class _Recorded(TypedDict, total=False):
    """The keys of a choice in the metadata of a file."""

    task: str | None
    metric: str | None
    decode: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class TaskChoice:
    """What a network is judged as; None: not said, so the network, the file or the data decide.

    Example:
        >>> edgecnn.TaskChoice(task="regression", metric="MAE")
        TaskChoice(task='regression', metric='MAE')
    """

    __repr__ = short_repr

    task: str | None = None  # a name in `TASKS`, or `package.module:function` or `FILE.py:function` of your own
    #: The name of one of the task's metrics, `package.module:attribute` or `FILE.py:attribute` of your own, or the
    #: function, class or `Metric` itself.
    metric: str | Callable[..., Any] | Metric | None = None
    #: What makes of raw outputs what the metrics take: a name in `DECODERS`, code of your own, or what a file records.
    decode: str | Mapping[str, Any] | Callable[..., Any] | None = None

    @classmethod
    def of(cls, given: TaskChoice | str | None) -> TaskChoice:
        """Return a choice; a text is the name of its task."""
        return given if isinstance(given, TaskChoice) else cls(task=given)

    def over(self, other: TaskChoice) -> TaskChoice:
        """Return this choice, and *other* where it says nothing."""
        return TaskChoice(
            task=self.task if self.task is not None else other.task,
            metric=self.metric if self.metric is not None else other.metric,
            decode=self.decode if self.decode is not None else other.decode,
        )

    @classmethod
    def recorded(
        cls, metadata: Mapping[str, Any], where: str, given: TaskChoice | str | None = None
    ) -> tuple[TaskChoice, tuple[str, ...]]:
        """Return what a file at *where* records, and a sentence for each thing that a file may not choose: own code.

        What the user has *given* takes its place, and needs no sentence.

        Raises:
            EdgecnnError: a key is of the wrong type.
        """
        table = convert(_Recorded, {key: metadata.get(key) for key in ("task", "metric", "decode")}, where)
        task, metric, decode = table.get("task"), table.get("metric"), table.get("decode")
        own: dict[str, str] = {}
        if task is not None and task not in TASKS.rows:
            own["task"], task = task, None
        if metric is not None and ":" in metric:
            own["metric"], metric = metric, None
        if decode is not None and ":" in str(decode.get("decoder")):
            own["decode"], decode = str(decode.get("decoder")), None
        chosen = cls.of(given)
        remarks = [_not_run(where, what, name) for what, name in own.items() if getattr(chosen, what) is None]
        return cls(task=task, metric=metric, decode=decode), tuple(remarks)

    def to_json(self, size: tuple[int, int] | None = None) -> dict[str, Any]:
        """Return `{task, metric, decode}` for the metadata of a file; *size* is the height and width of the input."""
        decoder = self._decoder(size)
        if decoder is None:
            recorded = None
        else:
            from edgecnn.tasks.decoders import decoder_to_json

            recorded = decoder_to_json(decoder)
        metric = self.metric
        if metric is not None and not isinstance(metric, str):
            metric = f"{getattr(metric, '__module__', '')}:{getattr(metric, '__qualname__', type(metric).__name__)}"
        return {"task": self.task, "metric": metric, "decode": recorded}

    def judge(self, facts: TargetFacts, size: tuple[int, int] | None = None) -> Judge:
        """Return what judges by this choice; *facts* are the data's, *size* the height and width of the input.

        Raises:
            EdgecnnError: no such task, metric or decoder.
        """
        metric = self.metric
        if self.task is None and metric is not None:
            if isinstance(metric, str) and ":" not in metric:
                raise EdgecnnError(f"--metric {metric} is a metric of a task: add --task NAME, or name one of your own")
            own = Task("own metric", "what the metric takes", (_own(metric),))
            return Judge(own, self._decoder(size))
        name = self.task or "none"
        if metric is None or (isinstance(metric, str) and ":" not in metric):
            return Judge(load_task(name, facts, metric), self._decoder(size))
        task = load_task(name, facts)
        return Judge(replace(task, metrics=(_own(metric), *task.metrics)), self._decoder(size))

    def _decoder(self, size: tuple[int, int] | None) -> Decoder | None:
        if self.decode is None:
            return None
        from edgecnn.tasks.decoders import decoder_from_json, open_decoder

        if isinstance(self.decode, Mapping):
            return decoder_from_json(dict(self.decode), "the decoder in the metadata", size)
        return open_decoder(self.decode, size)


def _own(metric: str | Callable[..., Any] | Metric) -> Any:
    from edgecnn.tasks.own import own_metric

    return own_metric(metric) if isinstance(metric, str) else as_metric(metric)


def _not_run(where: str, what: str, name: str) -> str:
    return f"{where} was judged by {name}, which is not edgecnn's code; if you trust it, add --{what} {name}"


def choose(given: TaskChoice | str | None, recorded: TaskChoice, data: Dataset | None) -> TaskChoice:
    """Return who decides: what the user *gave*, else what the network or file *recorded*, else what the data say.

    Example:
        >>> choose(None, TaskChoice(task="reconstruction"), None).task
        'reconstruction'
    """
    of_data = TaskChoice(task=data.task if data is not None else None)
    return TaskChoice.of(given).over(recorded).over(of_data)


def size_of_input(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the height and width of a sample of *shape* (C, H, W); None where it is no image."""
    return (shape[1], shape[2]) if len(shape) == 3 else None
