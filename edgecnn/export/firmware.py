"""What firmware needs to know of a TFLite file, as facts: the C header and the JSON beside the file say the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.artifact import Artifact
from edgecnn.formats import TensorSpec
from edgecnn.normalization import Normalization

#: Kinds whose method of `MicroMutableOpResolver` is not spelled by `_method`'s rule (tensorflow/tflite-micro,
#: micro_mutable_op_resolver.h).
_METHODS = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}
_PIXELS = np.arange(256)
_MOST_SHIFT = 20
_INT32_BITS = 31


@dataclass(frozen=True)
class PixelLine:
    """How a pixel of 0…255 becomes an input value: normalization and quantization folded into one line.

    stored = clamp(round(multiplier * pixel + offset)), an entry for all channels or one a channel; a float input is
    neither rounded nor clamped.
    """

    multiplier: tuple[float, ...]
    offset: tuple[float, ...]
    dtype: str  # of the input: "int8", "uint8", "int16" or "float32"

    @classmethod
    def of(cls, spec: TensorSpec, normalization: Normalization) -> PixelLine | None:
        """Return the line of an input; None where its type has none.

        x = (pixel / 255 - mean) / std and stored = x / scale + zero_point make multiplier = 1 / (255 std scale) and
        offset = zero_point - mean / (std scale).
        """
        mean, std = np.asarray(normalization.mean), np.asarray(normalization.std)
        scale, zero_point = 1.0, 0
        if spec.dtype in ("int8", "uint8", "int16") and spec.quant is not None and len(spec.quant.scale) == 1:
            scale, zero_point = spec.quant.scale[0], spec.quant.zero_point[0]
        elif spec.dtype != "float32":
            return None
        multiplier, offset = 1 / (255 * std * scale), zero_point - mean / (std * scale)
        return cls(tuple(map(float, multiplier)), tuple(map(float, offset)), spec.dtype)

    @cached_property
    def whole(self) -> tuple[int, ...] | None:
        """The offsets, where the line is `pixel + offset` with whole numbers; else None."""
        near = [round(part) for part in self.offset]
        exact = np.allclose(self.multiplier, 1, atol=1e-4) and np.allclose(self.offset, near, atol=1e-2)
        return tuple(near) if exact and self.dtype != "float32" else None

    @cached_property
    def fixed_point(self) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
        """The multipliers and offsets in 32-bit fixed point, the shift, and what is then taken off.

        value = ((multiplier * pixel + offset) >> shift) - bias: what is shifted is never negative, since C leaves open
        what a negative number becomes.
        """
        multiplier, offset = np.asarray(self.multiplier), np.asarray(self.offset)
        ends = np.concatenate([offset, 255 * multiplier + offset])
        bias = int(max(0, np.ceil(-ends.min() + 1)))
        most = float(ends.max() + bias + 1) + float(np.abs(multiplier).max()) * 255
        shift = int(max(0, min(_MOST_SHIFT, _INT32_BITS - np.ceil(np.log2(most)))))
        half = 1 << shift >> 1
        multipliers = tuple(int(part) for part in np.rint(multiplier * 2.0**shift))
        offsets = tuple(int(part) for part in np.rint((offset + bias) * 2.0**shift) + half)
        return multipliers, offsets, shift, bias

    def table(self) -> npt.NDArray[np.float64]:
        """Return what the C line gives for the pixels 0…255, [entries, 256]."""
        if self.dtype == "float32":
            return np.asarray(np.outer(self.multiplier, _PIXELS) + np.asarray(self.offset)[:, None])
        limits = np.iinfo(self.dtype)
        if self.whole is not None:
            values = _PIXELS + np.asarray(self.whole)[:, None]
        else:
            multipliers, offsets, shift, bias = self.fixed_point
            values = ((np.outer(multipliers, _PIXELS) + np.asarray(offsets)[:, None]) >> shift) - bias
        return np.asarray(np.clip(values, limits.min, limits.max), np.float64)


@dataclass(frozen=True)
class Firmware:
    """The facts of one TFLite file that firmware is built with."""

    symbol: str  # that all names in the C header begin with
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    pixel: PixelLine | None  # None: the input is no image, or nothing says how its pixels are normalized
    labels: tuple[str, ...]
    operators: tuple[str, ...]  # methods of `MicroMutableOpResolver`, one for each kind in the file
    arena_bytes: Mapping[int, int]  # size of a pointer → size to set the arena to; empty: not known
    warnings: tuple[str, ...] = ()  # what the arena's size does not count

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        labels: Sequence[str] | None,
        arena_bytes: Mapping[int, int],
        warnings: Sequence[str] = (),
    ) -> Firmware:
        """Return the facts of *artifact*, a `.tflite` file.

        Args:
            artifact: the file; its metadata have the normalization.
            labels: of the classes, in the order of the output.
            arena_bytes: size of a pointer (4 or 8) → size to set the arena to.
            warnings: what these sizes do not count.
        """
        graph, normalization = artifact.graph, artifact.normalization
        kinds = {operator.kind for one in (graph, *graph.further) for operator in one.operators}
        image = artifact.inputs[0] if len(artifact.inputs) == 1 and len(artifact.inputs[0].shape) == 4 else None
        line = None if image is None or normalization is None else PixelLine.of(image, normalization)
        return cls(
            "g_" + re.sub(r"[^A-Za-z0-9]", "_", artifact.path.name),
            artifact.inputs,
            artifact.outputs,
            line,
            tuple(labels or ()),
            tuple(sorted({_method(kind) for kind in kinds})),
            dict(arena_bytes),
            tuple(warnings),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the facts as the JSON beside the file holds them, under the key `firmware`."""
        return {
            "symbol": self.symbol,
            "inputs": [_spec(spec) for spec in self.inputs],
            "outputs": [_spec(spec) for spec in self.outputs],
            "pixel": self.pixel and {"multiplier": list(self.pixel.multiplier), "offset": list(self.pixel.offset)},
            "labels": list(self.labels),
            "operators": list(self.operators),
            "arena_bytes": {str(pointer): size for pointer, size in self.arena_bytes.items()},
            "warnings": list(self.warnings),
        }


def _spec(spec: TensorSpec) -> dict[str, Any]:
    one = spec.quant is not None and len(spec.quant.scale) == 1
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "size": prod(spec.shape),
        "dtype": spec.dtype,
        "scale": spec.quant.scale[0] if one and spec.quant else None,
        "zero_point": spec.quant.zero_point[0] if one and spec.quant else None,
    }


def _method(kind: str) -> str:
    """Return the method that registers a *kind* of operator: CONV_2D → AddConv2D, SPLIT_V → AddSplitV."""
    if kind in _METHODS:
        return _METHODS[kind]
    if kind.startswith("Signal"):
        return f"Add{kind.removeprefix('Signal')}"
    return "Add" + "".join(part if part[0].isdigit() else part.capitalize() for part in kind.split("_"))
