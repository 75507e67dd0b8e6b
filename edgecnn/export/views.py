"""Tensors that are not stored as they are read: their axes in another order, their slices in several others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
Order = tuple[int | None, ...]


@dataclass(frozen=True)
class View:
    """A tensor of some *shape* whose values lie in stored ones, the *sources*.

    The stored ones have the axes of *order*: number of an axis of the tensor, or None for an axis of size 1 that the
    tensor has not. Axes of size 1 may be missing. Where there is an *axis*, the sources stand side by side along it,
    and place i of the tensor is place `index[i]` of them.

    Example:
        >>> View.of(7, (1, 4, 4, 6)).transposed((0, 3, 1, 2)).taken(1, np.array([0, 3])).index
        (0, 3)
    """

    shape: tuple[int, ...]
    sources: tuple[int, ...]  # numbers of tensors in the file
    order: Order
    axis: int | None = None
    index: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()  # of the sources along *axis*

    @classmethod
    def of(cls, tensor: int, shape: Sequence[int]) -> View:
        """Return a tensor that is stored as it is."""
        return cls(tuple(shape), (tensor,), tuple(range(len(shape))))

    @property
    def significant(self) -> tuple[int, ...]:
        """The axes of more than one value, as they are stored; the one with an index is always among them."""
        return tuple(one for one in self.order if one is not None and (self.shape[one] > 1 or one == self.axis))

    @property
    def places(self) -> Places:
        """`index` as an array."""
        return np.asarray(self.index, np.int64)

    def stored_shape(self, source: int = 0) -> tuple[int, ...]:
        """Return the shape of one of the sources."""
        return tuple(
            1 if one is None else self.sizes[source] if one == self.axis else self.shape[one] for one in self.order
        )

    def transposed(self, axes: Sequence[int]) -> View:
        """Return the tensor with its *axes* in another order, as TRANSPOSE has them."""
        back = {old: new for new, old in enumerate(axes)}
        order = tuple(None if one is None else back[one] for one in self.order)
        axis = None if self.axis is None else back[self.axis]
        return replace(self, shape=tuple(self.shape[one] for one in axes), order=order, axis=axis)

    def taken(self, axis: int, places: Places) -> View | None:
        """Return *places* of the tensor along *axis*; None where another axis has an index, or it is not stored."""
        if self.axis not in (None, axis) or axis not in self.order:
            return None
        index = places if self.axis is None else self.places[places]
        shape = (*self.shape[:axis], len(places), *self.shape[axis + 1 :])
        sizes = self.sizes or (self.shape[axis],)
        return plain(replace(self, shape=shape, axis=axis, index=tuple(index.tolist()), sizes=sizes))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """Return the tensor in another *shape*; None where no order of axes and one index describe it."""
        shape = tuple(shape)
        if self.axis is not None and self.shape[self.axis] == 1:
            return None
        parts: dict[int, tuple[int, ...]] = {}  # first significant axis of a group → the axes of it in *shape*
        groups: dict[int, tuple[int, ...]] = {}
        for old, new in _groups(self.shape, shape):
            parts[old[0]], groups[old[0]] = new, old
        order: list[int | None] = []
        axis, index, sizes = None, self.index, self.sizes
        stored = self.significant
        for first, old in groups.items():
            new = parts[first]
            where = sorted(stored.index(one) for one in old)
            if where != list(range(where[0], where[0] + len(old))):
                return None
            inner = stored[where[0] : where[0] + len(old)]
            has_index = self.axis in old
            if len(old) == len(new) == 1:
                axis = new[0] if has_index else axis
                continue
            if has_index and len(self.sources) > 1 and inner[0] != self.axis:
                return None
            merged, whole = self._merged(old, inner)
            split = _split(merged, whole, [shape[one] for one in new]) if len(new) > 1 else None
            if len(new) > 1:
                if split is None or (has_index and len(self.sources) > 1):
                    return None
                parts[first] = tuple(new[one] for one in split)
                if has_index:
                    index, sizes = (), ()
            elif has_index or not (merged == np.arange(whole)).all():
                if self.axis is not None and not has_index:
                    return None
                rest = whole // (sum(self.sizes) if has_index else self.shape[inner[0]])
                axis, index = new[0], tuple(merged.tolist())
                sizes = tuple(size * rest for size in self.sizes) if has_index else (whole,)
        ones = {0: 0} if shape and self.shape and shape[0] == self.shape[0] == 1 else {}
        of = {one: first for first, old in groups.items() for one in old}
        done: set[int] = set()
        for one in self.order:
            if one is None or one not in of:
                order.append(None if one is None else ones.get(one))
            elif of[one] not in done:
                done.add(of[one])
                order.extend(parts[of[one]])
        made = View(shape, self.sources, tuple(order), axis, index if axis is not None else (), sizes)
        return plain(made if axis is not None else replace(made, sizes=()))

    def _merged(self, old: Sequence[int], inner: Sequence[int]) -> tuple[Places, int]:
        """Return where the axes *old*, taken as one, lie in those *inner*, stored as one; and the size of that."""
        lengths = [sum(self.sizes) if one == self.axis else self.shape[one] for one in inner]
        places = np.arange(prod(lengths), dtype=np.int64).reshape(lengths)
        if self.axis is not None and self.axis in old:
            places = places.take(self.places, axis=list(inner).index(self.axis))
        return places.transpose([list(inner).index(one) for one in old]).reshape(-1), prod(lengths)


def plain(view: View) -> View:
    """Return *view* without an index that takes all of one source as it is."""
    if view.axis is None or len(view.sources) > 1 or view.index != tuple(range(view.sizes[0])):
        return view
    return replace(view, axis=None, index=(), sizes=())


def _groups(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield the fewest axes of two shapes of the same values that have equally many; those of size 1 are left out."""
    olds = [axis for axis, size in enumerate(old) if size != 1]
    news = [axis for axis, size in enumerate(new) if size != 1]
    while olds:
        left, right = [olds.pop(0)], [news.pop(0)]
        while (a := prod(old[axis] for axis in left)) != (b := prod(new[axis] for axis in right)):
            if a < b:
                left.append(olds.pop(0))
            else:
                right.append(news.pop(0))
        yield tuple(left), tuple(right)


def _split(places: Places, whole: int, sizes: Sequence[int]) -> list[int] | None:
    """Return the order in which axes of these *sizes* are stored, so that they are at *places*; None: in no order."""
    grid = places.reshape(sizes)
    steps = [int(np.diff(grid.take([0, 1], axis=axis), axis=axis).flat[0]) for axis in range(len(sizes))]
    order = sorted(range(len(sizes)), key=lambda axis: -steps[axis])
    expected = np.arange(whole).reshape([sizes[axis] for axis in order]) if prod(sizes) == whole else None
    if expected is None or not (expected.transpose(np.argsort(order)) == grid).all():
        return None
    return order
