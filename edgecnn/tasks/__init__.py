"""What a right answer is: classification, segmentation, detection, regression and others, each one file."""

from __future__ import annotations

from typing import Any

from edgecnn.errors import EdgecnnError
from edgecnn.tables import Table
from edgecnn.tasks.task import TargetFacts, Task

#: Name → a `Task`, or a function `(facts: TargetFacts) -> Task`.
TASKS = Table(
    "task",
    {
        "classification": "edgecnn.tasks.classification:classification",
        "multilabel": "edgecnn.tasks.multilabel:multilabel",
        "regression": "edgecnn.tasks.regression:regression",
        "reconstruction": "edgecnn.tasks.reconstruction:reconstruction",
        "segmentation": "edgecnn.tasks.segmentation:SEGMENTATION",
        "detection": "edgecnn.tasks.detection:DETECTION",
        "embedding": "edgecnn.tasks.embedding:embedding",
        "none": "edgecnn.tasks.none:none",
    },
    takes_own=True,
)


def load_task(name: str, facts: TargetFacts | None = None, metric: str | None = None) -> Task:
    """Return a task.

    Args:
        name: a name in `TASKS`, or `package.module:attribute` or `FILE.py:attribute` of your own: a `Task`, or a
            function that takes `TargetFacts` and returns one.
        facts: what the data say of their targets; None: nothing.
        metric: which of the task's metrics drops, limits and comparisons are about; None: the first.

    Raises:
        EdgecnnError: no such task or metric, or a task of your own that is none.

    Example:
        >>> edgecnn.load_task("classification").metrics[0].name
        'accuracy'
    """
    found: Any = TASKS.load(name)
    task = found if isinstance(found, Task) or not callable(found) else found(facts or TargetFacts())
    if not isinstance(task, Task):
        raise EdgecnnError(f"task '{name}' gives a {type(task).__name__}, not an edgecnn.Task")
    return task if metric is None else task.judged_first_by(metric)
