"""`masks:DIR`: label images stay in step with their images; what holds no classes is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgecnn.datasets import open_dataset
from edgecnn.errors import EdgecnnError


def write(images: Path, masks: Path, count: int, suffix: str = "") -> None:
    """Write images of 40x20 pixels whose upper left is bright, and masks of class 2 there; the last column is 255."""
    for folder in (images, masks):
        folder.mkdir(parents=True)
    for number in range(count):
        pixels, mask = np.zeros((20, 40, 3), np.uint8), np.zeros((20, 40), np.uint8)
        pixels[:10, :20] = 250
        mask[:10, :20] = 2
        mask[:, 39] = 255
        Image.fromarray(pixels).save(images / f"{number}.jpg", quality=95)
        palette = Image.fromarray(mask, "P") if number % 2 else Image.fromarray(mask)
        if number % 2:
            palette.putpalette([255, 0, 0] * 256)
        palette.save(masks / f"{number}{suffix}.png")


@pytest.mark.parametrize(
    ("layout", "parts"),
    [
        ({"images": "masks"}, (8, 2)),
        ({"JPEGImages": "SegmentationClass"}, (8, 2)),
        ({"train/images": "train/masks", "val/images": "val/masks"}, (10, 10)),
        ({"images/train": "masks/train", "images/val": "masks/val"}, (10, 10)),
    ],
)
def test_layouts_are_found(tmp_path: Path, layout: dict[str, str], parts: tuple[int, int]) -> None:
    """Each layout gives its parts; gray masks and palettes are read alike, also with `_mask` behind the name."""
    for images, masks in layout.items():
        write(tmp_path / images, tmp_path / masks, 10, "_mask" if "train" in images else "")
    (tmp_path / "classes.txt").write_text("ground\nsky\nroad\n")
    data = open_dataset(f"masks:{tmp_path}")
    assert (data.task, data.labels) == ("segmentation", ("ground", "sky", "road"))
    assert (len(data.training), len(data.evaluation)) == parts
    batch = next(iter(data.evaluation))
    assert batch.y is not None
    assert batch.y.dtype == np.uint8
    assert ((batch.y == 2) == (batch.x.mean(axis=1) > 125)).mean() > 0.99


@pytest.mark.parametrize("resize", [None, "letterbox", "50", "64:50"])
def test_masks_are_resized_with_their_images(tmp_path: Path, resize: str | None) -> None:
    """The class is where the bright pixels are; the frame beside the image is ignored."""
    write(tmp_path / "images", tmp_path / "masks", 5)
    data = open_dataset(f"masks:{tmp_path}", side=(50, 50), resize=resize)
    batch = next(iter(data.evaluation))
    assert batch.y is not None
    bright = batch.x.mean(axis=1) > 125
    assert bright.any()
    assert ((batch.y == 2) == bright).mean() > 0.97
    if resize == "letterbox":
        assert (batch.y[:, :12] == 255).all()
        assert (batch.x[:, :, :12] == 114).all()


def save(folder: Path, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.generic]) -> None:
    """Write one pair."""
    for name, pixels in (("images", image), ("masks", mask)):
        (folder / name).mkdir()
        Image.fromarray(pixels).save(folder / name / "a.png")


IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((8, 8, 3), np.uint8), r"a\.png: the mask has colours \(RGB\)"),
        (np.full((8, 8), 300, np.uint16), "values from 300 to 300; classes are 0 to 254"),
        (np.full((8, 8), 7, np.uint8), r"a\.png: the mask holds the value 7, and there are 2 classes, 0 to 1"),
        (np.zeros((8, 9), np.uint8), "the mask has 9x8 pixels, its image 8x8"),
        (np.diag(np.full(8, 255, np.uint8)), "hold 0 and 255 alone, and 255 is ignored"),
    ],
)
def test_masks_without_classes_are_told(tmp_path: Path, mask: npt.NDArray[np.generic], message: str) -> None:
    """Colours, other sizes and values that are no class end in one line with the file."""
    save(tmp_path, IMAGE, mask)
    (tmp_path / "classes.txt").write_text("ground\nroad\n")
    with pytest.raises(EdgecnnError, match=message):
        list(open_dataset(f"masks:{tmp_path}").evaluation)


def test_pairs_that_do_not_fit_are_told(tmp_path: Path) -> None:
    """A mask without image is refused, an image without mask left out and told; so are folders that are not there."""
    with pytest.raises(EdgecnnError, match="no folder at"):
        open_dataset(f"masks:{tmp_path / 'none'}")
    with pytest.raises(EdgecnnError, match=r"expected folders images and masks.*found nothing"):
        open_dataset(f"masks:{tmp_path}")
    write(tmp_path / "images", tmp_path / "masks", 10)
    Image.fromarray(IMAGE).save(tmp_path / "images" / "more.png")
    assert "1 images without a mask are left out" in open_dataset(f"masks:{tmp_path}").assumptions
    (tmp_path / "images" / "3.jpg").unlink()
    with pytest.raises(EdgecnnError, match=r"3\.png: this mask has no image in .*images \(1 masks have none\)"):
        open_dataset(f"masks:{tmp_path}")
