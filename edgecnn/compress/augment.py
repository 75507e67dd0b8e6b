"""Changes of training images that leave their class as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """What may happen to each image of a batch, on its own."""

    shift: int = 0  # moved by up to so many pixels each way, zeros moving in
    flip: bool = False  # mirrored left to right, half of them
    erase: int = 0  # a square of so many pixels becomes zero (DeVries and Taylor 2017, arXiv:1708.04552)


NO_AUGMENTATION = Augmentation()

#: What CIFAR's photographs bear.
PHOTOGRAPHS = Augmentation(shift=4, flip=True)


def augmented(x: torch.Tensor, augmentation: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Return images [N, C, H, W] changed at random; vectors [N, features] are left as they are."""
    if x.ndim != 4:
        return x
    n, channels, height, width = x.shape
    if augmentation.shift:
        shift = augmentation.shift
        padded = functional.pad(x, (shift, shift, shift, shift))
        top, left = (torch.from_numpy(rng.integers(0, 2 * shift + 1, n)) for _ in range(2))
        rows = (top[:, None] + torch.arange(height))[:, None, :, None]
        columns = (left[:, None] + torch.arange(width))[:, None, None, :]
        x = padded[torch.arange(n)[:, None, None, None], torch.arange(channels)[None, :, None, None], rows, columns]
    if augmentation.flip:
        mirrored = torch.from_numpy(rng.random(n) < 0.5)[:, None, None, None]
        x = torch.where(mirrored, x.flip(3), x)
    if augmentation.erase:
        side = augmentation.erase
        dropped = [
            (torch.arange(size)[None] - torch.from_numpy(rng.integers(0, size, n))[:, None] + side // 2)
            for size in (height, width)
        ]
        inside = [(offset >= 0) & (offset < side) for offset in dropped]
        x = x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)
    return x
