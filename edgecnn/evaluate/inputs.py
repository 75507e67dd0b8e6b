"""Between samples and a file's tensors: normalise, lay out, quantize; and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.datasets import Data, Dataset, open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.formats import TensorSpec
from edgecnn.normalization import Normalization, preprocess
from edgecnn.samples import Samples


@dataclass(frozen=True)
class InputPlan:
    """How samples become the inputs of a file, and what had to be assumed for it."""

    inputs: tuple[PlannedInput, ...]
    normalization: Normalization | None  # None: the samples are what the network wants already
    assumptions: tuple[str, ...] = ()

    def prepare(self, x: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Return samples [n, ...], uint8 pixels or ready float32, as the file takes them: an array for each input."""
        real = preprocess(x, self.normalization)
        return [one.prepare(real) for one in self.inputs]


@dataclass(frozen=True)
class PlannedInput:
    """How samples become one input of a file."""

    spec: TensorSpec
    channels_last: bool
    place: tuple[int, tuple[int, ...]] | None = None  # of several: where its values begin in a row, and their shape

    def prepare(self, real: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return samples, normalised, in the layout and dtype of the file."""
        if self.place is not None:
            start, shape = self.place
            real = real[:, start : start + prod(shape)].reshape(-1, *shape)
        if self.channels_last:
            real = np.ascontiguousarray(real.transpose(0, 2, 3, 1))
        if self.spec.quant is not None and self.spec.dtype != "float32":
            return self.spec.quant.quantize(real, self.spec.dtype)
        return real.astype(self.spec.dtype, copy=False)


def plan_input(
    artifact: Artifact,
    shape: tuple[int, ...],
    is_pixels: bool,
    *,
    normalization: Normalization | None = None,
    of_data: Normalization | None = None,
) -> InputPlan:
    """Return how samples of *shape* (C, H, W) become the input of *artifact*.

    The normalization is the one given, else the one in the file's metadata, else what the range of a quantized input
    says, else the data set's own; the last two are told as assumptions.

    Raises:
        EdgecnnError: another shape, an integer input without scale, or a normalization that cannot be told.
    """
    if len(artifact.inputs) != 1:
        return _plan_several(artifact, shape, {})
    spec = artifact.inputs[0]
    channels_last = _is_channels_last(artifact, spec, shape)
    if normalization is not None:
        normalization.check_channels(shape)
    if spec.dtype not in ("float32", "float16") and spec.quant is None:
        raise EdgecnnError(f"{artifact.path}: input {spec.name} is {spec.dtype} without scale and zero point")
    assumptions: tuple[str, ...] = ()
    if not is_pixels:
        normalization = None
    elif normalization is None:
        normalization = artifact.normalization
    if is_pixels and normalization is None:
        normalization, assumptions = _assume(artifact, spec, of_data)
    return InputPlan((PlannedInput(spec, channels_last),), normalization, assumptions)


def _plan_several(artifact: Artifact, shape: tuple[int, ...], inputs: Mapping[str, tuple[int, ...]]) -> InputPlan:
    """Return how rows of all inputs' values become the inputs of *artifact*, by name where the names are the same.

    Args:
        artifact: a file with several inputs.
        shape: of a sample, (values,).
        inputs: name → shape of what is in a row, in its order; nothing: what the file takes, in its order.

    Raises:
        EdgecnnError: the samples are others.
    """
    images = shapes_of_inputs(artifact)
    given = dict(inputs) or images
    by_name = set(given) == set(images)
    names = list(images) if by_name else list(given)
    if [given[name] for name in names] != list(images.values()) or shape != (sum(map(prod, images.values())),):
        takes = ", ".join(f"{name} {[1, *size]}" for name, size in images.items())
        gives = ", ".join(f"{name} {[1, *size]}" for name, size in inputs.items()) or str([1, *shape])
        raise EdgecnnError(f"{artifact.path} takes the inputs {takes}; the data give {gives} (channels first)")
    starts, start = {}, 0
    for name, size in given.items():
        starts[name], start = start, start + prod(size)
    planned = []
    for spec, name in zip(artifact.inputs, names, strict=True):
        if spec.dtype not in ("float32", "float16") and spec.quant is None:
            raise EdgecnnError(f"{artifact.path}: input {spec.name} is {spec.dtype} without scale and zero point")
        last = len(given[name]) == 3 and artifact.layout == "NHWC"
        planned.append(PlannedInput(spec, last, (starts[name], given[name])))
    return InputPlan(tuple(planned), None)


def shapes_of_inputs(artifact: Artifact) -> dict[str, tuple[int, ...]]:
    """Return the shape of each input by name, without the batch, (C, H, W) of images."""
    shapes = {spec.name: tuple(spec.shape[1:]) for spec in artifact.inputs}
    if artifact.layout != "NHWC":
        return shapes
    return {name: (sizes[2], *sizes[:2]) if len(sizes) == 3 else sizes for name, sizes in shapes.items()}


def _is_channels_last(artifact: Artifact, spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    wanted = tuple(spec.shape[1:])
    first, last = shape, (*shape[1:], shape[0])
    fits = {"NCHW": wanted == first, "NHWC": len(shape) == 3 and wanted == last}
    if not any(fits.values()):
        raise EdgecnnError(
            f"{artifact.path} takes inputs of shape {list(spec.shape)}, "
            f"the data gives {[1, *shape]} (batch, channels, height, width)"
        )
    return fits["NHWC"] if not all(fits.values()) else artifact.layout == "NHWC"


def _assume(
    artifact: Artifact, spec: TensorSpec, of_data: Normalization | None
) -> tuple[Normalization, tuple[str, ...]]:
    """Tell the normalization from the range of a quantized input where that is unambiguous."""
    if spec.quant is None or spec.dtype == "float32":
        chosen = of_data or Normalization()
        return chosen, (f"{artifact.path.name} does not record its preprocessing: assumed {chosen}, as the data set",)
    limits = np.iinfo(spec.dtype)
    low, high = (float(v) for v in spec.quant.dequantize(np.asarray([limits.min, limits.max])))
    step = spec.quant.scale[0]
    known = {(0.0, 255.0): "pixels", (0.0, 1.0): "unit", (-1.0, 1.0): "mean=0.5,std=0.5"}
    for (expected_low, expected_high), text in known.items():
        if abs(low - expected_low) <= 1.01 * step and abs(high - expected_high) <= 1.01 * step:
            return Normalization.parse(text), (
                f"{artifact.path.name} does not record its preprocessing: assumed {text} from its quantized range "
                f"{low:g}…{high:g}",
            )
    raise EdgecnnError(
        f"{artifact.path} does not record its preprocessing, and its quantized range {low:g}…{high:g} is ambiguous; "
        f"give --normalize pixels, unit, imagenet or mean=…,std=…"
    )


def plan_for(
    artifact: Artifact, samples: Samples, normalization: Normalization | str | None, of_data: Normalization | None
) -> InputPlan:
    """Return the `InputPlan` of *artifact* for *samples*; *normalization* may be text that `parse` reads."""
    normalization = Normalization.of(normalization)
    if len(artifact.inputs) > 1:
        return _plan_several(artifact, samples.shape, samples.inputs)
    is_pixels = samples.images[samples.indices[:1]].dtype == np.uint8
    return plan_input(artifact, samples.shape, is_pixels, normalization=normalization, of_data=of_data)


def real_outputs(artifact: Artifact, outputs: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Return the outputs [n, ...] of a file as float32, channels first where the file has them last.

    Integers without a scale (class numbers) and booleans stay what they are.
    """
    result = []
    for spec, output in zip(artifact.outputs, outputs, strict=True):
        integer = output.dtype.kind in "iub"
        real = output if integer else output.astype(np.float32)
        if integer and spec.quant is not None:
            real = spec.quant.dequantize(output)
        if real.ndim == 4 and artifact.layout == "NHWC":
            real = real.transpose(0, 3, 1, 2)
        result.append(real)
    return result


def image_of(artifact: Artifact) -> tuple[int, int, int] | None:
    """Return channels, height and width that *artifact* takes; None where its input is no image."""
    shape = artifact.inputs[0].shape if len(artifact.inputs) == 1 else ()
    if len(shape) != 4:
        return None
    _, first, second, third = shape
    return (third, first, second) if artifact.layout == "NHWC" else (first, second, third)


def open_for(image: tuple[int, int, int] | None, data: Data) -> Dataset:
    """Return the data set for a file that takes an *image* (channels, height, width), as `open_dataset` does.

    Raises:
        EdgecnnError: as `open_dataset` does.
    """
    channels, side = (None, None) if image is None else (image[0], image[1:])
    return open_dataset(data, side=side, channels=channels)
