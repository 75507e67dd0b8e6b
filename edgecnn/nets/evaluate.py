"""The accuracy of a network in torch itself."""

from __future__ import annotations

import numpy as np

from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Accuracy
from edgecnn.nets.network import Network
from edgecnn.normalization import Normalization, ready
from edgecnn.samples import Samples


def accuracy_of(network: Network, samples: Samples, normalization: Normalization | None) -> Accuracy:
    """Return the top-1 accuracy of *network* on labelled *samples*.

    Raises:
        EdgecnnError: no labels, or a network that gives no class scores or some that are not finite.
    """
    correct = 0
    for batch in samples:
        scores = network.outputs(ready(batch.x, normalization))[0]
        if batch.y is None or scores.ndim != 2:
            raise EdgecnnError("an accuracy needs labelled samples and a network that gives class scores")
        if not np.isfinite(scores).all():
            raise EdgecnnError(f"network {network.name} gives scores that are NaN or infinite; check its weights")
        correct += int((scores.argmax(axis=1) == batch.y).sum())
    return Accuracy(correct, len(samples))
