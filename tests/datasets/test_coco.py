"""`coco:DIR`: found in each layout, numbered without gaps, resized with the images; hostile files end in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecnn.datasets import open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.tasks.boxes import Boxes

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}, {"id": 2, "name": "ant"}]


def document(count: int = 5, **changes: Any) -> dict[str, Any]:
    """Return the annotations of images of 40x20 pixels, the first of which has a dog and a crowd of ants."""
    return {
        "images": [{"id": 10 + n, "file_name": f"{n}.png", "width": 40, "height": 20} for n in range(count)],
        "categories": [*CATEGORIES],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 90, "bbox": [4, 2, 20, 10]},
            {"id": 2, "image_id": 10, "category_id": 2, "bbox": [30, 10, 15, 10], "iscrowd": 1, "segmentation": []},
            {"id": 3, "image_id": 11, "category_id": 7, "bbox": [0, 0, 10, 5]},
        ],
        **changes,
    }


def write_images(folder: Path, count: int = 5) -> None:
    """Write images whose first box is bright."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.zeros((20, 40, 3), np.uint8)
        pixels[2:12, 4:24] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")


def first(data: Any) -> tuple[Any, Boxes]:
    """Return the pixels and boxes of image 0."""
    samples = data.evaluation
    assert samples.labels is not None
    return samples.images[np.asarray([0])][0], samples.labels[0]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images."""
    folder = tmp_path_factory.mktemp("coco")
    write_images(folder)
    return folder


LAYOUTS = {
    "official": ("annotations/instances_train2017.json", "train2017", "annotations/instances_val2017.json", "val2017"),
    "one folder a part": ("train/_annotations.coco.json", "train", "valid/_annotations.coco.json", "valid"),
    "images apart": ("train.json", "images/train", "val.json", "images/val"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_are_found_in_each_layout(tmp_path: Path, layout: str) -> None:
    """The training part is not read to evaluate; both have the classes in the order of their ids, without gaps."""
    train, train_images, val, val_images = (tmp_path / part for part in LAYOUTS[layout])
    for path, images, count in ((train, train_images, 4), (val, val_images, 3)):
        write_images(images, count)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document(count)))
    (tmp_path / "annotations").mkdir(exist_ok=True)
    (tmp_path / "annotations" / "captions_val2017.json").write_text("{}")
    data = open_dataset(f"coco:{tmp_path}")
    assert (data.task, data.labels, data.shape) == ("detection", ("ant", "cat", "dog"), (3, 20, 40))
    assert (len(data.training), len(data.evaluation)) == (4, 3)
    assert first(data)[1].classes.tolist() == [2, 0]
    train.write_text("broken")
    assert len(open_dataset(f"coco:{tmp_path}").evaluation) == 3


def test_one_file_is_split(tmp_path: Path) -> None:
    """Without parts a fifth of the images is for evaluation; images without objects count, and are told."""
    write_images(tmp_path / "images", 10)
    (tmp_path / "all.json").write_text(json.dumps(document(10)))
    data = open_dataset(f"coco:{tmp_path}")
    assert (len(data.training), len(data.evaluation)) == (8, 2)
    assert data.assumptions == ("8 of 10 images have no annotations, and so no objects",)


@pytest.mark.parametrize(
    ("resize", "box", "crowd"),
    [
        (None, [8, 8, 48, 48], [60, 40, 80, 80]),
        ("stretch", [8, 8, 48, 48], [60, 40, 80, 80]),
        ("letterbox", [8, 24, 48, 44], [60, 40, 80, 60]),
        ("80", [0, 8, 56, 48], [80, 40, 80, 80]),
    ],
)
def test_boxes_are_resized_with_their_images(
    tmp_path: Path, resize: str | None, box: list[int], crowd: list[int]
) -> None:
    """Stretched, framed or cut: the box is where the bright pixels are; what is cut off is left out."""
    write_images(tmp_path)
    (tmp_path / "all_val.json").write_text(json.dumps(document()))
    data = open_dataset(f"coco:{tmp_path}", side=(80, 80), resize=resize, channels=1)
    pixels, boxes = first(data)
    assert boxes.xyxy.tolist() == ([box, crowd] if crowd[0] < 80 else [box])
    assert boxes.size == (80, 80)
    inside = np.zeros((80, 80), bool)
    left, top, right, bottom = box
    inside[top:bottom, left:right] = True
    bright = pixels[0] > 190
    assert (bright & inside).sum() / (bright | inside).sum() > 0.9
    if resize is None:
        assert "--resize letterbox" in data.assumptions[0]
        assert boxes.crowd is not None
        assert boxes.crowd.tolist() == [False, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 5}, "no list 'images' in it"),
        ({"images": []}, "it lists no images"),
        ({"images": [{"id": 1}]}, r"images\[0\] lacks file_name"),
        ({"images": [{"id": "a", "file_name": "0.png"}]}, r"images\[0\]: id: expected int, found 'a'"),
        ({"images": [{"id": 10, "file_name": "0.png"}] * 2}, "two images have the same id"),
        ({"annotations": []}, "it has no annotations, and so nothing to detect"),
        ({"annotations": [[]]}, r"annotations\[0\] lacks an object"),
        (
            {"annotations": [{"image_id": 99, "category_id": 2, "bbox": [0, 0, 1, 1]}]},
            r"annotations\[0\] is for image 99, which is not listed",
        ),
        (
            {"annotations": [{"image_id": 10, "category_id": 3, "bbox": [0, 0, 1, 1]}]},
            "has category 3; categories has 7, 90, 2",
        ),
        (
            {"annotations": [{"image_id": 10, "category_id": 2, "bbox": [0, 0, -1, 1]}]},
            r"bbox is left, top, width and height in pixels, found \[0.0, 0.0, -1.0, 1.0\]",
        ),
        (
            {"annotations": [{"image_id": 10, "category_id": 2, "bbox": [400, 0, 5, 5]}]},
            r"image 10 \(0.png\) of 40x20 pixels has a box outside of it",
        ),
        ({"annotations": [{"image_id": 10, "category_id": 2, "bbox": "abcd"}]}, "bbox: expected a list"),
        ({"images": [{"id": 10, "file_name": "0.png", "width": 10, "height": 9}]}, "its annotations are for 10x9"),
        ({"images": [{"id": 10, "file_name": "missing.png"}]}, "1 of its 1 images are not there, the first is missing"),
    ],
)
def test_annotations_that_do_not_hold_are_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Each fault ends in one line with the file and the entry."""
    write_images(tmp_path)
    content = document()
    if "images" in changes and "annotations" not in changes:
        content["annotations"] = [{"image_id": 10, "category_id": 2, "bbox": [0, 0, 5, 5]}]
    (tmp_path / "all.json").write_text(json.dumps({**content, **changes}))
    with pytest.raises(EdgecnnError, match=message) as told:
        list(open_dataset(f"coco:{tmp_path}").evaluation)
    assert "\n" not in str(told.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**66), 2**66) | st.floats(allow_nan=True) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    place=st.sampled_from(
        [
            *(("images", key) for key in ("id", "file_name", "width", "height")),
            *(("annotations", key) for key in ("image_id", "category_id", "bbox", "iscrowd")),
            *(("categories", key) for key in ("id", "name")),
            *((key, "") for key in ("images", "annotations", "categories")),
        ]
    ),
)
def test_whatever_stands_there_ends_in_samples_or_in_one_line(
    images: Path, data: st.DataObject, place: tuple[str, str]
) -> None:
    """Any value in place of any other is taken, or refused without a traceback."""
    content, value = document(), data.draw(VALUES)
    if place[1]:
        content[place[0]][0] = {**content[place[0]][0], place[1]: value}
    else:
        content[place[0]] = value
    (images / "all.json").write_text(json.dumps(content))
    try:
        list(open_dataset(f"coco:{images}").evaluation)
    except EdgecnnError as error:
        assert "\n" not in str(error)  # noqa: PT017 (a value may do as well)


def test_files_that_are_no_annotations_are_told(tmp_path: Path) -> None:
    """No folder, no JSON, two JSON files, or parts of different categories."""
    with pytest.raises(EdgecnnError, match=r"no folder at .* \(for --data coco:DIR\)"):
        open_dataset(f"coco:{tmp_path / 'none'}")
    with pytest.raises(EdgecnnError, match=r"expected one JSON file of annotations.*found none"):
        open_dataset(f"coco:{tmp_path}")
    (tmp_path / "a.json").write_text("[" * 5000)
    with pytest.raises(EdgecnnError, match="nested more than 64 deep"):
        open_dataset(f"coco:{tmp_path}")
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(EdgecnnError, match=r"found a\.json, b\.json"):
        open_dataset(f"coco:{tmp_path}")
    write_images(tmp_path)
    (tmp_path / "val.json").write_text(json.dumps(document()))
    with pytest.raises(EdgecnnError, match="evaluation samples only"):
        open_dataset(f"coco:{tmp_path}").calibration(1)
    (tmp_path / "train.json").write_text(json.dumps(document(categories=[*CATEGORIES, {"id": 1}])))
    with pytest.raises(EdgecnnError, match="have different categories"):
        open_dataset(f"coco:{tmp_path}").calibration(1)
