"""Images in files: found, decoded when asked for, and brought to the size of a network, with what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import DataRequest
from edgecnn.errors import EdgecnnError, require
from edgecnn.normalization import Placement, Resize
from edgecnn.tasks.boxes import Boxes
from edgecnn.tasks.segmentation import IGNORED

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}

#: Channels → Pillow's mode.
MODES = {1: "L", 3: "RGB"}
#: The gray beside an image that does not fill the network's input, as YOLO's letterbox has it.
_GRAY = 114
_LONGEST = 200  # characters of a path in an error

Size = tuple[int, int]  # height and width in pixels


def class_names(root: Path, files: Sequence[str] = ("classes.txt",)) -> tuple[str, ...] | None:
    """Return the names of the classes in their order, from the first of *files* in *root*; None: no such file.

    Raises:
        EdgecnnError: a file without names, or with one twice.
    """
    path = next((root / name for name in files if (root / name).is_file()), None)
    if path is None:
        return None
    names = tuple(filter(None, (line.strip() for line in path.read_text("utf-8", "replace").splitlines())))
    if not names or len(set(names)) < len(names):
        raise EdgecnnError(f"{path}: write the name of each class on a line of its own, each once")
    return names


class ImageFiles:
    """Images decoded when asked for; one of another size than *side* is brought to it as *resize* says.

    *sizes* are those that the annotations say the images have, where they say it.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        side: Size,
        resize: Resize | None = None,
        channels: int = 3,
        sizes: Sequence[Size] | None = None,
    ) -> None:
        self.paths = paths
        self.side = side
        # Without word from the network's makers the shorter side becomes that of the network.
        self.resize = resize or Resize(0)
        self.channels = channels
        self.sizes = sizes
        self._pillow = require("PIL.Image", "torch")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Any) -> npt.NDArray[np.uint8]:
        """Return uint8 [n, C, H, W]: grayscale or RGB."""
        chosen = np.atleast_1d(np.arange(len(self.paths))[indices])
        return np.stack([self._decode(int(index)) for index in chosen])

    def need_resizing(self) -> bool:
        """Whether some of the first few images have another size than *side*."""
        few = self.paths[:: max(1, len(self.paths) // 4)]
        return any(self._size(path) not in (None, self.side) for path in few)

    def _size(self, path: Path) -> Size | None:
        """Return the height and width; None where it is no image, which is told when it is read."""
        try:
            return size_of(self._pillow, path)
        except EdgecnnError:
            return None

    def _decode(self, index: int) -> npt.NDArray[np.uint8]:
        path = self.paths[index]
        image = decode(self._pillow, path, MODES[self.channels])
        size = (image.height, image.width)
        if self.sizes is not None and self.sizes[index] != size:
            height, width = self.sizes[index]
            raise EdgecnnError(
                f"{path}: the image has {size[1]}x{size[0]} pixels, its annotations are for {width}x{height}"
            )
        if size != self.side:
            how = self._pillow.Resampling[self.resize.interpolation.upper()]
            image = placed(self._pillow, image, self.resize.place(size, self.side), self.side, how, _GRAY)
        return np.asarray(image, np.uint8).reshape(*self.side, self.channels).transpose(2, 0, 1)


class MaskFiles:
    """Label images decoded when asked for, brought to *side* as their images are, by the nearest pixel.

    Values from *classes* on are refused, save 255, which is ignored, as is what lies beside the image.
    """

    def __init__(self, paths: Sequence[Path], side: Size, resize: Resize, classes: int | None) -> None:
        self.paths = paths
        self.side = side
        self.resize = resize
        self.classes = classes
        self._pillow = require("PIL.Image", "torch")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Any) -> npt.NDArray[np.uint8]:
        """Return uint8 [n, H, W]."""
        chosen = np.atleast_1d(np.arange(len(self.paths))[indices])
        return np.stack([self._decode(self.paths[index]) for index in chosen])

    def _decode(self, path: Path) -> npt.NDArray[np.uint8]:
        values = read_mask(self._pillow, path)
        highest = int(values[values != IGNORED].max(initial=0))
        if self.classes is not None and highest >= self.classes:
            raise EdgecnnError(
                f"{path}: the mask holds the value {highest}, and there are {self.classes} classes, 0 to "
                f"{self.classes - 1} ({IGNORED} is ignored)"
            )
        if values.shape == self.side:
            return values
        size = (values.shape[0], values.shape[1])
        how = self._pillow.Resampling.NEAREST
        place = self.resize.place(size, self.side)
        image = placed(self._pillow, self._pillow.fromarray(values), place, self.side, how, IGNORED)
        return np.asarray(image, np.uint8)


def placed(pillow: Any, image: Any, place: Placement, side: Size, interpolation: Any, fill: int) -> Any:
    """Return *image* scaled and cut, or framed by *fill*, to *side*, as *place* says."""
    image = image.resize((place.width, place.height), interpolation)
    height, width = side
    if place.left <= 0 and place.top <= 0:
        left, top = -place.left, -place.top
        return image.crop((left, top, left + width, top + height))
    framed = pillow.new(image.mode, (width, height), fill if image.mode == "L" else (fill,) * 3)
    framed.paste(image, (place.left, place.top))
    return framed


def placed_boxes(boxes: Boxes, size: Size, side: Size, resize: Resize) -> Boxes:
    """Return the *boxes* of an image of *size* in pixels of the network's input, without those cut off."""
    place = resize.place(size, side)
    x, y = place.width / size[1], place.height / size[0]
    moved = boxes.xyxy * [x, y, x, y] + [place.left, place.top, place.left, place.top]
    inside = moved.clip(0, [side[1], side[0], side[1], side[0]])
    there = (inside[:, 2:] > inside[:, :2]).all(axis=1)
    crowd = None if boxes.crowd is None else boxes.crowd[there]
    return Boxes(inside[there], boxes.classes[there], crowd, side)


def is_there(path: Path) -> bool:
    """Whether *path*, which a document names, is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _opened(pillow: Any, path: Path) -> Any:
    """Return the image at *path*, not yet decoded.

    Raises:
        EdgecnnError: the file is no readable image, or none at all, as a pipe is.
    """
    if not is_there(path):
        raise EdgecnnError(f"no image at '{str(path)[:_LONGEST]}'")
    return pillow.open(path)


def decode(pillow: Any, path: Path, mode: str = "RGB") -> Any:
    """Return the image at *path* in one of Pillow's modes: `RGB`, or `L` for grayscale (ITU-R 601-2 luma).

    Raises:
        EdgecnnError: the file is no readable image.
    """
    try:
        with _opened(pillow, path) as opened:
            if opened.mode.startswith("I;16"):  # Pillow's own conversion would clip 16 bits, not scale them
                opened = pillow.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
            return opened.convert(mode)
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise EdgecnnError(f"{path}: not a readable image ({error}); remove or replace it") from None


def size_of(pillow: Any, path: Path) -> Size:
    """Return the height and width of the image at *path*.

    Raises:
        EdgecnnError: the file is no readable image.
    """
    try:
        with _opened(pillow, path) as opened:
            return opened.height, opened.width
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise EdgecnnError(f"{path}: not a readable image ({error}); remove or replace it") from None


def read_mask(pillow: Any, path: Path) -> npt.NDArray[np.uint8]:
    """Return the classes [H, W] of the label image at *path*: gray values, or indices into a palette.

    Raises:
        EdgecnnError: the file is no readable image, holds colours, or values above 255.
    """
    try:
        with _opened(pillow, path) as opened:
            mode, values = opened.mode, np.asarray(opened)
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise EdgecnnError(f"{path}: not a readable image ({error}); remove or replace it") from None
    if values.ndim != 2:
        raise EdgecnnError(
            f"{path}: the mask has colours ({mode}); write the class of each pixel as a gray value or palette index"
        )
    if values.dtype != bool and (values.min(initial=0) < 0 or values.max(initial=0) > IGNORED):
        raise EdgecnnError(f"{path}: the mask holds values from {values.min()} to {values.max()}; classes are 0 to 254")
    return values.astype(np.uint8)


def images_in(folder: Path, *, deep: bool = True) -> list[Path]:
    """Return the image files in *folder*, and with *deep* in those in it, sorted."""
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def common_side(paths: Sequence[Path]) -> Size:
    """Return the height and width of the first few images where they agree, else 224, the custom of ImageNet."""
    pillow = require("PIL.Image", "torch")
    sizes = {size_of(pillow, path) for path in paths[:: max(1, len(paths) // 16)]}
    return sizes.pop() if len(sizes) == 1 else (224, 224)


def cover_assumptions(request: DataRequest, images: Sequence[ImageFiles]) -> tuple[str, ...]:
    """Return what was assumed for *images* of other sizes than the input's, which are cropped to it."""
    if request.resize is not None or not any(part.need_resizing() for part in images):
        return _size_assumption(request, images)
    height, width = images[0].side
    custom = "; ImageNet networks usually use --resize 256:224, which keeps a margin" if height == width == 224 else ""
    return (
        f"images are scaled to cover {width}x{height} pixels, and cropped to the centre{custom}",
        *_size_assumption(request, images),
    )


def _size_assumption(request: DataRequest, images: Sequence[ImageFiles]) -> tuple[str, ...]:
    """Return the sentence on an input size that neither the user nor the network says: accuracy may hang on it."""
    if request.side is not None or not any(part.need_resizing() for part in images):
        return ()
    height, width = images[0].side
    return (
        f"the images differ in size, and the network does not record its input size: assumed {width}x{height} pixels; "
        f"set it with --input 1x{images[0].channels}xHEIGHTxWIDTH",
    )


def check_channels(request: DataRequest, data: str) -> int:
    """Return the channels that images are read with: as the network takes them, RGB where that is not known.

    Raises:
        EdgecnnError: images cannot have as many.
    """
    if request.channels not in (None, *MODES):
        raise EdgecnnError(
            f"{data}: images are read as grayscale (1 channel) or RGB (3), and the network takes "
            f"{request.channels}; give arrays, npz:FILE"
        )
    return request.channels or 3


def stretched(request: DataRequest, images: Sequence[ImageFiles]) -> tuple[Resize, tuple[str, ...]]:
    """Return how images with boxes or masks come to the network's size, and what was assumed for it.

    Without word they are stretched: nothing is cut off, and nothing is beside them.
    """
    unsaid = _size_assumption(request, images)
    if request.resize is not None:
        return request.resize, unsaid
    if not any(one.need_resizing() for one in images):
        return Resize(0, fit="stretch"), ()
    return Resize(0, fit="stretch"), (
        "images are stretched to the size of the input; --resize letterbox keeps their proportions and fills the rest "
        "with gray, as YOLO networks want it",
        *unsaid,
    )
