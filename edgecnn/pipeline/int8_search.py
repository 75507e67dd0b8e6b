"""Try ways to make an int8 file, and keep what brings it nearest to the float file on samples held back for that."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.inputs import plan_for
from edgecnn.evaluate.judge import Judge
from edgecnn.evaluate.parity import Parity
from edgecnn.evaluate.run import Answered, run_artifact
from edgecnn.evaluate.verify import Attempt
from edgecnn.normalization import Normalization
from edgecnn.progress import Progress, silent
from edgecnn.recipe import INT8_STEPS, MINMAX
from edgecnn.samples import Samples
from edgecnn.tasks.task import Answers, Task

#: In the order they are tried, each beside what was kept before it: what takes seconds first.
_ORDER = ("bias", "cle", "mse", "percentile", "adaround")
_RANGES = ("mse", "percentile")  # one or the other
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
    *,
    answers: Answers | None = None,
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
        answers: what of the outputs is the same or not, as `Task.answers`; None: no agreement is counted.

    Raises:
        EdgecnnError: not even the ranges alone make a file.
    """

    def run(artifact: Artifact) -> Iterator[Answered]:
        return run_artifact(artifact, held, plan_for(artifact, held, normalization, None))

    judge = Judge(Task("none", "nothing", (), answers))
    expected = [answered.outputs for answered in run(reference)]
    tried: list[Attempt] = []
    best: Artifact | None = None
    least = math.inf
    kept: tuple[str, ...] = ()
    for number, step in enumerate((None, *_ORDER)):
        progress("searching int8", number, len(_ORDER) + 1)
        if step in _RANGES and set(kept) & set(_RANGES):
            continue
        steps = tuple(name for name in INT8_STEPS if name in (*kept, step))
        method, began = ",".join(steps) or MINMAX, time.monotonic()
        try:
            file = write(method, folder / f"attempt{number}{reference.path.suffix}")
            parity = judge.judge(run(file), file.path.name, originals=expected).parity
            assert parity is not None
            error, agreement = _error_of(parity), parity.top1_agreement
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


def _error_of(parity: Parity) -> float:
    """Return the mean over outputs of the squared error as a share of the variance, or of the class numbers lost."""
    whole = [part for part in parity.parts if part.channel is None]
    shares = [part.noise / max(part.signal, 1e-30) if part.agreement is None else 1 - part.agreement for part in whole]
    return float(np.mean(shares))


def _decibels(error: float) -> float:
    return round(-10 * math.log10(max(error, 1e-12)), 2)


__all__ = ["hold_back", "search_int8"]
