"""`DataSource`: where data come from, and how they become the inputs of a network."""

from __future__ import annotations

import operator
from dataclasses import KW_ONLY, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization, Resize
from edgecnn.short_repr import short_repr

if TYPE_CHECKING:
    from edgecnn.datasets import Data


@dataclass(frozen=True)
class DataSource:
    """Where data come from, and how they become the inputs of a network.

    Wherever data are taken, a name, a `Dataset`, a DataLoader or arrays may stand alone; a `DataSource` says more.

    Raises:
        EdgecnnError: a normalization, a resize or a shape that is none.

    Example:
        >>> import numpy as np
        >>> pixels = np.zeros((20, 3, 8, 8), np.uint8), np.arange(20) % 2
        >>> source = edgecnn.DataSource(pixels, normalization="imagenet")
        >>> source.normalization.mean
        (0.485, 0.456, 0.406)
        >>> edgecnn.open_dataset(source).shape
        (3, 8, 8)
    """

    __repr__ = short_repr

    #: A name, `folder:DIR`, `coco:DIR`, `masks:DIR`, `csv:FILE` or `npz:FILE`, a `Dataset`, arrays or a DataLoader, as
    #: `open_dataset` takes them; None: there are none, and noise of *input_shape* takes their place.
    data: Data | None = None
    _: KW_ONLY
    folder: Path | str | None = None  # where data sets lie; None: `$EDGECNN_DATA`
    download: bool = False  # whether a data set that is not there may be fetched
    #: How pixels become inputs, as it is or as text (`imagenet`); None: as network or file say, else as the data do.
    normalization: Normalization | str | None = None
    #: How images in files come to the size of the input, as it is or as text; None: as the network says, else they just
    #: cover it.
    resize: Resize | str | None = None
    #: (C, H, W) that images in files come to, or the shape of noise; None: as the network says.
    input_shape: tuple[int, ...] | None = None
    #: The same of each input, where a network takes several.
    input_shapes: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        resize = Resize.parse(self.resize) if isinstance(self.resize, str) else self.resize
        shape = None if self.input_shape is None else _checked(self.input_shape)
        shapes = None if self.input_shapes is None else tuple(map(_checked, self.input_shapes))
        for name, value in (
            ("normalization", Normalization.of(self.normalization)),
            ("resize", resize),
            ("input_shape", shape),
            ("input_shapes", shapes),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, data: Data | None) -> DataSource:
        """Return *data* as a source; one is returned as it is."""
        return data if isinstance(data, DataSource) else cls(data)

    def over(self, other: DataSource) -> DataSource:
        """Return this source, with what *other* says where this one says nothing."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            other, **{name: value for name, value in own.items() if value is not None and value is not False}
        )

    @property
    def image(self) -> tuple[int, int, int] | None:
        """The channels, height and width that images in files come to; None: nothing is said of it."""
        shape = self.input_shape
        return None if shape is None or len(shape) != 3 else (shape[0], shape[1], shape[2])


def _checked(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return *input_shape* as a tuple of whole numbers.

    Raises:
        EdgecnnError: it is something else.
    """
    try:
        shape = tuple(map(operator.index, input_shape))
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        raise EdgecnnError(f"input_shape is (channels, height, width), without the batch, not {input_shape!r}")
    return shape
