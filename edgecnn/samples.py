"""`Samples`: a re-iterable source of numpy batches; its role is the name of the argument it is given as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.short_repr import short_repr


class Images(Protocol):
    """Anything that gives samples by index: a numpy array, or files decoded when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Any) -> npt.NDArray[Any]:
        """Return the samples of an index array, [n, C, H, W]: uint8 pixels, or float32 as the network wants them."""
        ...


class Targets(Protocol):
    """The right answer for each sample, by index: a numpy array, or label images decoded when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Any) -> npt.NDArray[Any]:
        """Return the targets of an index array, as `Batch.y` has them."""
        ...


@dataclass(frozen=True)
class JoinedInputs:
    """Samples of a network with several inputs: each is one row, the values of its inputs one after the other.

    Args:
        arrays: the name of an input → its samples, [n, C, H, W] or [n, ...]; uint8 pixels become 0…1.

    Example:
        >>> import numpy as np
        >>> joined = JoinedInputs({"image": np.zeros((5, 3, 8, 8), np.uint8), "sensors": np.ones((5, 4), np.float32)})
        >>> joined[[0, 1]].shape
        (2, 196)
    """

    __repr__ = short_repr

    arrays: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, indices: Any) -> npt.NDArray[Any]:
        """Return the samples of an index array, float32 [n, values]."""
        rows = [array[indices] for array in self.arrays.values()]
        scaled = [row / np.float32(255) if row.dtype == np.uint8 else row for row in rows]
        return np.concatenate([row.reshape(len(row), -1).astype(np.float32) for row in scaled], axis=1)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input, without the batch."""
        return {name: tuple(array.shape[1:]) for name, array in self.arrays.items()}


@dataclass(frozen=True)
class Batch:
    """Some samples, and the right answer for each.

    Args:
        x: [n, C, H, W], uint8 pixels or float32 as the network wants them.
        y: class numbers [n]; values [n, ...] or label images [n, H, W]; `Boxes` [n] of dtype object; None: no targets.
    """

    __repr__ = short_repr

    x: npt.NDArray[Any]
    y: npt.NDArray[Any] | None


@dataclass(frozen=True)
class Samples:
    """Some of *images*, in the order of *indices*; iterating gives `Batch`es and can be done again and again.

    Args:
        images: all samples, of which *indices* are taken.
        labels: the target of each of *images*, as `Batch.y` has them; None: no targets.
        indices: [n], which samples, in which order.
        batch_size: samples of a batch.

    Raises:
        EdgecnnError: not as many labels as images.

    Example:
        >>> import numpy as np
        >>> samples = edgecnn.Samples.of(np.zeros((100, 1, 8, 8), np.uint8), np.arange(100) % 10)
        >>> len(samples), [len(batch.x) for batch in samples]
        (100, [64, 36])
    """

    __repr__ = short_repr

    images: Images
    labels: Targets | None
    indices: npt.NDArray[np.int64]
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.images):
            raise EdgecnnError(f"{len(self.images)} samples have {len(self.labels)} targets; give one for each sample")

    @classmethod
    def of(cls, images: Images, labels: Targets | None = None) -> Samples:
        """Return all of *images*, in their order; whole numbers [n] are class numbers."""
        if _are_class_numbers(labels):
            labels = np.asarray(labels, np.int64)
        return cls(images, labels, np.arange(len(images)))

    @property
    def class_numbers(self) -> npt.NDArray[np.int64] | None:
        """The labels of all *images* where they are class numbers [n]; None where they are anything else, or none."""
        return np.asarray(self.labels, np.int64) if _are_class_numbers(self.labels) else None

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.indices), self.batch_size):
            chosen = self.indices[start : start + self.batch_size]
            yield Batch(self.images[chosen], None if self.labels is None else self.labels[chosen])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch: (C, H, W)."""
        return tuple(self.images[self.indices[:1]].shape[1:])

    @property
    def inputs(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each input by name, where a sample is several inputs in a row; else nothing."""
        return self.images.shapes if isinstance(self.images, JoinedInputs) else {}

    def ordered(self, names: Sequence[str]) -> Samples:
        """Return the same samples with their inputs in the order of *names*, where that is what they are called."""
        if not isinstance(self.images, JoinedInputs) or set(names) != set(self.images.arrays):
            return self
        return replace(self, images=JoinedInputs({name: self.images.arrays[name] for name in names}))

    def batched(self, batch_size: int) -> Samples:
        """Return the same samples in batches of another size."""
        return replace(self, batch_size=batch_size)

    def shuffled(self, seed: int) -> Samples:
        """Return the same samples in an order that *seed* decides."""
        return replace(self, indices=np.random.default_rng(seed).permutation(self.indices))

    def take(self, count: int | None, seed: int = 0) -> Samples:
        """Return *count* of them (all where None or fewer are there), drawn without order, so without a class bias."""
        if count is None or count >= len(self):
            return self
        return replace(self, indices=np.sort(self.shuffled(seed).indices[:count]))

    def split_or_whole(self, share: float) -> tuple[Samples | None, Samples]:
        """Return two parts as `split` does; None and all of them where they are too few, one of each class perhaps."""
        first, second = self.split(share)
        return (first, second) if len(first) and len(second) else (None, self)

    def split(self, share: float, seed: int = 0) -> tuple[Samples, Samples]:
        """Return two parts, the second holding *share* of each class (of all, where targets are no class numbers)."""
        rng = np.random.default_rng(seed)
        groups, classes = [self.indices], self.class_numbers
        if classes is not None:
            groups = [self.indices[classes[self.indices] == label] for label in np.unique(classes[self.indices])]
        second = np.concatenate([rng.permutation(group)[: round(share * len(group))] for group in groups])
        first = np.setdiff1d(self.indices, second)
        return replace(self, indices=first), replace(self, indices=np.sort(second))


def _are_class_numbers(labels: Targets | None) -> bool:
    return isinstance(labels, np.ndarray) and labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
