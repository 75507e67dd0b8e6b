"""Anchors: the boxes that the heads of SSD and RetinaNet start from, made from a few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Grid = tuple[int, int]  # height and width of a feature map


def ssd_anchors(
    size: Grid,
    grids: Sequence[Grid],
    aspect_ratios: Sequence[Sequence[float]],
    scales: Sequence[float],
    steps: Sequence[float] | None,
    *,
    clip: bool,
) -> Array:
    """Return SSD's default boxes [k, 4] in pixels, map by map, row by row (Liu et al. 2016, section 2.2).

    Args:
        size: height and width of the input.
        grids: height and width of each of m feature maps.
        aspect_ratios: of each map, without 1 and without inverses, which are added.
        scales: [m + 1], of the boxes of each map, as shares of the input; the last is for the larger square.
        steps: [m], pixels between the boxes of a map; None: the input divided by the grid.
        clip: whether boxes are at most as large as the input.
    """
    maps = []
    for k, (rows, columns) in enumerate(grids):
        larger = math.sqrt(scales[k] * scales[k + 1])
        pairs = [(scales[k], scales[k]), (larger, larger)]
        for ratio in aspect_ratios[k]:
            wide, narrow = scales[k] * math.sqrt(ratio), scales[k] / math.sqrt(ratio)
            pairs += [(wide, narrow), (narrow, wide)]
        half = np.asarray(pairs) / 2
        half = half.clip(0, 0.5) if clip else half
        high, wide_ = (size[0] / steps[k], size[1] / steps[k]) if steps else (rows, columns)
        centres = _centres((np.arange(columns) + 0.5) / wide_, (np.arange(rows) + 0.5) / high)
        boxes = np.concatenate([centres[:, None] - half, centres[:, None] + half], axis=2)
        maps.append(boxes.reshape(-1, 4) * [size[1], size[0], size[1], size[0]])
    return np.concatenate(maps)


def grid_anchors(
    size: Grid, grids: Sequence[Grid], sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[Sequence[float]]
) -> list[Array]:
    """Return the anchors [k, 4] of each feature map in pixels, as RetinaNet and Faster R-CNN of torchvision use them.

    Args:
        size: height and width of the input.
        grids: height and width of each of m feature maps.
        sizes: of each map, in pixels: the side of a square of the same area.
        aspect_ratios: of each map, height / width.
    """
    maps = []
    for (rows, columns), sides, ratios in zip(grids, sizes, aspect_ratios, strict=True):
        pairs = [(side / math.sqrt(ratio), side * math.sqrt(ratio)) for ratio in ratios for side in sides]
        half = np.asarray(pairs)
        cell = np.round(np.concatenate([-half, half], axis=1) / 2)
        shifts = _centres(np.arange(columns) * (size[1] // columns), np.arange(rows) * (size[0] // rows))
        maps.append((np.tile(shifts, 2)[:, None] + cell).reshape(-1, 4))
    return maps


def _centres(x: npt.NDArray[np.generic], y: npt.NDArray[np.generic]) -> Array:
    """Return the points [rows · columns, 2] of a grid, row by row."""
    down, across = np.meshgrid(y, x, indexing="ij")
    return np.stack([across.ravel(), down.ravel()], axis=1).astype(np.float64)
