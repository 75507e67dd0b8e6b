"""See whether calibration samples are what ranges can be taken from, before a network is quantized by them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError, require
from edgecnn.export import CalibrationInputs
from edgecnn.export.int8.onnx_program import OnnxProgram
from edgecnn.export.int8.program import Program
from edgecnn.export.int8.tflite_program import TfliteProgram

_MOST_REPEATED = 0.1  # share of samples that may be there more than once
_PIXELS = 30.0  # a larger input that holds whole numbers alone is taken for pixels
_HALF = 32  # samples at most that the ranges of a half are taken from
_MACS = 2e10  # that these samples may take
_MOST_APART = 1.3  # times as wide as those of the other half that the ranges of a half may be, in the median


def check_calibration(calibration: CalibrationInputs, asked: int, classes: int | None) -> tuple[str, ...]:
    """Return a sentence for each thing that is odd about the samples, with what to do about it.

    Args:
        calibration: the samples.
        asked: how many the recipe wants.
        classes: how many the data have; None: unknown.

    Raises:
        EdgecnnError: an input holds NaN or infinity; the message names the sample.
    """
    count, seen = len(calibration), set()
    flat = repeated = 0
    largest, is_whole = 0.0, True
    for index in range(count):
        x = calibration[index]
        if not np.isfinite(x).all():
            number = int(calibration.samples.indices[index])
            raise EdgecnnError(f"calibration sample {number} holds NaN or infinity; repair it or leave it out")
        flat += bool(x.size > 1 and x.min() == x.max())
        digest = hashlib.sha256(x.tobytes()).digest()
        repeated += digest in seen
        seen.add(digest)
        largest = max(largest, float(np.abs(x).max()))
        is_whole = is_whole and bool(np.array_equal(x, np.rint(x)))
    return tuple(_told(calibration, asked, classes, flat, repeated, largest if is_whole else 0.0))


def _told(
    calibration: CalibrationInputs, asked: int, classes: int | None, flat: int, repeated: int, pixels: float
) -> Iterator[str]:
    count, samples = len(calibration), calibration.samples
    if count < asked:
        yield f"calibration has {count} samples, the recipe asks for {asked}: ranges may be too narrow; add more images"
    numbers = samples.class_numbers
    if numbers is not None and count > 1 and (classes or 2) > 1:
        found = np.unique(numbers[samples.indices])
        if len(found) == 1:
            yield f"all {count} calibration samples are of class {found[0]}: calibrate with images of every class"
    if repeated > _MOST_REPEATED * count:
        yield f"{repeated} of {count} calibration samples are copies of others: calibrate with different images"
    if flat:
        yield f"{flat} of {count} calibration samples hold one value only: leave out blank images"
    if pixels > _PIXELS:
        yield (
            f"calibration inputs are whole numbers up to {pixels:g}, which look like pixels that were not normalised: "
            "give uint8 pixels with --normalize, or the values that the network was trained on"
        )


def check_halves(artifact: Artifact, calibration: CalibrationInputs) -> tuple[str, ...]:
    """Return a sentence where two halves of the samples give ranges that are far apart; nothing where they agree.

    Args:
        artifact: the float file.
        calibration: the samples; at most 64 are run, fewer through a large network.
    """
    count = min(len(calibration) // 2, _HALF, max(4, int(_MACS / max(artifact.graph.macs, 1)) // 2))
    if count < 4 or len(artifact.inputs) > 1:
        return ()
    program: Program
    if artifact.format == "tflite":
        program = TfliteProgram(artifact.path.read_bytes(), artifact.layout)
    else:
        program = OnnxProgram(require("onnx", "torch").load(artifact.path))
    chosen = np.linspace(0, len(calibration) - 1, 2 * count).round().astype(int)
    run = program.observer([step.outputs[0] for step in program.steps])
    first, second = (_widths([run(calibration[int(i)]) for i in half]) for half in (chosen[::2], chosen[1::2]))
    alive = (first > 0) & (second > 0)
    if not alive.any():
        return ()
    apart = float(np.median(np.maximum(first, second)[alive] / np.minimum(first, second)[alive]))
    if apart <= _MOST_APART:
        return ()
    return (
        f"two halves of the calibration samples disagree: in the median their ranges differ by {100 * (apart - 1):.0f} "
        f"%; calibrate with more samples, or with samples that are more alike ({len(calibration)} were given)",
    )


def _widths(values: Sequence[Sequence[npt.NDArray[np.float32]]]) -> npt.NDArray[np.float64]:
    """Return how wide the range of each tensor is over some samples, 0 in it."""
    high = np.max([[max(float(v.max(initial=0)), 0.0) for v in sample] for sample in values], axis=0)
    low = np.min([[min(float(v.min(initial=0)), 0.0) for v in sample] for sample in values], axis=0)
    widths: npt.NDArray[np.float64] = high - low
    return widths


__all__ = ["check_calibration", "check_halves"]
