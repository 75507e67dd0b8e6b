"""`masks:DIR`: images, and for each a label image that has the class of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from edgecnn.datasets import DataRequest, Dataset, training_part
from edgecnn.datasets.images import (
    ImageFiles,
    MaskFiles,
    check_channels,
    class_names,
    common_side,
    images_in,
    read_mask,
    size_of,
    stretched,
)
from edgecnn.errors import EdgecnnError, require
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples
from edgecnn.tasks.segmentation import IGNORED

EVALUATION_SHARE = 0.2
_IMAGES = ("images", "JPEGImages", "img")
_MASKS = ("masks", "labels", "annotations", "SegmentationClass", "mask")
_EVALUATION = ("val", "validation", "test")
_FEW = 32  # masks that show whether a set of them has classes at all

Pairs = Sequence[tuple[Path, Path]]


def open_masks(request: DataRequest) -> Dataset:
    """Return images with label images, for segmentation.

    DIR holds `images` and `masks`, of whose pairs a fifth is for evaluation; or `train` and `val` (or `test`) with the
    two folders in each; or `images/train`, `images/val`, `masks/train` and `masks/val`. Pascal VOC's `JPEGImages` and
    `SegmentationClass` do as well. An image and its mask have the same name, save for the ending, or `_mask` behind it.

    Masks are gray images or have a palette: each value is a class from 0 on, 255 is ignored. `classes.txt` in DIR names
    the classes, one a line. Images come to the network's size with their masks: stretched, or as `--resize` says.

    Raises:
        EdgecnnError: no such folders, masks without their image, or masks that hold no classes.
    """
    root = Path(request.argument)
    channels = check_channels(request, f"masks:{root}")
    if not root.is_dir():
        raise EdgecnnError(f"no folder at '{root}' (for --data masks:DIR)")
    train = _pairs(root, "train")
    held_out = next((found for part in _EVALUATION if (found := _pairs(root, part))), None)
    pairs = held_out or train or _pairs(root, "")
    if not pairs:
        raise EdgecnnError(
            f"{root}: expected folders images and masks, or train and val with the two in each; found "
            f"{', '.join(sorted(path.name for path in root.iterdir())[:8]) or 'nothing'}"
        )
    labels = class_names(root, ("classes.txt", "labels.txt"))
    if labels is not None and len(labels) > IGNORED:
        raise EdgecnnError(f"{root}: {len(labels)} class names; masks have at most {IGNORED}")
    side = request.side or common_side([image for image, _ in pairs[0]])
    resize, assumptions = stretched(request, [ImageFiles([image for image, _ in pairs[0]], side)])
    if pairs[1]:
        assumptions += (f"{pairs[1]} images without a mask are left out",)
    _check(pairs[0])

    def read(pairs: Pairs) -> Samples:
        images = ImageFiles([image for image, _ in pairs], side, resize, channels)
        masks = MaskFiles([mask for _, mask in pairs], side, resize, None if labels is None else len(labels))
        return Samples.of(images, masks)

    if held_out:
        training, evaluation = (read(train[0]) if train else None), read(held_out[0])
    else:
        training, evaluation = read(pairs[0]).split_or_whole(EVALUATION_SHARE)
    return Dataset(
        root.name,
        partial(training_part, training, f"{root}", "add a folder train with images and masks"),
        lambda: evaluation,
        Normalization.parse("unit" if channels == 1 else "imagenet"),
        labels,
        assumptions,
        "segmentation",
    )


def holds_masks(root: Path) -> bool:
    """Return whether the folder *root* is laid out for `masks:DIR`: images beside masks, in all or in a part of it."""
    return any(_folders(root, part) is not None for part in ("", "train", *_EVALUATION))


def _folders(root: Path, part: str) -> tuple[Path, Path] | None:
    """Return the folders of images and of masks of a *part* of *root*; None: they are not both there."""
    pairs = [
        pair
        for images in _IMAGES
        for masks in _MASKS
        for pair in ((root / part / images, root / part / masks), (root / images / part, root / masks / part))
    ]
    return next(((images, masks) for images, masks in pairs if images.is_dir() and masks.is_dir()), None)


def _pairs(root: Path, part: str) -> tuple[Pairs, int] | None:
    """Return the images of a *part*, or of all, with their masks, and how many have none; None: there are no folders.

    Raises:
        EdgecnnError: a mask has no image, or no image has a mask.
    """
    found = _folders(root, part)
    if found is None:
        return None
    images, masks = ({path.stem: path for path in images_in(folder)} for folder in found)
    masks = {stem.removesuffix("_mask"): path for stem, path in masks.items()}
    alone = [path for stem, path in masks.items() if stem not in images]
    if alone:
        raise EdgecnnError(f"{alone[0]}: this mask has no image in {found[0]} ({len(alone)} masks have none)")
    if not masks:
        raise EdgecnnError(f"{found[1]}: no masks; there should be one for each image of {found[0]}, of the same name")
    return [(images[stem], masks[stem]) for stem in sorted(masks)], len(images) - len(masks)


def _check(pairs: Pairs) -> None:
    """See that a few of the masks fit their images and hold classes.

    Raises:
        EdgecnnError: another size than the image, or values 0 and 255 alone.
    """
    pillow = require("PIL.Image", "torch")
    values: set[int] = set()
    for image, mask in pairs[:: max(1, len(pairs) // _FEW)]:
        classes = read_mask(pillow, mask)
        size = size_of(pillow, image)
        if classes.shape != size:
            raise EdgecnnError(
                f"{mask}: the mask has {classes.shape[1]}x{classes.shape[0]} pixels, its image {size[1]}x{size[0]}"
            )
        values |= set(np.unique(classes).tolist())
    if values == {0, IGNORED}:
        raise EdgecnnError(
            f"{pairs[0][1].parent}: the masks hold 0 and {IGNORED} alone, and {IGNORED} is ignored; write the classes "
            f"as 0, 1, 2, …"
        )
