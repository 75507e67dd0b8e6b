"""Run a file or a network over samples: what is right of each batch beside what came out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.inputs import InputPlan, real_outputs
from edgecnn.normalization import Normalization, preprocess
from edgecnn.samples import Batch, Samples
from edgecnn.targets import Target
from edgecnn.targets.execute import run_file
from edgecnn.tasks.task import Outputs

if TYPE_CHECKING:
    from edgecnn.nets.network import Network


@dataclass(frozen=True)
class Answered:
    """A batch of n samples and the outputs [n, ...] that it got, float32, channels first."""

    batch: Batch
    outputs: Outputs
    normalization: Normalization | None

    @property
    def inputs(self) -> npt.NDArray[np.float32]:
        """The samples as the network sees them, [n, C, H, W]."""
        return preprocess(self.batch.x, self.normalization)


def run_artifact(
    artifact: Artifact,
    samples: Samples,
    plan: InputPlan,
    *,
    runtime: str | None = None,
    threads: int = 1,
    target: Target | None = None,
) -> Iterator[Answered]:
    """Yield the answers of *artifact*, batch by batch.

    Raises:
        EdgecnnError: outputs that are not finite (which, of which file), or the runtime failed.
    """
    waiting: deque[Batch] = deque()  # sent and not yet answered

    def packs() -> Iterator[list[npt.NDArray[Any]]]:
        for batch in samples:
            waiting.append(batch)
            yield plan.prepare(batch.x)

    for raw in run_file(artifact, packs(), runtime=runtime, threads=threads, target=target):
        outputs = real_outputs(artifact, raw)
        check_finite(outputs, artifact.path.name)
        yield Answered(waiting.popleft(), outputs, plan.normalization)


def run_network(network: Network, samples: Samples, normalization: Normalization | None) -> Iterator[Answered]:
    """Yield the answers of *network*, run in torch, batch by batch.

    Raises:
        EdgecnnError: it does not take the samples, outputs that are not finite, or that differ in number or size.
    """
    sizes: list[tuple[int, ...]] | None = None  # of each output, without the axis of samples
    for batch in samples:
        x = np.ascontiguousarray(preprocess(batch.x, normalization))
        if sizes is None:
            network = network.in_fastest_layout(x[:2])
            sizes = _sizes(network.outputs(x[:1]), 1, None, network.name)
            _sizes(network.outputs(x[-1:]), 1, sizes, network.name)
        outputs = network.outputs(x)
        _sizes(outputs, len(x), sizes, network.name)
        check_finite(outputs, network.name)
        yield Answered(batch, outputs, normalization)


def _sizes(outputs: Outputs, n: int, known: list[tuple[int, ...]] | None, name: str) -> list[tuple[int, ...]]:
    """Return the sizes of the *outputs* for *n* samples, which are those *known* from others.

    Raises:
        EdgecnnError: they are not.
    """
    found = [one.shape[1:] for one in outputs]
    if all(one.shape[:1] == (n,) for one in outputs) and known in (None, found):
        return found
    given = ", ".join(str(list(one.shape)) for one in outputs) or "no outputs"
    expected = "" if known is None else f", not {', '.join(str([n, *size]) for size in known) or 'none'} as for others"
    raise EdgecnnError(
        f"{name} gives {given} for {n} sample{'' if n == 1 else 's'}{expected}: outputs are [samples, ...], of the "
        "same number and sizes whatever the values are; return whole tensors, and choose from them (by NMS, a "
        "threshold, nonzero) in the application"
    )


def check_finite(outputs: Outputs, name: str) -> None:
    """Raise EdgecnnError where an output of *name* holds NaN or infinity."""
    for index, output in enumerate(outputs):
        bad = output.size - int(np.isfinite(output).sum())
        if bad:
            raise EdgecnnError(
                f"{name}: output {index} holds {bad} values of {output.size} that are NaN or infinite; "
                "check the weights and the normalization of the inputs"
            )
