"""What the heads of detectors give, and how it becomes boxes: YOLO, SSD, RetinaNet and FCOS, in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.anchors import Grid, grid_anchors, ssd_anchors
from edgecnn.tasks.boxes import Detections
from edgecnn.tasks.nms import clip, corners, decode_deltas, select
from edgecnn.tasks.task import Outputs

Array = npt.NDArray[np.float64]
_LONGEST_SIDE = 2**14
_MOST_CELLS = 2**20
#: The parameters whose numbers, however deep they lie, are above 0.
_POSITIVE = ("aspect_ratios", "scales", "steps", "weights", "anchor_sizes")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What all decoders of heads have in common: which boxes they keep.

    Args:
        size: height and width of the input; boxes are cut to it.
        score_threshold: boxes of a lower score, or the same, are dropped.
        nms_threshold: of two boxes of a class that overlap more (IoU), the one of the lower score is dropped.
        candidates: the best boxes that non-maximum suppression looks at; of each class for SSD, of each feature map
            for RetinaNet.
        detections: the most boxes of an image.
        classes: the class number of each output class; -1: none, as the background and gaps in a list of classes. None:
            as they are counted in the output, without the background.
    """

    size: Grid | None = None
    score_threshold: float = 0.001
    nms_threshold: float = 0.7
    candidates: int = 3000
    detections: int = 300
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        grids: tuple[Grid, ...] = getattr(self, "grids", ())
        for grid in (*grids, *(() if self.size is None else (self.size,))):
            if len(grid) != 2 or not 0 < min(grid) <= max(grid) <= _LONGEST_SIDE:
                raise EdgecnnError(f"size and grids are height and width in pixels, found {list(grid)}")
        for name in ("score_threshold", "nms_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise EdgecnnError(f"{name} is from 0 to 1, found {getattr(self, name)}")
        for name in ("candidates", "detections", *_POSITIVE):
            numbers = list(_numbers(getattr(self, name, None)))
            if any(number <= 0 for number in numbers):
                raise EdgecnnError(f"{name} holds {min(numbers)}; it has to be above 0")
        if sum(rows * columns for rows, columns in grids) > _MOST_CELLS:
            raise EdgecnnError(f"the grids have more than {_MOST_CELLS} cells")

    def _kept(self, boxes: Array, scores: Array, classes: npt.NDArray[np.int64]) -> Detections:
        """Return what is kept of k candidates, boxes [k, 4] in pixels, scores [k] and output classes [k]."""
        if self.classes is not None:
            classes = np.asarray(self.classes, np.int64)[classes]
            known = classes >= 0
            boxes, scores, classes = boxes[known], scores[known], classes[known]
        boxes = boxes if self.size is None else clip(boxes, self.size)
        return select(boxes, scores, classes, threshold=self.nms_threshold, most=self.detections)

    def _check_classes(self, count: int) -> None:
        if self.classes is not None and len(self.classes) != count:
            raise EdgecnnError(f"classes names {len(self.classes)} output classes, the head has {count}")

    def _best(self, scores: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return boxes and classes of the best pairs over the threshold, of scores [k, classes]."""
        over = np.flatnonzero(scores > self.score_threshold)
        best = over[np.argsort(-scores.ravel()[over], kind="stable")][: self.candidates]
        return best // scores.shape[1], best % scores.shape[1]


@dataclass(frozen=True, kw_only=True)
class YoloV8(Parameters):
    """The layout of YOLOv8, v9 and 11: one output [n, 4 + classes, k], or two, boxes [n, 4, k] and scores apart.

    Boxes are centre x, centre y, width and height in pixels; scores are after the sigmoid, [0, 1].

    Example:
        >>> head = np.zeros((1, 4 + 2, 3))
        >>> head[0, :, 1] = 16, 16, 8, 4, 0.1, 0.9
        >>> YoloV8(score_threshold=0.5)([head])[0].xyxy.tolist()
        [[12.0, 14.0, 20.0, 18.0]]
    """

    def __call__(self, outputs: Outputs) -> list[Detections]:
        """Return the detections of n images."""
        heads = _as_heads("yolov8", outputs, ((3,), (3, 3)))
        if len(heads) == 2 and heads[0].shape[1] != 4:
            heads.reverse()
        head = np.concatenate(heads, axis=1) if heads[0].shape[2] == heads[-1].shape[2] else heads[0]
        if head.shape[1] < 5 or (len(heads) == 2 and heads[0].shape[1] != 4):
            raise EdgecnnError(
                f"decoder yolov8: expected an output [n, 4 + classes, k], or [n, 4, k] and [n, classes, k]; "
                f"found {_shapes(outputs)}"
            )
        return [self._image(one.T[:, :4], one.T[:, 4:]) for one in head.astype(np.float64)]

    def _image(self, centred: Array, scores: Array) -> Detections:
        self._check_classes(scores.shape[1])
        at, classes = self._best(scores)
        return self._kept(corners(centred[at]), scores[at, classes], classes)


@dataclass(frozen=True, kw_only=True)
class YoloV5(Parameters):
    """The layout of YOLOv5, v6, v7 and YOLOX after decoding: one output [n, k, 5 + classes].

    Boxes are centre x, centre y, width and height in pixels; the fifth is the objectness, by which the scores of the
    classes are multiplied; both are after the sigmoid, [0, 1].
    """

    nms_threshold: float = 0.6

    def __call__(self, outputs: Outputs) -> list[Detections]:
        """Return the detections of n images."""
        (head,) = _as_heads("yolov5", outputs, ((3,),))
        if head.shape[2] < 6:
            raise EdgecnnError(f"decoder yolov5: expected an output [n, k, 5 + classes], found {list(head.shape)}")
        return [self._image(one) for one in head.astype(np.float64)]

    def _image(self, head: Array) -> Detections:
        scores = head[:, 5:] * head[:, 4:5]
        self._check_classes(scores.shape[1])
        at, classes = self._best(scores)
        return self._kept(corners(head[at, :4]), scores[at, classes], classes)


@dataclass(frozen=True, kw_only=True)
class Ssd(Parameters):
    """The heads of SSD and SSDLite, as torchvision has them: box offsets [n, k, 4] and class logits [n, k, classes].

    Class 0 is the background; the logits go through a softmax. See `ssd_anchors` for the anchors.

    Args:
        grids: height and width of each of m feature maps.
        aspect_ratios: of the anchors of each map, without 1 and without inverses.
        scales: [m + 1], of the anchors, as shares of the input.
        steps: [m], pixels between anchors; None: the input divided by the grid.
        clip_anchors: whether anchors are at most as large as the input.
        weights: by which offsets are divided: x, y, width, height.
    """

    size: Grid = field()  # without the default that it has above
    grids: tuple[Grid, ...]
    aspect_ratios: tuple[tuple[float, ...], ...]
    scales: tuple[float, ...]
    steps: tuple[float, ...] | None = None
    clip_anchors: bool = True
    weights: tuple[float, ...] = (10.0, 10.0, 5.0, 5.0)
    score_threshold: float = 0.01
    nms_threshold: float = 0.45
    candidates: int = 400
    detections: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        maps = len(self.grids)
        if len(self.aspect_ratios) != maps or len(self.scales) != maps + 1 or len(self.steps or self.grids) != maps:
            raise EdgecnnError(
                f"{maps} feature maps need aspect_ratios and steps of {maps} and scales of {maps + 1} numbers, found "
                f"{len(self.aspect_ratios)}, {len(self.steps or self.grids)} and {len(self.scales)}"
            )

    @property
    def anchors(self) -> Array:
        """The anchors, [k, 4] in pixels."""
        return ssd_anchors(self.size, self.grids, self.aspect_ratios, self.scales, self.steps, clip=self.clip_anchors)

    def __call__(self, outputs: Outputs) -> list[Detections]:
        """Return the detections of n images."""
        anchors = self.anchors
        offsets, logits = _anchored("ssd", outputs, len(anchors))
        exponents = np.exp(logits - logits.max(axis=2, keepdims=True))
        scores = exponents / exponents.sum(axis=2, keepdims=True)
        return [self._image(*one, anchors) for one in zip(offsets, scores, strict=True)]

    def _image(self, offsets: Array, scores: Array, anchors: Array) -> Detections:
        self._check_classes(scores.shape[1])
        boxes = clip(decode_deltas(offsets, anchors, self.weights), self.size)
        at, classes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number in range(1, scores.shape[1]):
            best, _ = self._best(scores[:, number : number + 1])
            at.append(best)
            classes.append(np.full(len(best), number if self.classes is not None else number - 1))
        chosen, numbers = np.concatenate(at), np.concatenate(classes)
        column = numbers if self.classes is not None else numbers + 1
        return self._kept(boxes[chosen], scores[chosen, column], numbers)


@dataclass(frozen=True, kw_only=True)
class RetinaNet(Parameters):
    """The heads of RetinaNet, as torchvision has them: box offsets [n, k, 4] and class logits [n, k, classes].

    The logits go through a sigmoid, and there is no class for the background. See `grid_anchors` for the anchors.

    Args:
        grids: height and width of each of m feature maps.
        anchor_sizes: of the anchors of each map, in pixels.
        aspect_ratios: of the anchors of each map, height / width.
        weights: by which offsets are divided: x, y, width, height.
    """

    size: Grid = field()  # without the default that it has above
    grids: tuple[Grid, ...]
    anchor_sizes: tuple[tuple[float, ...], ...]
    aspect_ratios: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    candidates: int = 1000
    detections: int = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.grids) == len(self.anchor_sizes) == len(self.aspect_ratios):
            raise EdgecnnError(f"{len(self.grids)} feature maps need as many anchor_sizes and aspect_ratios")

    def __call__(self, outputs: Outputs) -> list[Detections]:
        """Return the detections of n images."""
        maps = grid_anchors(self.size, self.grids, self.anchor_sizes, self.aspect_ratios)
        offsets, logits = _anchored("retinanet", outputs, sum(map(len, maps)))
        scores = _sigmoid(logits)
        return [self._image(*one, maps) for one in zip(offsets, scores, strict=True)]

    def _image(self, offsets: Array, scores: Array, maps: Sequence[Array]) -> Detections:
        self._check_classes(scores.shape[1])
        parts, start = [], 0
        for anchors in maps:
            at, classes = self._best(scores[start : start + len(anchors)])
            boxes = clip(decode_deltas(offsets[start + at], anchors[at], self.weights), self.size)
            parts.append((boxes, scores[start + at, classes], classes))
            start += len(anchors)
        boxes, chosen, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
        return self._kept(boxes, chosen, numbers)


@dataclass(frozen=True, kw_only=True)
class Fcos(Parameters):
    """The heads of FCOS, as torchvision has them: distances [n, k, 4], class logits [n, k, classes], centres [n, k, 1].

    A score is the root of the sigmoid of the class times that of the centre (Tian et al. 2019, section 3.2); distances
    are from the middle of a cell to the four edges, in sides of its anchor.

    Args:
        grids: height and width of each of m feature maps.
        anchor_sizes: [m], in pixels: the unit of the distances of each map.
    """

    size: Grid = field()  # without the default that it has above
    grids: tuple[Grid, ...]
    anchor_sizes: tuple[float, ...]
    score_threshold: float = 0.2
    nms_threshold: float = 0.6
    candidates: int = 1000
    detections: int = 100

    def __call__(self, outputs: Outputs) -> list[Detections]:
        """Return the detections of n images."""
        maps = grid_anchors(self.size, self.grids, [(one,) for one in self.anchor_sizes], [(1.0,)] * len(self.grids))
        heads = _as_heads("fcos", outputs, ((3, 3, 3),))
        by_columns = sorted(heads, key=lambda head: (head.shape[2] != 1, head.shape[2] != 4))
        centres, *others = by_columns
        offsets, logits = _anchored("fcos", others, sum(map(len, maps)))
        scores = np.sqrt(_sigmoid(logits) * _sigmoid(centres.astype(np.float64)))
        return [self._image(*one, maps) for one in zip(offsets, scores, strict=True)]

    def _image(self, offsets: Array, scores: Array, maps: Sequence[Array]) -> Detections:
        self._check_classes(scores.shape[1])
        parts, start = [], 0
        for anchors in maps:
            at, classes = self._best(scores[start : start + len(anchors)])
            sides = np.tile(anchors[at, 2:] - anchors[at, :2], 2)
            middle = np.tile((anchors[at, :2] + anchors[at, 2:]) / 2, 2)
            boxes = middle + offsets[start + at] * sides * [-1, -1, 1, 1]
            boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
            parts.append((clip(boxes, self.size), scores[start + at, classes], classes))
            start += len(anchors)
        boxes, chosen, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
        return self._kept(boxes, chosen, numbers)


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in tuples of tuples."""
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif value is not None:
        yield value


def _sigmoid(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-logits.clip(-60, 60))))


def _anchored(name: str, outputs: Outputs, anchors: int) -> tuple[Array, Array]:
    """Return offsets [n, k, 4] and logits [n, k, classes] for k *anchors*, in whichever order *outputs* has them.

    Raises:
        EdgecnnError: outputs of another form, or for another number of anchors.
    """
    heads = _as_heads(name, outputs, ((3, 3),))
    # Where both have four columns, torchvision's order of the two in SSD stands: offsets first.
    offsets, logits = heads if heads[0].shape[2] == 4 else heads[::-1]
    if offsets.shape[2] != 4 or not offsets.shape[1] == logits.shape[1] == anchors:
        raise EdgecnnError(
            f"decoder {name}: expected box offsets [n, {anchors}, 4] and class logits [n, {anchors}, classes] for its "
            f"{anchors} anchors, found {_shapes(outputs)}"
        )
    return offsets.astype(np.float64), logits.astype(np.float64)


def _as_heads(name: str, outputs: Outputs, ranks: Sequence[tuple[int, ...]]) -> list[npt.NDArray[Any]]:
    """Return *outputs* as arrays, of one of the *ranks*.

    Raises:
        EdgecnnError: another number of outputs, or of other ranks.
    """
    heads = [np.asarray(output) for output in outputs]
    if tuple(head.ndim for head in heads) not in ranks:
        wanted = " or ".join(str(len(rank)) for rank in ranks)
        raise EdgecnnError(f"decoder {name}: expected {wanted} outputs of 3 dimensions, found {_shapes(outputs)}")
    return heads


def _shapes(outputs: Outputs) -> str:
    return ", ".join(str(list(np.shape(output))) for output in outputs) or "none"
