"""How close one file's outputs are to another's, or to the network's own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.accuracy import outputs_of, plan_for
from edgecnn.benchmarks.inputs import class_scores
from edgecnn.benchmarks.plan import side_of
from edgecnn.datasets import open_dataset
from edgecnn.datasets.noise import noise
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization, Resize

Outputs = list[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Parity:
    """The difference of two runs over the same *n* samples, all outputs together."""

    max_abs_diff: float
    signal: float  # sum of the reference's squares
    noise: float  # sum of the squared differences
    agreeing: int | None  # samples with the same top-1 class; None where there are no class scores
    n: int

    @property
    def sqnr_db(self) -> float | None:
        """10 log10(signal / noise) in dB; None where the two are the same to the last bit, or the reference is 0."""
        return 10 * math.log10(self.signal / self.noise) if self.noise > 0 and self.signal > 0 else None

    @property
    def top1_agreement(self) -> float | None:
        """The fraction of samples with the same top-1 class."""
        return None if self.agreeing is None else self.agreeing / self.n

    def to_json(self) -> dict[str, float | int | None]:
        """Return `{max_abs_diff, sqnr_db, top1_agreement, n}`."""
        return {
            "max_abs_diff": self.max_abs_diff,
            "sqnr_db": self.sqnr_db,
            "top1_agreement": self.top1_agreement,
            "n": self.n,
        }


def parity_of(pairs: Iterable[tuple[Outputs, Outputs]]) -> Parity:
    """Return the parity over *pairs* of (reference, candidate) outputs, each a list of arrays [n, ...].

    Raises:
        EdgecnnError: the two give different outputs in number or shape.
    """
    biggest, signal, noise, agreeing, n = 0.0, 0.0, 0.0, 0, 0
    classifies = True
    for reference, candidate in pairs:
        if [a.shape for a in reference] != [b.shape for b in candidate]:
            shapes = [[list(a.shape[1:]) for a in outputs] for outputs in (reference, candidate)]
            raise EdgecnnError(f"the two give outputs of different shapes: {shapes[0]} and {shapes[1]}")
        for a, b in zip(reference, candidate, strict=True):
            difference = a.astype(np.float64) - b
            biggest = max(biggest, float(np.abs(difference).max(initial=0.0)))
            signal += float(np.square(a, dtype=np.float64).sum())
            noise += float(np.square(difference).sum())
        scores = class_scores(reference), class_scores(candidate)
        classifies = classifies and scores[0] is not None and scores[1] is not None
        if scores[0] is not None and scores[1] is not None:
            agreeing += int((scores[0].argmax(axis=1) == scores[1].argmax(axis=1)).sum())
        n += len(reference[0])
    if n == 0:
        raise EdgecnnError("no samples to compare on")
    return Parity(biggest, signal, noise, agreeing if classifies else None, n)


@dataclass(frozen=True)
class Comparison:
    """Two files and their parity."""

    reference: str
    candidate: str
    parity: Parity
    assumptions: tuple[str, ...]


def compare(
    reference: Path | str,
    candidate: Path | str,
    *,
    data: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    samples: int | None = 1000,
    normalization: Normalization | None = None,
    resize: Resize | None = None,
    data_dir: Path | str | None = None,
    download: bool = False,
    threads: int = 1,
) -> Comparison:
    """Run two exported files on the same samples, each in its own runtime, and return how far they are apart.

    Args:
        reference: a `.tflite` or `.onnx` file.
        candidate: another one.
        data: the data set whose evaluation samples are used; None: noise of *input_shape*.
        input_shape: (C, H, W) of the noise.
        samples: how many at most; None: all.
        normalization: for files that do not say what their input expects.
        resize: how images in files come to the size of *reference*; None: they just cover it.
        data_dir: where data sets lie; None: `$EDGECNN_DATA`.
        download: whether a data set that is not there may be fetched.
        threads: for both runtimes.

    Raises:
        EdgecnnError: a broken file, data that are not there or do not fit, outputs of different shapes.
    """
    files = Artifact.open(reference), Artifact.open(candidate)
    if data is not None:
        dataset = open_dataset(data, data_dir, download=download, side=side_of(files[0]), resize=resize)
    elif input_shape is not None:
        dataset = noise(input_shape, samples or 1000)
    else:
        raise EdgecnnError("comparing needs samples: give --data digits, say, or --input 1x3x224x224 for noise")
    chosen = dataset.evaluation.take(samples)
    plans = [plan_for(file, chosen, normalization, dataset.normalization) for file in files]
    runs = [outputs_of(file, chosen, plan, threads=threads) for file, plan in zip(files, plans, strict=True)]
    parity = parity_of((a, b) for (_, a), (_, b) in zip(*runs, strict=True))
    told = [*(text for plan in plans for text in plan.assumptions), *dataset.assumptions]
    if data is None:
        told.append("compared on noise, which an int8 file was not made for: its SQNR says little; give --data")
    assumptions = tuple(dict.fromkeys(told))
    return Comparison(str(reference), str(candidate), parity, assumptions)
