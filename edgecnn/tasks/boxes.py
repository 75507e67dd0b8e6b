"""The boxes of an image: `Boxes`, which are there, and `Detections`, which a network found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.short_repr import short_repr


@dataclass(frozen=True, eq=False)
class Boxes:
    """The k objects in an image: what a detector is to find. Boxes are in pixels of the network's input.

    Args:
        xyxy: float [k, 4]: left, top, right and bottom edge; x to the right, y down, from the top left corner.
        classes: [k], class numbers from 0.
        crowd: bool [k], boxes around groups of objects: finding them is neither right nor wrong (COCO's `iscrowd`);
            None: there are none.
        size: height and width of the input, where it is known; boxes are within it.

    Raises:
        EdgecnnError: the lengths differ, or a box has a negative or no finite size.

    Example:
        >>> Boxes(xyxy=[[2, 3, 10, 12]], classes=[7])
        Boxes(xyxy=float64[1, 4], classes=int64[1])
    """

    __repr__ = short_repr

    xyxy: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_] | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        xyxy, classes = _columns("boxes", self.xyxy, self.classes)
        object.__setattr__(self, "xyxy", xyxy)
        object.__setattr__(self, "classes", classes.astype(np.int64))
        if self.crowd is not None:
            object.__setattr__(self, "crowd", np.asarray(self.crowd, bool).reshape(len(classes)))

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, chosen: Any) -> Boxes:
        """Return the boxes of an index array or a mask."""
        crowd = None if self.crowd is None else self.crowd[chosen]
        return Boxes(self.xyxy[chosen], self.classes[chosen], crowd, self.size)


@dataclass(frozen=True, eq=False)
class Detections:
    """The k boxes that a decoder found in an image, in pixels of the network's input.

    Args:
        xyxy: float [k, 4]: left, top, right and bottom edge.
        scores: float [k], higher where surer.
        classes: [k], class numbers from 0, without one for the background.

    Raises:
        EdgecnnError: the lengths differ, or a number is not finite.

    Example:
        >>> Detections(xyxy=[[2, 3, 10, 12]], scores=[0.9], classes=[7])
        Detections(xyxy=float64[1, 4], scores=float64[1], classes=int64[1])
    """

    __repr__ = short_repr

    xyxy: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        xyxy, classes = _columns("detections", self.xyxy, self.classes)
        scores = np.asarray(self.scores, np.float64)
        if scores.shape != classes.shape or not np.isfinite(scores).all():
            raise EdgecnnError(f"detections: {list(scores.shape)} scores for {len(classes)} boxes, or one not finite")
        object.__setattr__(self, "xyxy", xyxy)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "classes", classes.astype(np.int64))

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, chosen: Any) -> Detections:
        """Return the detections of an index array or a mask."""
        return Detections(self.xyxy[chosen], self.scores[chosen], self.classes[chosen])


def _columns(what: str, xyxy: Any, classes: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
    """Return boxes [k, 4] and classes [k] as arrays.

    Raises:
        EdgecnnError: other shapes, edges that are not finite or the wrong way round, other class numbers.
    """
    edges, numbers = np.asarray(xyxy, np.float64), np.asarray(classes)
    if not numbers.size:
        edges, numbers = edges.reshape(-1, 4), numbers.reshape(-1).astype(np.int64)
    if edges.ndim != 2 or edges.shape[1] != 4 or numbers.shape != edges.shape[:1]:
        raise EdgecnnError(f"{what}: expected boxes [k, 4] and classes [k], found {edges.shape} and {numbers.shape}")
    if not np.isfinite(edges).all():
        raise EdgecnnError(f"{what}: box {_first(~np.isfinite(edges).all(axis=1))} has an edge that is not finite")
    if (edges[:, 2:] < edges[:, :2]).any():
        first = _first((edges[:, 2:] < edges[:, :2]).any(axis=1))
        raise EdgecnnError(
            f"{what}: box {first}, {edges[first].tolist()}, has its right or bottom edge before the other one; "
            f"boxes are left, top, right, bottom"
        )
    if (numbers != np.floor(numbers)).any() or numbers.min(initial=0) < 0:
        raise EdgecnnError(f"{what}: classes are whole numbers from 0, found {numbers.tolist()[:8]}")
    return edges, numbers


def _first(wrong: Any) -> int:
    return int(wrong.argmax())


def per_image(items: Iterable[Any]) -> npt.NDArray[Any]:
    """Return what n images have, `Boxes` perhaps, as an array [n] of dtype object, as `Samples` and metrics take it."""
    listed = list(items)
    array = np.empty(len(listed), object)
    array[:] = listed
    return array
