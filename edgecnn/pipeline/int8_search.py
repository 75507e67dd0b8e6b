"""Try ways to make an int8 file, and keep what brings it nearest to the float file on samples held back for that."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.accuracy import outputs_of, plan_for
from edgecnn.evaluate.inputs import class_scores
from edgecnn.evaluate.verify import Attempt
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress, silent
from edgecnn.recipe import INT8_STEPS, MINMAX
from edgecnn.samples import Samples

Outputs = list[npt.NDArray[np.float32]]

#: In the order they are tried, each beside what was kept before it: what takes seconds first.
_ORDER = tuple(sorted(INT8_STEPS, key=("bias", "cle", *INT8_STEPS).index))
_HELD = 128  # samples that the attempts are compared on
_LEAST_GAIN = 0.99  # times the error of what was kept before: less is chance
_SHARE = 0.25  # of the calibration samples, where there are no others to hold back


def hold_back(training: Samples, count: int) -> tuple[Samples, Samples]:
    """Return the samples to calibrate with, *count* where there are so many, and others to compare attempts on.

    Both come from the *training* part. Where it has few more than *count*, a quarter is held back; a
    single sample is in both.

    Example:
        >>> import numpy as np
        >>> training = edgecnn.Samples.of(np.zeros((400, 1, 8, 8), np.uint8))
        >>> [len(part) for part in hold_back(training, 256)], [len(part) for part in hold_back(training, 512)]
        ([256, 128], [300, 100])
    """
    spare = int(_SHARE * min(count, len(training)))
    calibration = training.take(min(count, len(training) - spare), seed=1)
    rest = np.setdiff1d(training.indices, calibration.indices)
    return calibration, replace(training, indices=rest).take(_HELD, seed=1) if len(rest) else calibration


def search_int8(
    reference: Artifact,
    write: Callable[[str, Path], Artifact],
    held: Samples,
    folder: Path,
    normalization: Normalization | None = None,
    progress: Progress = silent,
) -> tuple[Artifact, tuple[Attempt, ...]]:
    """Return the best int8 file of *reference* found, and every attempt.

    It begins with the ranges alone. Each step is tried beside those kept so far, and kept where the mean squared error
    of the outputs falls.

    Args:
        reference: the float file.
        write: makes an int8 file by the steps it is told, at a path.
        held: samples that no file was calibrated with.
        folder: where the files are written; all but the best are removed.
        normalization: how pixels become inputs; None: as the file says.
        progress: told the attempts.

    Raises:
        EdgecnnError: not even the ranges alone make a file.
    """
    plan = plan_for(reference, held, normalization, None)

    def outputs(artifact: Artifact) -> list[Outputs]:
        return [found for _, found in outputs_of(artifact, held, plan_for(artifact, held, normalization, None))]

    expected = [found for _, found in outputs_of(reference, held, plan)]
    tried: list[Attempt] = []
    best: Artifact | None = None
    least = math.inf
    kept: tuple[str, ...] = ()
    for number, step in enumerate((None, *_ORDER)):
        progress("searching int8", number, len(_ORDER) + 1)
        steps = tuple(name for name in INT8_STEPS if name in (*kept, step))
        method, began = ",".join(steps) or MINMAX, time.monotonic()
        try:
            file = write(method, folder / f"attempt{number}{reference.path.suffix}")
            error, agreement = _compared(expected, outputs(file))
        except EdgecnnError as failure:
            if best is None:
                raise
            tried.append(Attempt(method, None, None, False, time.monotonic() - began, str(failure)))
            continue
        better = error < _LEAST_GAIN * least
        tried.append(Attempt(method, _decibels(error), agreement, better, round(time.monotonic() - began, 1)))
        if better and best is not None:
            best.path.unlink()
        elif not better:
            file.path.unlink()
        if better:
            best, least, kept = file, error, steps
    assert best is not None  # else the first attempt has raised
    return best, tuple(tried)


def _compared(expected: Sequence[Outputs], given: Sequence[Outputs]) -> tuple[float, float | None]:
    """Return the mean squared error as a share of the variance, over all outputs, and the share of equal classes."""
    errors = []
    for place in range(len(expected[0])):
        mine, its = (np.concatenate([batch[place] for batch in side]).astype(np.float64) for side in (expected, given))
        variance = float(np.square(mine - mine.mean(0)).mean())
        errors.append(float(np.square(mine - its).mean()) / max(variance, 1e-30))
    classes = [[class_scores(batch) for batch in side] for side in (expected, given)]
    if any(scores is None for side in classes for scores in side):
        return float(np.mean(errors)), None
    same = [a.argmax(1) == b.argmax(1) for a, b in zip(*classes, strict=True) if a is not None and b is not None]
    return float(np.mean(errors)), float(np.concatenate(same).mean())


def _decibels(error: float) -> float:
    return round(-10 * math.log10(max(error, 1e-12)), 2)


__all__ = ["hold_back", "search_int8"]
