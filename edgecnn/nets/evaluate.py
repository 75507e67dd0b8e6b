"""What a network answers in torch itself, and how many of its answers are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Accuracy
from edgecnn.nets.layout import channels_last
from edgecnn.nets.network import Network
from edgecnn.normalization import Normalization, preprocess
from edgecnn.progress import Progress, silent
from edgecnn.samples import Samples

Correct = npt.NDArray[np.bool_]


def accuracy_of(network: Network, samples: Samples, normalization: Normalization | None) -> Accuracy:
    """Return the top-1 accuracy of *network* on labelled *samples*.

    Raises:
        EdgecnnError: as `correct_of`.
    """
    return counted(correct_of(network, samples, normalization))


def counted(correct: Correct) -> Accuracy:
    """Return the accuracy of answers [n] that are *correct* or not."""
    return Accuracy(int(correct.sum()), len(correct))


def correct_of(
    network: Network, samples: Samples, normalization: Normalization | None, progress: Progress = silent
) -> Correct:
    """Return which answers of *network* are right, [n], for labelled *samples* in their order.

    Raises:
        EdgecnnError: no labels, or a network that gives no class scores or some that are not finite.
    """
    found: list[Correct] = []
    for batch in samples:
        x = preprocess(batch.x, normalization)
        if not found and not network.is_lazy:
            first = torch.from_numpy(np.ascontiguousarray(x[:2]))
            network = replace(network, module=channels_last(network.module, first))
        scores = network.outputs(x)[0]
        if batch.y is None or scores.ndim != 2:
            raise EdgecnnError("an accuracy needs labelled samples and a network that gives class scores")
        if not np.isfinite(scores).all():
            raise EdgecnnError(f"network {network.name} gives scores that are NaN or infinite; check its weights")
        found.append(scores.argmax(axis=1) == batch.y)
        progress("judging", sum(map(len, found)), len(samples))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.bool_)
