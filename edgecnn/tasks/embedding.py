"""Embeddings: vectors whose directions say what is alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.classification import class_numbers, share_lost
from edgecnn.tasks.score import interval_of_share
from edgecnn.tasks.task import ORIGINAL, Outputs, Records, TargetFacts, Task

_AT_ONCE = 1024  # samples compared with all others at a time


def embedding(facts: TargetFacts) -> Task:
    """Return the task of giving vectors.

    Example:
        >>> [metric.name for metric in embedding(TargetFacts()).metrics]
        ['cosine', 'retrieval top-1']
    """
    return Task("embedding", "a class number, for the retrieval alone", (Cosine(), Retrieval()))


def directions(outputs: Outputs) -> npt.NDArray[np.float64]:
    """Return the first output as vectors of length 1, float64 [n, d]; vectors of length 0 stay as they are."""
    vectors = np.asarray(outputs[0], np.float64).reshape(len(outputs[0]), -1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))


@dataclass(frozen=True)
class Cosine:
    """The mean cosine between a vector and that of the original network for the same sample."""

    name: str = "cosine"
    higher_is_better: bool = True
    judged_by: str = ORIGINAL

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return the cosine of each sample, float64 [n]."""
        own, original = directions(outputs), directions(targets)
        if own.shape != original.shape:
            raise EdgecnnError(f"embedding: vectors of {own.shape[1]} values, the original's have {original.shape[1]}")
        return np.asarray((own * original).sum(axis=1))

    def value(self, records: Records) -> float:
        """Return the mean."""
        return float(records.mean())


@dataclass(frozen=True)
class Retrieval:
    """The share of samples whose nearest other sample, by the cosine, is of the same class."""

    name: str = "retrieval top-1"
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return the direction and the class of each sample, float64 [n, d + 1]."""
        return np.column_stack([directions(outputs), class_numbers(targets)])

    def hits(self, records: Records) -> npt.NDArray[np.bool_]:
        """Return whether the nearest other sample of each is of its class, [n]."""
        vectors, classes = records[:, :-1], records[:, -1]
        nearest = []
        for start in range(0, len(vectors), _AT_ONCE):
            cosines = vectors[start : start + _AT_ONCE] @ vectors.T
            rows = np.arange(len(cosines))
            cosines[rows, rows + start] = -np.inf
            nearest.append(cosines.argmax(axis=1))
        return np.asarray(classes[np.concatenate(nearest)] == classes)

    def value(self, records: Records) -> float:
        """Return the share."""
        return float(self.hits(records).mean())

    def interval(self, records: Records) -> tuple[float, float]:
        """Return the Wilson interval; a bootstrap would find each sample beside itself."""
        hits = self.hits(records)
        return interval_of_share(int(hits.sum()), len(hits))

    def lost(self, before: Records, after: Records) -> tuple[float, float, float]:
        """Return the share lost between two networks on the same samples."""
        return share_lost(self.hits(before), self.hits(after))
