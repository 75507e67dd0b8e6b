"""Int8 files that keep the accuracy of their float file: corrections of weights and biases, layer by layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.export import CalibrationInputs
from edgecnn.export.int8.equalize import equalize
from edgecnn.export.int8.program import Program, TensorId
from edgecnn.export.int8.ranges import ranges_by
from edgecnn.export.int8.refine import Correction, refine
from edgecnn.formats import Graph
from edgecnn.progress import Progress
from edgecnn.recipe import Recipe, int8_steps

_MOST_SAMPLES = 256
_BYTES = 2**30  # of activations, of all samples together: each operator runs over all of them before the next


def equalized(
    artifact: Artifact, floats: Program, recipe: Recipe, calibration: CalibrationInputs, progress: Progress
) -> dict[str, Any]:
    """Equalize *floats*, the float network of *artifact*, in place where *recipe* says so; return its metadata."""
    if "cle" not in int8_steps(recipe.quantize):
        return {}
    return {"equalization": equalize(floats, _samples(artifact, calibration), progress)}


def narrowed(
    floats: Program, recipe: Recipe, calibration: CalibrationInputs, progress: Progress
) -> dict[TensorId, tuple[float, float]]:
    """Return the ranges of activations that the steps of *recipe* make narrower than the extremes over the samples."""
    return ranges_by(floats, calibration, int8_steps(recipe.quantize), progress)


def corrected(
    artifact: Artifact,
    floats: Program,
    integers: Program,
    recipe: Recipe,
    calibration: CalibrationInputs,
    progress: Progress,
) -> dict[str, Any]:
    """Correct *integers*, the w8a8 file of *artifact*, in place by the steps of *recipe*; return what metadata tell.

    Where the recipe has no step, nothing is done and nothing returned.

    Raises:
        EdgecnnError: the file has other layers than the float one.
    """
    steps = int8_steps(recipe.quantize)
    if not steps:
        return {}
    told: dict[str, Any] = {"quantize": ",".join(steps)}
    rounding, bias = "adaround" in steps, "bias" in steps
    if rounding or bias:
        samples = _samples(artifact, calibration)
        done = refine(floats, integers, samples, rounding=rounding, bias=bias, progress=progress)
        told["corrections"] = _summary(done, len(samples))
    return told


def _samples(artifact: Artifact, calibration: CalibrationInputs) -> list[Any]:
    """Return as many calibration samples, at even distances, as may be in memory with all their activations."""
    count = min(len(calibration), _MOST_SAMPLES, max(8, _BYTES // max(_live_bytes(artifact.graph), 1)))
    return [calibration[int(index)] for index in np.linspace(0, len(calibration) - 1, count).round()]


def _live_bytes(graph: Graph) -> int:
    """Return the bytes of one sample's activations at the most, in float and in int8 side by side."""
    live = [0] * (len(graph.operators) + 1)
    for tensor, lifetime in zip(graph.tensors, graph.lifetimes, strict=True):
        for step in range(lifetime[0], lifetime[1] + 1) if lifetime else ():
            live[step] += tensor.size_bytes
    return 2 * max(live)


def _summary(done: tuple[Correction, ...], samples: int) -> dict[str, Any]:
    """Return what the corrections brought, over all layers: short, for it goes into the file."""
    before, after = (
        -10 * math.log10(max(float(np.mean([getattr(layer, name) for layer in done] or [0.0])), 1e-10))
        for name in ("error_before", "error_after")
    )
    return {
        "samples": samples,
        "layers": len(done),
        "weights_moved": sum(layer.weights_moved for layer in done),
        "biases_moved": sum(layer.biases_moved for layer in done),
        "sqnr_db_before": round(before, 2),
        "sqnr_db_after": round(after, 2),
    }


__all__ = ["corrected", "equalized", "narrowed"]
