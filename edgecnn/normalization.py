"""`Normalization`: how pixels become what a network expects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Resize:
    """How images come to a network's size: the shorter side scaled to so many pixels, then the centre cut out."""

    shorter_side: int
    interpolation: str = "bilinear"  # or "bicubic", "nearest"


@dataclass(frozen=True)
class Normalization:
    """x = (pixel / 255 - mean) / std, one entry for all channels or one a channel."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @classmethod
    def parse(cls, text: str) -> Normalization:
        """Read `pixels` (0…255 as they are), `unit` (0…1), `imagenet`, or `mean=0.5,0.5,0.5,std=0.2,0.2,0.2`.

        Raises:
            EdgecnnError: another text.
        """
        named = {"pixels": cls((0.0,), (1 / 255,)), "unit": cls(), "imagenet": cls(*_IMAGENET)}
        if text in named:
            return named[text]
        match = re.fullmatch(r"mean=([-0-9.e,]+?),std=([-0-9.e,]+)", text)
        try:
            assert match is not None
            mean, std = (tuple(float(number) for number in part.split(",")) for part in match.groups())
            if len(mean) != len(std) or 0.0 in std:
                raise ValueError
            parsed = cls(mean, std)
            if not all(np.isfinite(part).all() for part in parsed._scale_and_shift()):
                raise ValueError
        except (AssertionError, ValueError):
            raise EdgecnnError(
                f"--normalize '{text}' is not understood; known: pixels, unit, imagenet, mean=…,std=… "
                "(as many of each as the image has channels, or one; of pixels divided by 255)"
            ) from None
        return parsed

    def _scale_and_shift(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return what pixels are multiplied with, and what is then taken off, a channel each."""
        std = np.asarray(self.std)
        with np.errstate(over="ignore", invalid="ignore"):
            return (1.0 / (255.0 * std)).astype(np.float32), (np.asarray(self.mean) / std).astype(np.float32)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        for name in ("pixels", "unit", "imagenet"):
            if self == Normalization.parse(name):
                return name
        return f"mean={','.join(f'{m:g}' for m in self.mean)},std={','.join(f'{s:g}' for s in self.std)}"

    def apply(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return uint8 [N, C, H, W] as float32 of the same shape, normalised.

        Raises:
            EdgecnnError: the images have another number of channels.
        """
        if len(self.mean) not in (1, pixels.shape[1]):
            raise EdgecnnError(
                f"the normalization is for {len(self.mean)} channels, the images have {pixels.shape[1]}; "
                "say it with --normalize"
            )
        scale, shift = (part.reshape(1, -1, *(1,) * (pixels.ndim - 2)) for part in self._scale_and_shift())
        return np.asarray(pixels.astype(np.float32) * scale - shift)


def ready(x: npt.NDArray[Any], normalization: Normalization | None) -> npt.NDArray[np.float32]:
    """Return samples [N, ...] as a network takes them: pixels normalised (None: to 0…1), floats as they are."""
    if x.dtype == np.uint8:
        return (normalization or Normalization()).apply(x)
    return x.astype(np.float32, copy=False)
