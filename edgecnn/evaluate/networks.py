"""The scores of a network, run in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.judge import Judge
from edgecnn.evaluate.run import run_network
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples
from edgecnn.tasks import load_task
from edgecnn.tasks.score import Score
from edgecnn.tasks.task import Task

if TYPE_CHECKING:
    from edgecnn.nets.network import Network


def score_network(
    network: Network, samples: Samples, normalization: Normalization | None, task: Task | None = None
) -> Score:
    """Return the score of *network* on *samples*, by the first metric of *task*; None: classification.

    Raises:
        EdgecnnError: samples or outputs that do not suit the task.
    """
    judge = Judge(task or load_task("classification"))
    verdict = judge.judge(run_network(network, samples, normalization), f"network {network.name}", is_original=True)
    if not verdict.scores:
        raise EdgecnnError(f"network {network.name} cannot be judged: {verdict.no_score}")
    return verdict.scores[0]
