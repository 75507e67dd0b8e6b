"""`segmentation`: the class of each pixel; mean IoU and pixel accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.task import Outputs, Records, Task

#: The value of pixels that count neither way, as in Pascal VOC; negative ones do not count either.
IGNORED = 255


@dataclass(frozen=True)
class MeanIoU:
    """The intersection over union of each class, and its mean over the classes that are in the masks or the answers.

    Pixels of a class are counted over all images before they are divided, as in Pascal VOC and torchvision's references
    (Everingham et al. 2010, section 4.3). See `answered` for the outputs; targets are label images [n, H, W].
    """

    name: str = "mIoU"
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return the pixels of each image in the intersection and in the union of each class, [n, classes, 2].

        Raises:
            EdgecnnError: as `answered`.
        """
        found, classes = answered(outputs, targets)
        return np.stack([_overlaps(*one, classes) for one in zip(found, targets, strict=True)])

    def value(self, records: Records) -> float:
        """Return the mean IoU, [0, 1]; NaN where no pixel counts."""
        common, union = records.sum(axis=0).T
        there = union > 0
        return float((common[there] / union[there]).mean()) if there.any() else float("nan")

    def details(self, records: Records) -> dict[str, Any]:
        """Return the IoU of each class that is in the masks or the answers, by its number."""
        common, union = records.sum(axis=0).T
        return {"iou": {str(number): float(common[number] / union[number]) for number in np.flatnonzero(union)}}


@dataclass(frozen=True)
class PixelAccuracy:
    """The share of pixels that have their class."""

    name: str = "pixel accuracy"
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return the right pixels and those that count of each image, [n, 2].

        Raises:
            EdgecnnError: as `answered`.
        """
        found, _ = answered(outputs, targets)
        counted = [_counts(mask) for mask in targets]
        pairs = zip(found, targets, counted, strict=True)
        return np.asarray([(((answer == mask) & counts).sum(), counts.sum()) for answer, mask, counts in pairs])

    def value(self, records: Records) -> float:
        """Return the share of right pixels, [0, 1]; NaN where no pixel counts."""
        right, counted = records.sum(axis=0)
        return float(right / counted) if counted else float("nan")


def answered(outputs: Outputs, targets: Any) -> tuple[list[npt.NDArray[np.int64]], int]:
    """Return the label image [H, W] that *outputs* come to for each of n images, and how many classes there may be.

    The first output that has two dimensions of pixels counts; networks with auxiliary outputs have the main one first.
    Logits or scores [n, C, h, w] of another size than the masks are resized to it, bilinearly and with pixel centres at
    halves (`torch.nn.functional.interpolate`'s `align_corners=False`), and the highest wins. Whole numbers [n, h, w]
    are classes already, and resized to the nearest.

    Raises:
        EdgecnnError: outputs of another form, for another number of images, or masks with values that are no class.
    """
    masks = [np.asarray(mask) for mask in targets]
    if any(mask.ndim != 2 or not np.issubdtype(mask.dtype, np.integer) for mask in masks):
        raise EdgecnnError(
            "segmentation: the targets are no label images [n, H, W] of whole numbers; see --data masks:DIR"
        )
    output = _judged(outputs)
    whole = output.ndim == 3
    if len(output) != len(masks):
        raise EdgecnnError(f"segmentation: {len(output)} answers for {len(masks)} masks")
    classes = IGNORED if whole else output.shape[1]
    if whole and not 0 <= output.min() <= output.max() < classes:
        raise EdgecnnError(f"segmentation: the output has class numbers from {output.min()} to {output.max()}")
    for mask in masks:
        highest = int(mask[_counts(mask)].max(initial=0))
        if highest >= classes:
            raise EdgecnnError(
                f"segmentation: a mask holds the value {highest}, the output has {classes} classes, 0 to {classes - 1} "
                f"({IGNORED} is ignored)"
            )
    resize = _nearest if whole else _highest
    return [resize(one, mask.shape) for one, mask in zip(output, masks, strict=True)], classes


def _judged(outputs: Outputs) -> npt.NDArray[Any]:
    """Return the logits [n, classes, h, w] or the class numbers [n, h, w] among *outputs*.

    Raises:
        EdgecnnError: there are none.
    """
    output = next((one for one in map(np.asarray, outputs) if one.ndim in (3, 4)), None)
    whole = output is not None and output.ndim == 3 and np.issubdtype(output.dtype, np.integer)
    if output is None or not (whole or (output.ndim == 4 and output.shape[1] > 1)):
        shapes = ", ".join(str(list(np.shape(one))) for one in outputs)
        raise EdgecnnError(
            f"segmentation: expected logits [n, classes, H, W], two classes or more, or class numbers [n, H, W], found "
            f"{shapes}; make them with --decode package.module:function"
        )
    return output


def _counts(mask: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray((mask != IGNORED) & (mask >= 0))


def _overlaps(found: npt.NDArray[np.int64], mask: npt.NDArray[Any], classes: int) -> npt.NDArray[np.int64]:
    """Return the pixels of the intersection and the union of each class in one image, [classes, 2]."""
    counts = _counts(mask)
    true, answer = mask[counts].astype(np.int64), found[counts]
    common = np.bincount(true[true == answer], minlength=classes)
    either = np.bincount(true, minlength=classes) + np.bincount(answer, minlength=classes)
    return np.stack([common, either - common], axis=1)


def _highest(scores: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the class [H, W] of the highest of *scores* [C, h, w], which are resized to *shape*."""
    scores = scores.astype(np.float32)
    for axis, length in zip((1, 2), shape, strict=True):
        if scores.shape[axis] != length:
            low, high, share = _neighbours(scores.shape[axis], length)
            share = share.reshape(-1, 1) if axis == 1 else share
            scores = scores.take(low, axis) * (1 - share) + scores.take(high, axis) * share
    return np.asarray(scores.argmax(axis=0))


def _neighbours(
    length: int, wanted: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return for each of *wanted* pixels the two of *length* it lies between, and its way from the one to the other."""
    place = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).clip(0)
    low = np.floor(place).astype(np.int64).clip(max=length - 1)
    return low, (low + 1).clip(max=length - 1), (place - low).astype(np.float32)


def _nearest(classes: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    rows, columns = (np.arange(wanted) * length // wanted for wanted, length in zip(shape, classes.shape, strict=True))
    return classes[np.ix_(rows, columns)].astype(np.int64)


def pixel_classes(outputs: Outputs) -> npt.NDArray[np.int64]:
    """Return the class of each pixel [n, h, w] of the output that `answered` judges, in its own size.

    Raises:
        EdgecnnError: there is no such output.
    """
    output = _judged(outputs)
    return np.asarray(output if output.ndim == 3 else output.argmax(axis=1), np.int64)


SEGMENTATION = Task("segmentation", "a label image", (MeanIoU(), PixelAccuracy()), pixel_classes)
