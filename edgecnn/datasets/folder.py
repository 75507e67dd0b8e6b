"""`folder:DIR`: images in one folder a class, as torchvision's ImageFolder reads them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from edgecnn.datasets import DataRequest, Dataset, training_part
from edgecnn.datasets.images import ImageFiles, check_channels, class_names, common_side, cover_assumptions, images_in
from edgecnn.datasets.masks import holds_masks
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples

EVALUATION_SHARE = 0.2


def open_folder(request: DataRequest) -> Dataset:
    """Return the images of DIR/CLASS/*, split 80 to 20, or of DIR/train and DIR/val (or test) where those exist.

    The classes are numbered in the order of their names, or in that of DIR/classes.txt, a name on each line.

    They are RGB, or grayscale for a network of one channel. The default normalization is ImageNet's for RGB, 0…1 for
    grayscale.

    DIR/val without DIR/train is for evaluation alone, and so are all images where they are too few to be split, one a
    class perhaps.

    Raises:
        EdgecnnError: no such folder, no images in it, or different classes in the two parts.
    """
    root = Path(request.argument)
    check_channels(request, f"folder:{root}")
    if not root.is_dir():
        raise EdgecnnError(f"no folder at '{root}' (for --data folder:DIR)")
    train = root / "train"
    held_out = next((root / name for name in ("val", "test", "validation") if (root / name).is_dir()), None)
    order = class_names(root)
    training: Samples | None = None
    if train.is_dir() and held_out is not None:
        classes, training = _read(train, request, order)
        other, evaluation = _read(held_out, request, order)
        if classes != other:
            raise EdgecnnError(
                f"{root}: {train.name} and {held_out.name} have different classes; they must be the same"
            )
    elif held_out is not None:
        classes, evaluation = _read(held_out, request, order)
    else:
        classes, everything = _read(train if train.is_dir() else root, request, order)
        training, evaluation = everything.split_or_whole(EVALUATION_SHARE)

    images = evaluation.images
    assert isinstance(images, ImageFiles)
    return Dataset(
        root.name,
        partial(training_part, training, f"{root}", f"add some to {train / classes[0]} and so on"),
        lambda: evaluation,
        Normalization.parse("unit" if images.channels == 1 else "imagenet"),
        classes,
        cover_assumptions(request, [images]),
        "classification",
    )


def _read(root: Path, request: DataRequest, order: tuple[str, ...] | None) -> tuple[tuple[str, ...], Samples]:
    if holds_masks(root):
        raise EdgecnnError(f"{root} holds images beside masks, not a folder for each class: give --data masks:{root}")
    classes = tuple(sorted(folder.name for folder in root.iterdir() if folder.is_dir()))
    if order is not None:
        if sorted(order) != list(classes):
            raise EdgecnnError(f"{root} has the folders {', '.join(classes)}, classes.txt names {', '.join(order)}")
        classes = order
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = images_in(root / name)
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise EdgecnnError(
            f"{root}: no images; put them into one folder for each class, for example {root / 'cat' / '1.jpg'}"
        )
    side = request.side or common_side(paths)
    return classes, Samples.of(ImageFiles(paths, side, request.resize, request.channels or 3), np.asarray(labels))
