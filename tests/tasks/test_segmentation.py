"""Mean IoU and pixel accuracy, and outputs of another size than the masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.segmentation import MeanIoU, PixelAccuracy, answered
from edgecnn.tasks.task import score_of

RNG = np.random.default_rng(0)


def logits_of(masks: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """Return logits [n, C, H, W] whose highest is the class of each pixel."""
    return np.eye(classes, dtype=np.float32)[masks].transpose(0, 3, 1, 2)


def test_values_by_hand() -> None:
    """Two images of four pixels: each class is counted over both before it is divided."""
    masks = np.asarray([[[0, 0], [1, 255]], [[1, 1], [1, 0]]])
    answers = np.asarray([[[0, 1], [1, 2]], [[1, 1], [0, 0]]])
    outputs = [logits_of(answers, 4)]
    records = MeanIoU().record(outputs, masks)
    # Class 0: 2 common of 4 in either; class 1: 3 of 5; class 2 stands only where nothing counts; class 3 nowhere.
    assert records.sum(axis=0).tolist() == [[2, 4], [3, 5], [0, 0], [0, 0]]
    assert MeanIoU().value(records) == pytest.approx((2 / 4 + 3 / 5) / 2)
    right = PixelAccuracy().record(outputs, masks)
    assert right.tolist() == [[2, 3], [3, 4]]
    score = score_of(PixelAccuracy(), right)
    assert score.value == pytest.approx(5 / 7)
    assert 2 / 3 <= score.low <= score.value <= score.high <= 3 / 4


@pytest.mark.parametrize("size", [(3, 4), (12, 5), (7, 9)])
def test_logits_are_resized_as_torch_does(size: tuple[int, int]) -> None:
    """Lower and higher resolutions come to the masks as `interpolate(mode="bilinear", align_corners=False)` has it."""
    logits = RNG.normal(size=(2, 5, *size)).astype(np.float32)
    found, classes = answered([logits], np.zeros((2, 12, 13), np.uint8))
    resized = torch.nn.functional.interpolate(torch.from_numpy(logits), (12, 13), mode="bilinear", align_corners=False)
    assert classes == 5
    assert (np.stack(found) == resized.argmax(1).numpy()).mean() > 0.99  # but for ties in float32


def test_class_numbers_are_taken_as_they_are() -> None:
    """A file that ends in ArgMax gives class numbers, resized to the nearest; a vector is passed over."""
    numbers = np.asarray([[[0, 3], [7, 1]]])
    found, _ = answered([np.zeros((1, 4)), numbers], np.zeros((1, 4, 4), np.uint8))
    assert found[0].tolist() == [[0, 0, 3, 3], [0, 0, 3, 3], [7, 7, 1, 1], [7, 7, 1, 1]]


def test_an_image_without_any_pixel_that_counts_is_left_out() -> None:
    """A mask that is ignored as a whole changes nothing, and alone it comes to no figure."""
    masks = np.full((1, 2, 2), 255)
    outputs = [logits_of(np.zeros_like(masks), 2)]
    assert np.isnan(MeanIoU().value(MeanIoU().record(outputs, masks)))
    with pytest.raises(EdgecnnError, match="metric mIoU gives nan"):
        score_of(MeanIoU(), MeanIoU().record(outputs, masks))


@pytest.mark.parametrize(
    ("shape", "masks", "message"),
    [
        ((1, 3, 4, 4), np.full((1, 4, 4), 3), r"value 3, the output has 3 classes, 0 to 2 \(255 is ignored\)"),
        ((1, 1, 4, 4), np.zeros((1, 4, 4), int), r"two classes or more.*found \[1, 1, 4, 4\]; make them with --decode"),
        ((1, 10), np.zeros((1, 4, 4), int), r"found \[1, 10\]"),
        ((1, 3, 4, 4), np.zeros((2, 4, 4), int), "1 answers for 2 masks"),
        ((1, 3, 4, 4), np.zeros((1, 4, 4)), "the targets are no label images"),
        ((1, 3, 4, 4), np.zeros(1, int), "the targets are no label images"),
    ],
)
def test_what_cannot_be_judged_is_told(shape: tuple[int, ...], masks: npt.NDArray[np.generic], message: str) -> None:
    """Each mistake ends in one line that says what is needed and what was found."""
    for metric in (MeanIoU(), PixelAccuracy()):
        with pytest.raises(EdgecnnError, match=message):
            metric.record([np.zeros(shape, np.float32)], masks)
