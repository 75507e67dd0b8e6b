"""Who teaches a network that is compressed: the original, or others in its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import Network, build
from edgecnn.normalization import ready
from edgecnn.pipeline.subject import Subject


class Ensemble(nn.Module):
    """Networks for the same inputs as one: the mean of their scores."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs [N, ...] to scores [N, classes]."""
        return torch.stack([member(x).float() for member in self.members]).mean(0)


def load_teachers(models: Sequence[str | Network], subject: Subject) -> tuple[Network, ...]:
    """Return the networks that *models* name, seen to fit the network and the data of *subject*.

    Raises:
        EdgecnnError: one of them is not there, expects other inputs, or gives other scores.
    """
    assert subject.network is not None
    x = np.ascontiguousarray(ready(next(iter(subject.data.training.take(1))).x, subject.normalization))
    expected = subject.network.outputs(x)[0].shape[1:]
    teachers = []
    for model in models:
        classes = expected[0] if len(expected) == 1 else None
        teacher = build(model, classes=classes, channels=subject.shape[0]) if isinstance(model, str) else model
        if teacher.normalization not in (None, subject.normalization):
            raise EdgecnnError(
                f"teacher {teacher.name} expects inputs by {teacher.normalization}, {subject.name} by "
                f"{subject.normalization}; one that expects the same can teach it"
            )
        given = teacher.outputs(x)[0].shape[1:]
        if given != expected:
            raise EdgecnnError(
                f"teacher {teacher.name} gives scores of shape {list(given)}, {subject.name} {list(expected)}; "
                "use one that was trained on the same data"
            )
        teachers.append(teacher)
    return tuple(teachers)


def taught_by(teachers: Sequence[Network], original: Network) -> nn.Module:
    """Return what gives the scores to learn: the *original*'s own where there is no other teacher."""
    modules = [teacher.module.eval() for teacher in teachers] or [original.module]
    return modules[0] if len(modules) == 1 else Ensemble(modules)


def described(teachers: Sequence[Network]) -> tuple[str, ...]:
    """Return each teacher's name and the digest of its weights, as a plan has them."""
    return tuple(f"{teacher.name} sha256:{teacher.weights_sha256()}" for teacher in teachers)
