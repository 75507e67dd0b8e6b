"""A convolution or linear layer as every format has it: weights [O, I / groups, kh, kw], and how it slides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import require

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK_BYTES = 32 * 2**20  # of activations that are convolved at a time


@dataclass(frozen=True)
class Geometry:
    """How a layer's filters move over its input; a linear layer is a convolution of one position."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, right, top, bottom
    groups: int = 1
    channels_last: bool = False
    is_flat: bool = False  # a linear layer: its input is [..., I]


@dataclass(frozen=True)
class LinearLayer:
    """One layer of a program.

    The weights are stored in an order of the format's own; `order` are the axes that bring them to [O, I / groups, kh,
    kw], or [O, I] for a linear layer.
    """

    step: int
    input: Any  # the tensors, as the program names them
    output: Any
    weights: Any
    bias: Any | None
    order: tuple[int, ...]
    geometry: Geometry
    weight_scale: npt.NDArray[np.float64] | None = None  # [O]; None: a float layer
    bias_scale: npt.NDArray[np.float64] | None = None  # [O]

    def canonical(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return *stored* weights as [O, I / groups, kh, kw]."""
        weights = stored.transpose(self.order)
        return weights[:, :, None, None] if weights.ndim == 2 else weights

    def as_stored(self, canonical: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return weights [O, I / groups, kh, kw] as the file stores them."""
        weights = canonical[:, :, 0, 0] if len(self.order) == 2 else canonical
        return np.ascontiguousarray(weights.transpose(np.argsort(self.order)))

    def images(self, values: Sequence[npt.NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield the input's *values*, one array a sample, as tensors [n, I, H, W], padded, a few samples at a time."""
        torch = require("torch", "torch")
        count = max(1, _CHUNK_BYTES // max(values[0].nbytes, 1))
        geometry = self.geometry
        for start in range(0, len(values), count):
            x = torch.from_numpy(np.concatenate(values[start : start + count]))
            if geometry.is_flat:
                yield x.reshape(-1, x.shape[-1], 1, 1)
                continue
            if geometry.channels_last:
                x = x.permute(0, 3, 1, 2)
            yield torch.nn.functional.pad(x, geometry.pads) if any(geometry.pads) else x

    def sums(self, images: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return what the layer gives before its activation, [n, O, H, W], for padded *images* [n, I, H, W]."""
        torch = require("torch", "torch")
        geometry = self.geometry
        result: Tensor = torch.nn.functional.conv2d(
            images, weights, bias, geometry.stride, 0, geometry.dilation, geometry.groups
        )
        return result


__all__ = ["Geometry", "LinearLayer"]
