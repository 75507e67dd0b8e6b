"""Who teaches a network that is compressed: the original, or others in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgecnn.compress.teacher import Renormalised
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import Model, Network, build
from edgecnn.normalization import Normalization, preprocess
from edgecnn.pipeline.subject import Subject


def load_teachers(models: Sequence[Model], subject: Subject) -> tuple[Network, ...]:
    """Return the networks that *models* name, for the inputs of *subject*, seen to give scores like its network.

    Args:
        models: networks, modules, checkpoints, or `MODEL=WEIGHTS` where weights alone do not say whose they are.
        subject: what they teach.

    Raises:
        EdgecnnError: one of them is not there, or gives other scores.
    """
    if isinstance(models, str):
        raise EdgecnnError(f"teachers is a list: give ['{models}'], for example")
    assert subject.network is not None
    if not models:
        return ()
    training = subject.data.training
    x = np.ascontiguousarray(preprocess(next(iter(training.take(1))).x, subject.normalization))
    expected = [output.shape[1:] for output in subject.network.outputs(x)]
    teachers = []
    for model in models:
        teacher = _built(model, subject, expected[0]) if isinstance(model, str) else build(model)
        normalization = teacher.normalization
        if (
            normalization not in (None, subject.normalization)
            and training.images[training.indices[:1]].dtype == np.uint8
        ):
            module = Renormalised(teacher.module, subject.normalization or Normalization(), normalization)
            teacher = replace(teacher, module=module)
        outputs = teacher.outputs(x)
        if [output.shape[1:] for output in outputs] != expected:
            given, own = (
                " and ".join(map(str, map(list, shapes)))
                for shapes in ([output.shape[1:] for output in outputs], expected)
            )
            raise EdgecnnError(
                f"teacher {teacher.name} gives scores of shape {given}, {subject.name} {own}; "
                "use one that was trained on the same data"
            )
        if teacher.labels is not None and subject.labels is not None and teacher.labels != subject.labels:
            raise EdgecnnError(
                f"teacher {teacher.name} knows the classes {_begin(teacher.labels)}, {subject.name} "
                f"{_begin(subject.labels)}; use one that was trained on the same data"
            )
        teachers.append(teacher)
    return tuple(teachers)


def _built(model: str, subject: Subject, scores: tuple[int, ...]) -> Network:
    """Return the network of a teacher's name: `MODEL`, or `MODEL=WEIGHTS`."""
    name, _, weights = (model, "", "") if Path(model).is_file() else model.partition("=")
    try:
        return build(
            name,
            weights=weights or None,
            classes=scores[0] if len(scores) == 1 and weights != "DEFAULT" else None,
            channels=subject.shape[0],
        )
    except EdgecnnError as error:
        raise EdgecnnError(f"teacher {model}: {str(error).replace(' --weights ', '=')}") from None


def _begin(labels: Sequence[str]) -> str:
    return ", ".join(labels[:4]) + (", …" if len(labels) > 4 else "")


def described(teachers: Sequence[Network]) -> tuple[str, ...]:
    """Return each teacher's name and the digest of its weights, as a plan has them."""
    return tuple(f"{teacher.name} sha256:{teacher.weights_sha256()}" for teacher in teachers)
