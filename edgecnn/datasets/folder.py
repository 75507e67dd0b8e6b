"""`folder:DIR`: images in one folder a class, as torchvision's ImageFolder reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import DataRequest, Dataset, training_part
from edgecnn.errors import EdgecnnError, require
from edgecnn.normalization import Normalization, Resize
from edgecnn.samples import Samples

EVALUATION_SHARE = 0.2
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


#: Channels → Pillow's mode.
_MODES = {1: "L", 3: "RGB"}


class ImageFiles:
    """Images decoded when asked for; one of another size than *side* is scaled, and the centre cut out."""

    def __init__(
        self, paths: Sequence[Path], side: tuple[int, int], resize: Resize | None = None, channels: int = 3
    ) -> None:
        self.paths = paths
        self.side = side
        self.resize = resize
        self.channels = channels
        self._pillow = require("PIL.Image", "torch")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Any) -> npt.NDArray[np.uint8]:
        """Return uint8 [n, C, H, W]: grayscale or RGB."""
        chosen = np.atleast_1d(np.arange(len(self.paths))[indices])
        return np.stack([self._decode(self.paths[index]) for index in chosen])

    def assumptions(self) -> tuple[str, ...]:
        """Say how images of another size come to *side*, where nobody said how."""
        height, width = self.side
        few = self.paths[:: max(1, len(self.paths) // 4)]
        if self.resize is not None or all(self._size(path) in (None, (width, height)) for path in few):
            return ()
        return (
            f"images are scaled to cover {width}x{height} pixels, and cropped to the centre; ImageNet networks usually "
            f"use --resize 256:224, which keeps a margin",
        )

    def _size(self, path: Path) -> tuple[int, int] | None:
        """Return the width and height; None where it is no image, which is told when it is read."""
        try:
            with self._pillow.open(path) as opened:
                width, height = opened.size
                return width, height
        except (OSError, ValueError):
            return None

    def _decode(self, path: Path) -> npt.NDArray[np.uint8]:
        height, width = self.side
        image = decode(self._pillow, path, _MODES[self.channels])
        if (image.height, image.width) != self.side:
            # Without word from the network's makers the shorter side becomes that of the network.
            how = self.resize or Resize(0)
            scaled = how.size((image.height, image.width), self.side)
            image = image.resize(scaled[::-1], self._pillow.Resampling[how.interpolation.upper()])
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        return np.asarray(image, np.uint8).reshape(height, width, self.channels).transpose(2, 0, 1)


def decode(pillow: Any, path: Path, mode: str = "RGB") -> Any:
    """Return the image at *path* in one of Pillow's modes: `RGB`, or `L` for grayscale (ITU-R 601-2 luma).

    Raises:
        EdgecnnError: the file is no readable image.
    """
    try:
        with pillow.open(path) as opened:
            if opened.mode.startswith("I;16"):  # Pillow's own conversion would clip 16 bits, not scale them
                opened = pillow.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
            return opened.convert(mode)
    except (OSError, ValueError) as error:
        raise EdgecnnError(f"{path}: not a readable image ({error}); remove or replace it") from None


def open_folder(request: DataRequest) -> Dataset:
    """Return the images of DIR/CLASS/*, split 80 to 20, or of DIR/train and DIR/val (or test) where those exist.

    They are RGB, or grayscale for a network of one channel. The default normalization is ImageNet's for RGB, 0…1 for
    grayscale.

    DIR/val without DIR/train is for evaluation alone, and so are all images where they are too few to be split, one a
    class perhaps.

    Raises:
        EdgecnnError: no such folder, no images in it, or different classes in the two parts.
    """
    root = Path(request.argument)
    if request.channels not in (None, *_MODES):
        raise EdgecnnError(
            f"folder:{root}: images are read as grayscale (1 channel) or RGB (3), and the network takes "
            f"{request.channels}; give arrays, npz:FILE"
        )
    if not root.is_dir():
        raise EdgecnnError(f"no folder at '{root}' (for --data folder:DIR)")
    train = root / "train"
    held_out = next((root / name for name in ("val", "test", "validation") if (root / name).is_dir()), None)
    training: Samples | None = None
    if train.is_dir() and held_out is not None:
        classes, training = _read(train, request)
        other, evaluation = _read(held_out, request)
        if classes != other:
            raise EdgecnnError(
                f"{root}: {train.name} and {held_out.name} have different classes; they must be the same"
            )
    elif held_out is not None:
        classes, evaluation = _read(held_out, request)
    else:
        classes, everything = _read(train if train.is_dir() else root, request)
        training, evaluation = everything.split_or_whole(EVALUATION_SHARE)

    images = evaluation.images
    assert isinstance(images, ImageFiles)
    return Dataset(
        root.name,
        partial(training_part, training, f"{root}", f"add some to {train / classes[0]} and so on"),
        lambda: evaluation,
        Normalization.parse("unit" if images.channels == 1 else "imagenet"),
        classes,
        images.assumptions(),
        "classification",
    )


def _read(root: Path, request: DataRequest) -> tuple[tuple[str, ...], Samples]:
    classes = tuple(sorted(folder.name for folder in root.iterdir() if folder.is_dir()))
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in _SUFFIXES)
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise EdgecnnError(
            f"{root}: no images; put them into one folder for each class, for example {root / 'cat' / '1.jpg'}"
        )
    side = request.side or _common_side(paths)
    return classes, Samples.of(ImageFiles(paths, side, request.resize, request.channels or 3), np.asarray(labels))


def _common_side(paths: Sequence[Path]) -> tuple[int, int]:
    """Return the height and width of the first few images where they agree, else 224, the custom of ImageNet."""
    pillow = require("PIL.Image", "torch")
    sizes = {decode(pillow, path).size for path in paths[:: max(1, len(paths) // 16)]}
    width, height = sizes.pop() if len(sizes) == 1 else (224, 224)
    return height, width
