"""Geometry of boxes in numpy: overlap, non-maximum suppression, and boxes from what heads give relative to anchors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.tasks.boxes import Detections

Array = npt.NDArray[np.float64]

#: Logarithms of sizes above this are cut, as torchvision's `BoxCoder` does, so that no box overflows.
_LONGEST = math.log(1000 / 16)


def iou(first: Array, others: Array) -> Array:
    """Return the intersection over union of one box [4] with k *others* [k, 4]; 0 where both are empty.

    Example:
        >>> iou(np.array([0.0, 0, 2, 2]), np.array([[0.0, 0, 2, 2], [1, 0, 3, 2]])).round(2).tolist()
        [1.0, 0.33]
    """
    sides = np.minimum(first[2:], others[:, 2:]) - np.maximum(first[:2], others[:, :2])
    common = sides.clip(0).prod(axis=1)
    union = (first[2:] - first[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def nms(boxes: Array, scores: Array, threshold: float) -> npt.NDArray[np.int64]:
    """Return which of k *boxes* [k, 4] non-maximum suppression keeps, by falling *scores* [k].

    A box goes where it overlaps one that is kept by more than *threshold* (IoU), as `torchvision.ops.nms` does.
    """
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[iou(boxes[best], boxes[left]) <= threshold]
    return np.asarray(kept, np.int64)


def select(boxes: Array, scores: Array, classes: npt.NDArray[np.int64], *, threshold: float, most: int) -> Detections:
    """Return the *most* best of k boxes [k, 4] that non-maximum suppression within each class keeps."""
    kept = [np.zeros(0, np.int64)]
    for number in np.unique(classes):
        of_class = np.flatnonzero(classes == number)
        kept.append(of_class[nms(boxes[of_class], scores[of_class], threshold)])
    chosen = np.concatenate(kept)
    best = chosen[np.argsort(-scores[chosen], kind="stable")][:most]
    return Detections(boxes[best], scores[best], classes[best])


def decode_deltas(deltas: Array, anchors: Array, weights: Sequence[float]) -> Array:
    """Return the boxes [k, 4] that *deltas* [k, 4] (x, y, width, height) make of *anchors* [k, 4].

    Ren et al. 2015, Faster R-CNN, section 3.1.2: centres move by shares of the anchor, sizes change by exponents; each
    is divided by its weight first.
    """
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + 0.5 * sizes
    scaled = deltas / np.asarray(weights)
    middle = scaled[:, :2] * sizes + centres
    half = 0.5 * np.exp(np.minimum(scaled[:, 2:], _LONGEST)) * sizes
    return np.concatenate([middle - half, middle + half], axis=1)


def corners(centred: Array) -> Array:
    """Return boxes [k, 4] of left, top, right, bottom for boxes of centre x, centre y, width and height."""
    half = 0.5 * centred[:, 2:].clip(0)
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)


def clip(boxes: Array, size: tuple[int, int]) -> Array:
    """Return *boxes* [k, 4] cut to an image of *size* (height, width)."""
    return np.asarray(np.clip(boxes, 0, [size[1], size[0], size[1], size[0]]))
