"""`Normalization`: how pixels become what a network expects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


_INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
_FITS = ("cover", "stretch", "letterbox")
_MOST_PIXELS = 2**14  # a side


@dataclass(frozen=True)
class Placement:
    """Where an image comes to lie in a network's input: *height* and *width* it is scaled to, and its corner there.

    *left* and *top* are negative where it is cut off, positive where something is beside it, in pixels.
    """

    height: int
    width: int
    left: int
    top: int


@dataclass(frozen=True)
class Resize:
    """How to resize images to a network's input: scale the shorter side, then crop the centre.

    With a *crop* the two give a ratio, for a network of any size: 256 and 224, the custom of ImageNet, keep 224/256 =
    0.875 of the shorter side. Without one the shorter side becomes *shorter_side* pixels whatever the network's size.
    Other ways to *fit* keep the whole image: `stretch` scales height and width apart, `letterbox` by the same and fills
    what is left.

    Example:
        >>> edgecnn.Resize.parse("256:224")
        Resize(shorter_side=256, interpolation='bilinear', crop=224, fit='cover')
        >>> edgecnn.Resize.parse("letterbox").place((480, 640), (320, 320))
        Placement(height=240, width=320, left=0, top=40)
    """

    shorter_side: int
    interpolation: str = "bilinear"  # or "bicubic", "nearest"
    crop: int | None = None  # pixels of the square that is cut out
    fit: str = "cover"  # or "stretch", "letterbox", for which the shorter side and the crop are nothing

    def __post_init__(self) -> None:
        if self.crop is not None and not 0 < self.crop <= self.shorter_side:
            raise EdgecnnError(f"a crop of {self.crop} pixels is not within a shorter side of {self.shorter_side}")

    @classmethod
    def parse(cls, text: str) -> Resize:
        """Read `256` (the shorter side), `256:224` (and the crop), `256:224:bicubic` (and the interpolation).

        `stretch` and `letterbox` stand alone, or with an interpolation: `letterbox:bicubic`.

        Raises:
            EdgecnnError: another text, or a crop larger than the side.
        """
        fit, _, interpolation = text.partition(":")
        if fit in _FITS[1:] and (interpolation or "bilinear") in _INTERPOLATIONS:
            return cls(0, interpolation or "bilinear", fit=fit)
        match = re.fullmatch(r"([1-9][0-9]{0,4})(?::([1-9][0-9]{0,4}))?(?::([a-z]+))?", text)
        sides = [int(side) for side in match.groups()[:2] if side] if match else []
        if match is None or (match[3] or "bilinear") not in _INTERPOLATIONS or max(sides) > _MOST_PIXELS:
            raise EdgecnnError(
                f"--resize '{text}' is not valid; write the shorter side in pixels, the crop, and the "
                f"interpolation ({', '.join(_INTERPOLATIONS)}): 256, 256:224 or 256:224:bicubic; or "
                "stretch, or letterbox"
            )
        return cls(sides[0], match[3] or "bilinear", sides[1] if len(sides) == 2 else None)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        crop = "" if self.crop is None else f":{self.crop}"
        size = str(self.shorter_side) if self.fit == "cover" else self.fit
        return f"{size}{crop}{'' if self.interpolation == 'bilinear' else ':' + self.interpolation}"

    def size(self, image: tuple[int, int], side: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that an *image* (height, width) is scaled to, for a network of *side* (H, W)."""
        if self.fit == "stretch":
            return side
        if self.fit == "letterbox":
            within = min(side[0] / image[0], side[1] / image[1])
            return max(1, round(image[0] * within)), max(1, round(image[1] * within))
        covers = max(side[0] / image[0], side[1] / image[1])
        if self.crop is not None:
            scale = covers * self.shorter_side / self.crop
        else:
            scale = max(covers, self.shorter_side / min(image))
        return max(side[0], round(image[0] * scale)), max(side[1], round(image[1] * scale))

    def place(self, image: tuple[int, int], side: tuple[int, int]) -> Placement:
        """Return where an *image* (height, width) comes to lie, centred, in the input of a network of *side* (H, W)."""
        height, width = self.size(image, side)
        left, top = width - side[1], height - side[0]
        return Placement(height, width, -(left // 2) if left > 0 else -left // 2, -(top // 2) if top > 0 else -top // 2)


@dataclass(frozen=True)
class Normalization:
    """x = (pixel / 255 - mean) / std, one entry for all channels or one a channel.

    Example:
        >>> edgecnn.Normalization.parse("imagenet").mean
        (0.485, 0.456, 0.406)
        >>> str(edgecnn.Normalization.parse("mean=0,std=1"))
        'unit'
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise EdgecnnError(
                f"a normalization has as many means as standard deviations, one or one a channel; "
                f"found {len(self.mean)} and {len(self.std)}"
            )
        if 0.0 in self.std or not all(np.isfinite(part).all() for part in self._scale_and_shift()):
            raise EdgecnnError(f"pixels cannot be divided by the standard deviations {self.std}")

    @classmethod
    def parse(cls, text: str) -> Normalization:
        """Read `pixels` (0…255 as they are), `unit` (0…1), `imagenet`, or `mean=0.5,0.5,0.5,std=0.2,0.2,0.2`.

        Raises:
            EdgecnnError: another text.
        """
        named = {"pixels": cls((0.0,), (1 / 255,)), "unit": cls(), "imagenet": cls(*_IMAGENET)}
        if text in named:
            return named[text]
        match = re.fullmatch(r"mean=([-0-9.e,]+?),std=([-0-9.e,]+)", text)
        try:
            assert match is not None
            mean, std = (tuple(float(number) for number in part.split(",")) for part in match.groups())
            parsed = cls(mean, std)
        except (AssertionError, ValueError, EdgecnnError):
            raise EdgecnnError(
                f"--normalize '{text}' is not understood; known: pixels, unit, imagenet, mean=…,std=… "
                "(as many of each as the image has channels, or one; of pixels divided by 255)"
            ) from None
        return parsed

    @classmethod
    def of(cls, given: Normalization | str | None) -> Normalization | None:
        """Return *given*; where it is text, what `parse` reads.

        Raises:
            EdgecnnError: a text that is not understood, or something else.
        """
        if given is None or isinstance(given, Normalization):
            return given
        if not isinstance(given, str):
            raise EdgecnnError(f"normalization is a Normalization or a text like 'imagenet', not {given!r:.60}")
        return cls.parse(given)

    def _scale_and_shift(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return what pixels are multiplied with, and what is then taken off, a channel each."""
        std = np.asarray(self.std)
        with np.errstate(over="ignore", invalid="ignore"):
            return (1.0 / (255.0 * std)).astype(np.float32), (np.asarray(self.mean) / std).astype(np.float32)

    def check_channels(self, shape: tuple[int, ...]) -> None:
        """See that this is for samples of *shape* (C, H, W): one mean for all channels, or C of them.

        Raises:
            EdgecnnError: it is for another number of channels.
        """
        channels = shape[0] if shape else 1
        if len(self.mean) not in (1, channels):
            wanted = "one" if channels == 1 else f"one or {channels}"
            raise EdgecnnError(
                f"the normalization {self} has {len(self.mean)} means, the input has {channels} "
                f"channel{'s' * (channels != 1)}: give {wanted} of mean and std with --normalize"
            )

    def __str__(self) -> str:
        """The text that `parse` reads."""
        for name in ("pixels", "unit", "imagenet"):
            if self == Normalization.parse(name):
                return name
        return f"mean={','.join(f'{m:g}' for m in self.mean)},std={','.join(f'{s:g}' for s in self.std)}"

    def apply(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return uint8 [N, C, H, W] as float32 of the same shape, normalised.

        Raises:
            EdgecnnError: the images have another number of channels.
        """
        self.check_channels(pixels.shape[1:])
        scale, shift = (part.reshape(1, -1, *(1,) * (pixels.ndim - 2)) for part in self._scale_and_shift())
        return np.asarray(pixels.astype(np.float32) * scale - shift)


def preprocess(x: npt.NDArray[Any], normalization: Normalization | None) -> npt.NDArray[np.float32]:
    """Return samples [N, ...] as a network takes them: pixels normalised (None: to 0…1), floats as they are."""
    if x.dtype == np.uint8:
        return (normalization or Normalization()).apply(x)
    return x.astype(np.float32, copy=False)
