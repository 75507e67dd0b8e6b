"""`detection`: COCO's mean average precision of the boxes that a decoder found.

pycocotools matches detections with the objects of each image (Lin et al. 2014, Microsoft COCO; its `COCOeval`); what a
set of images comes to is accumulated here, from the matches of each, so that resampled sets have their figure as well.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError, require
from edgecnn.tasks.boxes import Boxes, Detections, per_image
from edgecnn.tasks.task import Outputs, Records, Task, bootstrap

#: The overlaps (IoU) from which a detection is right, and the recalls at which the precision is read.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MOST_DETECTIONS = 100  # of a class in an image


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of the d detections of an image, and how many objects were to be found.

    Args:
        classes: [d].
        scores: [d].
        right: bool [10, d], for each of `IOU_THRESHOLDS`: the detection found an object.
        ignored: bool [10, d]: the detection counts neither way, as in a crowd.
        objects: [o], the classes of the objects that are no crowds.
    """

    classes: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    objects: npt.NDArray[np.int64]


class Matcher:
    """Matches detections with objects, and keeps the last answer: the metrics of a batch ask for the same one."""

    def __init__(self) -> None:
        self._last: tuple[Any, Any, Records] | None = None

    def matches(self, outputs: Any, targets: Any) -> Records:
        """Return the `Matches` [n] of a decoder's answers for n images.

        Raises:
            EdgecnnError: as `detections_of` and `match`.
        """
        if self._last is None or self._last[0] is not outputs or self._last[1] is not targets:
            self._last = (outputs, targets, match(detections_of(outputs, targets), targets))
        return self._last[2]


@dataclass(frozen=True)
class MeanAveragePrecision:
    """The mean over classes and over *thresholds* of the average precision, with 101 points of recall, as COCO's.

    Its outputs are what a decoder gives: n times `Detections` or `(boxes, scores, classes)`; its targets `Boxes` [n].

    Args:
        name: `mAP50-95`, or `mAP50`.
        thresholds: how many of `IOU_THRESHOLDS` count, from the lowest on.
        matcher: what finds the matches, once for several metrics.
    """

    name: str
    thresholds: int
    matcher: Matcher
    higher_is_better: bool = True

    def record(self, outputs: Outputs, targets: Any) -> Records:
        """Return the `Matches` of each image.

        Raises:
            EdgecnnError: there was no decoder, or it gave something else than boxes of these images.
        """
        return self.matcher.matches(outputs, targets)

    def value(self, records: Records) -> float:
        """Return the mean average precision, [0, 1]; NaN where there are no objects."""
        return self._value_at(records)(np.arange(len(records)))

    def interval(self, records: Records) -> tuple[float, float]:
        """Return the 95 % interval of a bootstrap over the images."""
        return bootstrap(self._value_at(records), len(records))

    def lost(self, before: Records, after: Records) -> tuple[float, float, float]:
        """Return by how much *after* is worse, and its 95 % interval, of a bootstrap over pairs."""
        values = self._value_at(before), self._value_at(after)

        def drop_at(chosen: npt.NDArray[np.int64]) -> float:
            return values[0](chosen) - values[1](chosen)

        return drop_at(np.arange(len(before))), *bootstrap(drop_at, len(before))

    def details(self, records: Records) -> dict[str, Any]:
        """Return the average precision of each class that there are objects of, by its number."""
        values = Ranked.of(records, self.thresholds).average_precisions(np.ones(len(records)))
        return {"average_precision": {str(number): value for number, value in values.items()}}

    def _value_at(self, records: Records) -> Callable[[npt.NDArray[np.int64]], float]:
        """Return the figure of the images that indices choose, once or several times; they are sorted once."""
        ranked = Ranked.of(records, self.thresholds)

        def value(chosen: npt.NDArray[np.int64]) -> float:
            values = ranked.average_precisions(np.bincount(chosen, minlength=len(records)).astype(np.float64))
            return float(np.mean(list(values.values()))) if values else float("nan")

        return value


@dataclass(frozen=True, eq=False)
class Ranked:
    """The d detections of n images by class, surest first, and the o objects by class.

    Args:
        classes: [d].
        images: [d], which image each is of.
        right: [t, d], found an object, at t thresholds; *wrong* likewise.
        objects: [o], their classes; *of_images* [o], which image each is of.
    """

    classes: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]
    wrong: npt.NDArray[np.bool_]
    objects: npt.NDArray[np.int64]
    of_images: npt.NDArray[np.int64]

    @classmethod
    def of(cls, records: Records, thresholds: int) -> Ranked:
        """Return what the `Matches` of n images come to at the lowest *thresholds*."""
        classes = np.concatenate([one.classes for one in records])
        scores = np.concatenate([one.scores for one in records])
        order = np.lexsort((np.arange(len(scores)), -scores, classes))  # ties as they come
        right = np.concatenate([one.right[:thresholds] for one in records], axis=1)
        wrong = ~right & ~np.concatenate([one.ignored[:thresholds] for one in records], axis=1)
        images = np.repeat(np.arange(len(records)), [len(one.classes) for one in records])
        objects = np.concatenate([one.objects for one in records])
        of_images = np.repeat(np.arange(len(records)), [len(one.objects) for one in records])
        return cls(classes[order], images[order], right[:, order], wrong[:, order], objects, of_images)

    def average_precisions(self, times: npt.NDArray[np.float64]) -> dict[int, float]:
        """Return the average precision of each class that has objects, with image i taken *times*[i] times."""
        there = np.bincount(self.objects, times[self.of_images]) if len(self.objects) else np.zeros(0)
        values = {}
        for number in np.flatnonzero(there):
            start, end = np.searchsorted(self.classes, [number, number + 1])
            weights = times[self.images[start:end]]
            found = (self.right[:, start:end] * weights).cumsum(axis=1)
            missed = (self.wrong[:, start:end] * weights).cumsum(axis=1)
            values[int(number)] = _average_precision(found, missed, there[number])
        return values


def _average_precision(found: npt.NDArray[np.float64], missed: npt.NDArray[np.float64], objects: float) -> float:
    """Return the mean precision over thresholds [t] and points of recall, of running counts of d detections [t, d].

    The precision at a recall is the highest at that or any higher one (Everingham et al. 2010, section 4.2).
    """
    precision = found / np.maximum(found + missed, 1)
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total = 0.0
    for recall, envelope in zip(found / objects, highest, strict=True):
        at = np.searchsorted(recall, _RECALLS, side="left")
        total += envelope[at[at < len(envelope)]].sum()
    return float(total / (len(found) * len(_RECALLS)))


def match(found: Sequence[Detections], targets: Sequence[Boxes]) -> Records:
    """Return the `Matches` [n] of the detections and the objects of n images, as pycocotools finds them.

    Raises:
        EdgecnnError: pycocotools is not installed.
    """
    module = require("pycocotools.cocoeval", "detection")
    coco = require("pycocotools.coco", "detection")
    truth = _annotations(targets, lambda one, at: {"iscrowd": int(one.crowd[at]) if one.crowd is not None else 0})
    guesses = _annotations(found, lambda one, at: {"iscrowd": 0, "score": float(one.scores[at])})
    numbers = sorted({one["category_id"] for one in (*truth, *guesses)})
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        sets = []
        for annotations in (truth, guesses):
            sets.append(coco.COCO())
            sets[-1].dataset = {
                "images": [{"id": image} for image in range(len(targets))],
                "categories": [{"id": number} for number in numbers],
                "annotations": annotations,
            }
            sets[-1].createIndex()
        evaluation = module.COCOeval(*sets, iouType="bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [_MOST_DETECTIONS]
        evaluation.params.iouThrs = IOU_THRESHOLDS
        evaluation.evaluate()
    of_image: list[list[dict[str, Any]]] = [[] for _ in targets]
    for result in evaluation.evalImgs:
        if result is not None:
            of_image[result["image_id"]].append(result)
    return per_image(map(_matches, of_image))


def _annotations(images: Sequence[Any], more: Callable[[Any, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the boxes of n *images* as COCO writes them; the numbers start at 1, as 0 means none to pycocotools."""
    written = [
        {
            "image_id": image,
            "category_id": int(one.classes[at]),
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            **more(one, at),
        }
        for image, one in enumerate(images)
        for at, (left, top, right, bottom) in enumerate(one.xyxy.tolist())
    ]
    return [{**one, "id": number} for number, one in enumerate(written, 1)]


def _matches(results: Sequence[dict[str, Any]]) -> Matches:
    """Return the matches of an image, of the results of `COCOeval` for each of its classes."""
    size = [len(one["dtScores"]) for one in results]
    none = np.zeros((len(IOU_THRESHOLDS), 0), bool)
    return Matches(
        classes=np.repeat([one["category_id"] for one in results], size).astype(np.int64),
        scores=np.asarray([score for one in results for score in one["dtScores"]], np.float64),
        right=np.concatenate([none, *((one["dtMatches"] > 0) & ~one["dtIgnore"].astype(bool) for one in results)], 1),
        ignored=np.concatenate([none, *(one["dtIgnore"].astype(bool) for one in results)], axis=1),
        objects=np.repeat(
            [one["category_id"] for one in results], [int((one["gtIgnore"] == 0).sum()) for one in results]
        ).astype(np.int64),
    )


def detections_of(outputs: Any, targets: Any) -> list[Detections]:
    """Return what a decoder gave for n images as `Detections`.

    Raises:
        EdgecnnError: it is for another number of images, no boxes, or not finite; boxes outside of the input; the
            targets are no boxes.
    """
    if not all(isinstance(one, Boxes) for one in targets):
        raise EdgecnnError("detection: the targets are no boxes; use --data coco:DIR, or another --task")
    given = list(outputs) if isinstance(outputs, (list, tuple, np.ndarray)) else []
    raw = [one for one in given if isinstance(one, np.ndarray) and one.dtype != object]
    if raw and len(raw) == len(given):
        shapes = ", ".join(str(list(one.shape)) for one in raw)
        raise EdgecnnError(
            f"detection: the outputs {shapes} have to be decoded to boxes: add --decode yolov8, yolov5, a "
            f"FILE.json that describes a head, or package.module:function"
        )
    if len(given) != len(targets):
        found = f"{len(given)} images" if given else type(outputs).__name__
        raise EdgecnnError(
            f"the decoder gives {found} for {len(targets)}; it returns (boxes, scores, classes) for each image"
        )
    return [_detections(number, one, target) for number, (one, target) in enumerate(zip(given, targets, strict=True))]


def _detections(number: int, given: Any, target: Boxes) -> Detections:
    where = f"the decoder's answer for image {number} of the batch"
    found = given if isinstance(given, Detections) else _as_detections(where, given)
    if target.size is not None and len(found):
        height, width = target.size
        outside = (found.xyxy[:, :2] >= [width, height]).any(axis=1) | (found.xyxy[:, 2:] <= 0).any(axis=1)
        outside &= (found.xyxy[:, 2:] > found.xyxy[:, :2]).all(axis=1)  # an empty box finds nothing, wherever it is
        if outside.any():
            box = found.xyxy[int(outside.argmax())].round(1).tolist()
            raise EdgecnnError(
                f"{where} has a box outside of the input of {width}x{height} pixels: {box}; boxes are left, top, right "
                f"and bottom in pixels of the input, and cut to it"
            )
    return found


def _as_detections(where: str, given: Any) -> Detections:
    if not isinstance(given, (tuple, list)) or len(given) != 3:
        raise EdgecnnError(f"{where} is no (boxes, scores, classes) but {type(given).__name__}")
    try:
        return Detections(*given)
    except EdgecnnError as error:
        raise EdgecnnError(f"{where}: {error}") from None
    except (TypeError, ValueError) as error:
        raise EdgecnnError(f"{where} holds no numbers: {error}") from None


_MATCHER = Matcher()

DETECTION = Task(
    "detection",
    "the boxes of an image",
    (
        MeanAveragePrecision("mAP50-95", len(IOU_THRESHOLDS), _MATCHER),
        MeanAveragePrecision("mAP50", 1, _MATCHER),
    ),
)
