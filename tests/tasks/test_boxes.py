"""Boxes and detections say what is wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.boxes import Boxes, Detections, per_image


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"xyxy": [[1, 2, 3]], "classes": [0]}, r"boxes \[k, 4\] and classes \[k\], found \(1, 3\)"),
        ({"xyxy": [[1, 2, 3, 4]], "classes": [0, 1]}, r"found \(1, 4\) and \(2,\)"),
        ({"xyxy": [[1, 2, 3, np.nan]], "classes": [0]}, "box 0 has an edge that is not finite"),
        ({"xyxy": [[0, 0, 1, 1], [5, 2, 3, 4]], "classes": [0, 0]}, "box 1, .* has its right or bottom edge before"),
        ({"xyxy": [[0, 0, 1, 1]], "classes": [-1]}, "whole numbers from 0"),
        ({"xyxy": [[0, 0, 1, 1]], "classes": [0.5]}, "whole numbers from 0"),
    ],
)
def test_boxes_that_are_none_are_refused(given: dict[str, Any], message: str) -> None:
    """Each fault is told in one line, with the box that has it."""
    with pytest.raises(EdgecnnError, match=message):
        Boxes(**given)


def test_scores_fit_their_boxes() -> None:
    """There is one finite score for each detection."""
    with pytest.raises(EdgecnnError, match="scores for 1 boxes"):
        Detections([[0, 0, 1, 1]], [0.5, 0.5], [0])
    with pytest.raises(EdgecnnError, match="one not finite"):
        Detections([[0, 0, 1, 1]], [np.inf], [0])


def test_an_image_without_objects_is_one() -> None:
    """No boxes at all are boxes, however they are written; an array of images holds them."""
    images = per_image([Boxes([], []), Boxes(np.zeros((0, 4)), np.zeros(0, int)), Boxes([[0, 0, 1, 1]], [2])])
    assert [len(image) for image in images] == [0, 0, 1]
    assert images[0].xyxy.shape == (0, 4)
    assert images[2][np.array([False])].classes.shape == (0,)
