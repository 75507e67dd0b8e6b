"""`scenes`: the same each time, with boxes and masks that are where the digits are."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.datasets import Dataset, open_dataset
from edgecnn.errors import EdgecnnError


@pytest.fixture(scope="module")
def detection() -> Dataset:
    """Scenes with boxes."""
    return open_dataset("scenes", side=(64, 48), channels=1)


@pytest.fixture(scope="module")
def segmentation() -> Dataset:
    """Scenes with masks."""
    return open_dataset("scenes:segmentation", side=(64, 48), channels=1)


def test_boxes_and_masks_are_of_the_same_digits(detection: Dataset, segmentation: Dataset) -> None:
    """Both tasks have the same images; each box is the frame of the pixels of its digit, and no other has any."""
    assert (detection.task, segmentation.task) == ("detection", "segmentation")
    assert detection.labels == tuple("0123456789")
    assert segmentation.labels == ("background", *"0123456789")
    few = np.arange(40)
    boxes, masks = detection.evaluation.labels, segmentation.evaluation.labels
    assert boxes is not None
    assert masks is not None
    images = detection.evaluation.images[few]
    assert (images == segmentation.evaluation.images[few]).all()
    for scene, mask in zip(boxes[few], masks[few], strict=True):
        left = mask.copy()
        for (x0, y0, x1, y1), digit in zip(scene.xyxy.astype(int), scene.classes, strict=True):
            inside = mask[y0:y1, x0:x1] == digit + 1
            assert inside.any(axis=0)[[0, -1]].all()
            assert inside.any(axis=1)[[0, -1]].all()
            left[y0:y1, x0:x1][inside] = 0
        assert not left.any()
        assert 1 <= len(scene) <= 4
    bright = [
        image[0][mask > 0].mean() - image[0][mask == 0].mean() for image, mask in zip(images, masks[few], strict=True)
    ]
    assert min(bright) > 20


def test_scenes_are_the_same_each_time(detection: Dataset) -> None:
    """Another opening, another order and another batch give the same images; the parts have different ones."""
    again = open_dataset("scenes:detection", side=(64, 48), channels=1)
    assert (again.evaluation.images[np.asarray([7, 3])] == detection.evaluation.images[np.asarray([3, 7])][::-1]).all()
    assert (detection.training.images[np.asarray([3])] != detection.evaluation.images[np.asarray([3])]).any()
    assert (len(detection.training), len(detection.evaluation)) == (2000, 500)


def test_scenes_take_the_form_of_the_network() -> None:
    """They are RGB of 96x96, or as small and gray as asked for."""
    assert open_dataset("scenes:segmentation").shape == (3, 96, 96)
    with pytest.raises(EdgecnnError, match="of 32 pixels or more; the network takes 3 channels of 16x16"):
        open_dataset("scenes", side=(16, 16))
    with pytest.raises(EdgecnnError, match="grayscale or RGB"):
        open_dataset("scenes", channels=2)
    with pytest.raises(EdgecnnError, match=r"unknown task of scenes 'pose'.*detection, segmentation"):
        open_dataset("scenes:pose")
