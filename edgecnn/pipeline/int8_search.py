"""Try ways to make an int8 file, and keep what brings it nearest to the float file on samples held back for that."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.parity import Parity
from edgecnn.evaluate.verify import Attempt
from edgecnn.pipeline.reference import HeldBack
from edgecnn.progress import Progress, silent
from edgecnn.recipe import INT8_RANGES, INT8_STEPS, MINMAX
from edgecnn.samples import Samples

#: In the order they are tried, each beside what was kept before it: what takes seconds first.
_ORDER = ("bias", "cle", "ranges", "mse", "percentile", "entropy", "adaround")
HELD = 128  # samples that the attempts are compared on
_LEAST_GAIN = 0.99  # times the error of what was kept before: less is chance
_SHARE = 0.25  # of the calibration samples, where there are no others to hold back


class Write(Protocol):
    """Makes an int8 file."""

    def __call__(self, method: str, path: Path, /, in_float: Sequence[str] = ()) -> Artifact:
        """Write the file to *path* by the steps *method* of `INT8_STEPS`; the operators *in_float* stay in float."""
        ...


@dataclass(frozen=True)
class Found:
    """What a search has come to so far: its best file, and every attempt."""

    artifact: Artifact
    method: str  # the steps it is made by
    error: float  # see `error_of`
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...] = ()  # to be told


def hold_back(training: Samples, count: int, held: int = HELD) -> tuple[Samples, Samples]:
    """Return the samples to calibrate with, *count* where there are so many, and others to compare attempts on.

    Both come from the *training* part. Where it has few more than *count*, a quarter is held back, at most *held*; a
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
    return calibration, replace(training, indices=rest).take(held, seed=1) if len(rest) else calibration


def search_int8(held: HeldBack, write: Write, folder: Path, progress: Progress = silent) -> Iterator[Found]:
    """Yield the best int8 file found so far, after each attempt.

    It begins with the ranges alone. Each step is tried beside those kept so far, and kept where the mean squared error
    of the outputs falls.

    Args:
        held: samples that no file was calibrated with, and the float file.
        write: makes an int8 file.
        folder: where the files are written; all but the best are removed.
        progress: told the attempts.

    Raises:
        EdgecnnError: not even the ranges alone make a file.
    """
    found: Found | None = None
    kept: tuple[str, ...] = ()
    for number, step in enumerate((None, *_ORDER)):
        progress("searching int8", number, len(_ORDER) + 1)
        if step in INT8_RANGES and set(kept) & set(INT8_RANGES):
            continue
        steps = tuple(name for name in INT8_STEPS if name in (*kept, step))
        method, began = ",".join(steps) or MINMAX, time.monotonic()
        earlier = found.attempts if found else ()
        try:
            file = write(method, folder / f"attempt{number}{held.float_file.path.suffix}")
            parity = held.judged(file).parity
            assert parity is not None
            error = error_of(parity)
        except EdgecnnError as failure:
            if found is None:
                raise
            attempt = Attempt(method, None, None, False, time.monotonic() - began, str(failure))
            found = replace(found, attempts=(*earlier, attempt))
            yield found
            continue
        better = found is None or error < _LEAST_GAIN * found.error
        seconds = round(time.monotonic() - began, 1)
        attempt = Attempt(method, decibels(error), parity.top1_agreement, better, seconds)
        worse = found.artifact if better and found is not None else None if better else file
        if found is None or better:
            found, kept = Found(file, method, error, (*earlier, attempt)), steps
        else:
            found = replace(found, attempts=(*earlier, attempt))
        yield found
        if worse is not None:
            worse.path.unlink()


def error_of(parity: Parity) -> float:
    """Return the mean over outputs of the squared error as a share of the variance, or of the class numbers lost."""
    whole = [part for part in parity.parts if part.channel is None]
    shares = [part.noise / max(part.signal, 1e-30) if part.agreement is None else 1 - part.agreement for part in whole]
    return float(np.mean(shares))


def decibels(error: float) -> float:
    """Return the signal-to-noise ratio of an `error_of`, in dB."""
    return round(-10 * math.log10(max(error, 1e-12)), 2)


__all__ = ["HELD", "Found", "Write", "decibels", "error_of", "hold_back", "search_int8"]
