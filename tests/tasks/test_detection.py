"""The mean average precision is COCO's."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.boxes import Boxes, Detections, per_image
from edgecnn.tasks.detection import DETECTION
from edgecnn.tasks.task import bootstrap, score_of

MAP, MAP50 = DETECTION.metrics


def scenes(n: int, seed: int = 0) -> tuple[list[Boxes], list[Detections]]:
    """Return the objects of n images and detections around some of them, with others besides; some crowds."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(n):
        k = int(rng.integers(0, 6))
        corners = rng.uniform(0, 60, (k, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(4, 30, (k, 2))], axis=1)
        truth.append(Boxes(boxes, rng.integers(0, 4, k), rng.random(k) < 0.15, size=(100, 100)))
        near = np.concatenate([boxes, boxes[: k // 2]]) + rng.normal(0, 2, (k + k // 2, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        classes = np.concatenate([truth[-1].classes, truth[-1].classes[: k // 2]])
        classes = np.where(rng.random(len(classes)) < 0.2, rng.integers(0, 4, len(classes)), classes)
        found.append(Detections(near, rng.random(len(near)).round(1), classes))
    return truth, found


def of_pycocotools(truth: list[Boxes], found: list[Detections]) -> tuple[float, float]:
    """Return mAP50-95 and mAP50 as pycocotools itself accumulates them."""
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truth))],
            "categories": [{"id": c} for c in range(4)],
            "annotations": [],
        }
        guesses = []
        for image, (objects, detections) in enumerate(zip(truth, found, strict=True)):
            for (a, b, c, d), number, crowd in zip(objects.xyxy, objects.classes, objects.crowd, strict=True):  # type: ignore[arg-type]
                gt.dataset["annotations"].append(
                    {
                        "id": len(gt.dataset["annotations"]) + 1,
                        "image_id": image,
                        "category_id": int(number),
                        "bbox": [a, b, c - a, d - b],
                        "area": (c - a) * (d - b),
                        "iscrowd": int(crowd),
                    }
                )
            for (a, b, c, d), score, number in zip(detections.xyxy, detections.scores, detections.classes, strict=True):
                guesses.append(
                    {"image_id": image, "category_id": int(number), "bbox": [a, b, c - a, d - b], "score": score}
                )
        gt.createIndex()
        evaluation = COCOeval(gt, gt.loadRes(guesses), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


def test_the_figures_are_those_of_pycocotools() -> None:
    """Crowds, ties, images without objects and wrong classes come to the same mAP50-95 and mAP50."""
    truth, found = scenes(60)
    expected = of_pycocotools(truth, found)
    records = np.concatenate(
        [MAP.record(found[at : at + 7], per_image(truth[at : at + 7])) for at in range(0, 60, 7)]  # type: ignore[arg-type]
    )
    assert MAP.value(records) == pytest.approx(expected[0], abs=1e-9)
    assert MAP50.value(records) == pytest.approx(expected[1], abs=1e-9)
    assert 0.1 < expected[0] < expected[1] < 0.9


def test_perfect_boxes_have_one_and_none_have_zero() -> None:
    """Boxes that are the objects come to 1, no boxes to 0; a class that is nowhere does not count."""
    truth = per_image([Boxes([[0, 0, 9, 9], [5, 5, 20, 20]], [2, 7])])
    right = [(truth[0].xyxy, [0.5, 0.9], [2, 7])]
    assert MAP.value(MAP.record(right, truth)) == pytest.approx(1.0)  # type: ignore[arg-type]
    none = MAP.record([([], [], [])], truth)  # type: ignore[list-item]
    assert MAP.details(none) == {"average_precision": {"2": 0.0, "7": 0.0}}  # type: ignore[attr-defined]
    assert score_of(MAP50, none).value == 0.0
    assert np.isnan(MAP.value(MAP.record(right, per_image([Boxes([], [])]))))  # type: ignore[arg-type]


def test_the_interval_is_of_the_images() -> None:
    """The bootstrap draws images; its interval holds the figure."""
    truth, found = scenes(40, seed=1)
    records = MAP50.record(found, per_image(truth))  # type: ignore[arg-type]
    score = score_of(MAP50, records)
    assert score.low < score.value < score.high < score.low + 0.4
    assert score.n == 40
    again = bootstrap(lambda at: MAP50.value(records[at]), 40)
    assert (score.low, score.high) == pytest.approx(again, abs=0.02)  # but for equal scores, in images drawn twice


def test_a_drop_is_of_pairs() -> None:
    """The same records lose nothing, with no interval; without every other detection the figure falls."""
    truth, found = scenes(40, seed=1)
    before = MAP.record(found, per_image(truth))  # type: ignore[arg-type]
    after = MAP.record([one[::2] for one in found], per_image(truth))  # type: ignore[arg-type]
    assert MAP.lost(before, before) == (0.0, 0.0, 0.0)  # type: ignore[attr-defined]
    drop, low, high = MAP.lost(before, after)  # type: ignore[attr-defined]
    assert drop == pytest.approx(MAP.value(before) - MAP.value(after))
    assert 0 < low < drop < high


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([np.zeros((1, 84, 10))], r"outputs \[1, 84, 10\] have to be decoded to boxes: add --decode"),
        ([], "for 1; it returns"),
        (7, "the decoder gives int for 1"),
        ([([], [], []), ([], [], [])], "the decoder gives 2 images for 1"),
        ([{"boxes": []}], r"image 0 of the batch is no \(boxes, scores, classes\) but dict"),
        ([([[0, 0, 1, np.nan]], [1], [0])], "image 0 of the batch: detections: box 0 has an edge that is not finite"),
        ([([[0, 0, 1, 1]], [np.nan], [0])], "one not finite"),
        ([(["a"], [1], [0])], "holds no numbers"),
        ([([[300, 10, 310, 20]], [1], [0])], r"outside of the input of 100x50 pixels: \[300.0, 10.0, 310.0, 20.0\]"),
        ([([[5, -9, 8, -3]], [1], [0])], "outside of the input"),
        ([([[0, 0, 1, 1]], [0.5, 0.5], [0])], r"\[2\] scores for 1 boxes|2. scores for 1 boxes"),
    ],
)
def test_what_no_decoder_should_give_is_told(outputs: Any, message: str) -> None:
    """Raw outputs, other lengths, NaN and boxes outside of the image are each one line."""
    with pytest.raises(EdgecnnError, match=message):
        MAP.record(outputs, per_image([Boxes([[0, 0, 4, 4]], [0], size=(50, 100))]))


def test_targets_that_are_no_boxes_are_told() -> None:
    """Class numbers cannot be detected."""
    with pytest.raises(EdgecnnError, match="the targets are no boxes; use --data coco:DIR"):
        MAP.record([([], [], [])], np.arange(1))  # type: ignore[list-item]
