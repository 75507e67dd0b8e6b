"""Between samples and a file's tensors: normalise, lay out, quantize; and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """How samples become the one input of a file, and what had to be assumed for it."""

    spec: TensorSpec
    normalization: Normalization | None  # None: the samples are what the network wants already
    channels_last: bool
    assumptions: tuple[str, ...] = ()

    def prepare(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return samples [n, C, H, W], uint8 pixels or ready float32, as the file takes them: its layout and dtype."""
        real = preprocess(x, self.normalization)
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
        EdgecnnError: more than one input, another shape, an integer input without scale, or a normalization that
            cannot be told.
    """
    if len(artifact.inputs) != 1:
        raise EdgecnnError(f"{artifact.path} has {len(artifact.inputs)} inputs; edgecnn only runs files with one")
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
    return InputPlan(spec, normalization, channels_last, assumptions)


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
    shape = artifact.inputs[0].shape if artifact.inputs else ()
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
