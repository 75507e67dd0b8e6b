"""`scenes`: digits on textured canvases, made on the fly, for detection and segmentation with nothing to download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import DataRequest, Dataset
from edgecnn.datasets.digits import open_digits
from edgecnn.errors import EdgecnnError, unknown_name
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples
from edgecnn.tasks.boxes import Boxes, per_image

TRAINING, EVALUATION = 2000, 500  # scenes
_SIDE = (96, 96)  # pixels, unless the network takes other images
_LEAST_SIDE = 32
_MOST_DIGITS = 4
_ATTEMPTS = 10  # to place a digit where none is
_INK = 0.4  # how much of a pixel a digit covers, from which the pixel is of it

_DIGITS = tuple(str(digit) for digit in range(10))

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Placed:
    """One digit in a scene: its class, and how much it covers of each pixel from *top* and *left* on, [h, w]."""

    digit: int
    top: int
    left: int
    cover: Pixels

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom edge of the pixels it covers, in pixels."""
        rows, columns = (np.flatnonzero((self.cover >= _INK).any(axis=axis)) for axis in (1, 0))
        return (
            self.left + int(columns[0]),
            self.top + int(rows[0]),
            self.left + int(columns[-1]) + 1,
            self.top + int(rows[-1]) + 1,
        )


@dataclass(frozen=True, eq=False)
class Scenes:
    """Scenes of *side* (H, W), each made from its number: 1 to 4 of the *digits*, [n, 8, 8] with *classes* [n].

    Digits are a sixth to a third of the shorter side high, and do not overlap. The same number always gives the same
    scene. Indexing gives uint8 pixels [n, channels, H, W].
    """

    digits: Pixels
    classes: npt.NDArray[np.int64]
    side: tuple[int, int]
    channels: int
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: Any) -> npt.NDArray[np.uint8]:
        """Return uint8 [n, channels, H, W]."""
        return np.stack([self.pixels(number) for number in self.numbers(indices)])

    def numbers(self, indices: Any) -> list[int]:
        """Return the numbers of the scenes that *indices* choose."""
        return [int(number) for number in np.atleast_1d(np.arange(self.count)[indices])]

    def placed(self, number: int) -> list[Placed]:
        """Return the digits of a scene."""
        return list(self._place(np.random.default_rng((self.seed, number, 0))))

    def _place(self, rng: np.random.Generator) -> Iterator[Placed]:
        height, width = self.side
        shorter = min(self.side)
        taken = np.zeros(self.side, bool)
        for _ in range(int(rng.integers(1, _MOST_DIGITS + 1))):
            size = int(rng.integers(shorter // 6, shorter // 3 + 1))
            chosen = int(rng.integers(len(self.digits)))
            for _ in range(_ATTEMPTS):
                top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
                place = np.s_[top : top + size, left : left + size]
                if not taken[place].any():
                    taken[place] = True
                    grown = _grow(8, size)
                    cover = np.asarray(grown @ self.digits[chosen] @ grown.T, np.float32)
                    yield Placed(int(self.classes[chosen]), top, left, cover)
                    break

    def pixels(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a scene as uint8 [channels, H, W]: bright digits on a darker, rough and grainy ground."""
        rng = np.random.default_rng((self.seed, number, 1))
        rows, columns = (_grow(6, length) for length in self.side)
        ground = np.stack([rows @ rng.uniform(20, 130, (6, 6)) @ columns.T for _ in range(self.channels)])
        canvas = ground + rng.normal(0, 12, (self.channels, *self.side))
        for one in self.placed(number):
            color = rng.uniform(150, 255, (self.channels, 1, 1))
            size = one.cover.shape[0]
            place = np.s_[:, one.top : one.top + size, one.left : one.left + size]
            canvas[place] += one.cover * (color - canvas[place])
        return canvas.clip(0, 255).astype(np.uint8)

    def boxes(self) -> npt.NDArray[Any]:
        """Return the `Boxes` of all scenes, [n] of dtype object."""
        placed = [self.placed(number) for number in range(self.count)]
        return per_image(
            Boxes(
                np.asarray([one.box for one in scene], float),
                np.asarray([one.digit for one in scene]),
                size=self.side,
            )
            for scene in placed
        )


@dataclass(frozen=True, eq=False)
class Masks:
    """The label images of *scenes*: 0 is the ground, digit + 1 its digits. Indexing gives uint8 [n, H, W]."""

    scenes: Scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, indices: Any) -> npt.NDArray[np.uint8]:
        """Return uint8 [n, H, W]."""
        return np.stack([self._mask(number) for number in self.scenes.numbers(indices)])

    def _mask(self, number: int) -> npt.NDArray[np.uint8]:
        mask = np.zeros(self.scenes.side, np.uint8)
        for one in self.scenes.placed(number):
            size = one.cover.shape[0]
            mask[one.top : one.top + size, one.left : one.left + size][one.cover >= _INK] = one.digit + 1
        return mask


@lru_cache(maxsize=128)
def _grow(length: int, wanted: int) -> Pixels:
    """Return the matrix [wanted, length] that resizes a row of pixels bilinearly."""
    place = ((np.arange(wanted) + 0.5) * length / wanted - 0.5).clip(0, length - 1)
    low = np.floor(place).astype(int).clip(max=length - 2)
    matrix = np.zeros((wanted, length), np.float32)
    matrix[np.arange(wanted), low] = 1 - (place - low)
    matrix[np.arange(wanted), low + 1] = place - low
    return matrix


def open_scenes(request: DataRequest) -> Dataset:
    """Return scenes of scikit-learn's digits: 2000 to train on, and 500 of other digits to judge by.

    `scenes` and `scenes:detection` have boxes and the classes 0 to 9; `scenes:segmentation` has label images of the
    ground and the digits. They are RGB of 96x96 pixels, or as the network takes them.

    Raises:
        EdgecnnError: another task, an input smaller than 32 pixels, or channels that are neither 1 nor 3.
    """
    task = request.argument or "detection"
    if task not in ("detection", "segmentation"):
        raise unknown_name("task of scenes", task, ("detection", "segmentation"))
    side, channels = request.side or _SIDE, request.channels or 3
    if min(side) < _LEAST_SIDE or channels not in (1, 3):
        raise EdgecnnError(
            f"scenes are grayscale or RGB, of {_LEAST_SIDE} pixels or more; the network takes {channels} channels of "
            f"{side[0]}x{side[1]}"
        )
    digits = open_digits(DataRequest())

    def read(part: Samples, count: int, seed: int) -> Samples:
        assert part.class_numbers is not None
        images = np.asarray(part.images)[part.indices, 0].astype(np.float32) / 255
        scenes = Scenes(images, part.class_numbers[part.indices], side, channels, count, seed)
        return Samples.of(scenes, scenes.boxes() if task == "detection" else Masks(scenes))

    return Dataset(
        "scenes",
        partial(read, digits.training, TRAINING, 0),
        partial(read, digits.evaluation, EVALUATION, 1),
        Normalization(),
        _DIGITS if task == "detection" else ("background", *_DIGITS),
        task=task,
    )
