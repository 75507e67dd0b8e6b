"""Tensors that are not stored as they are read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.export.views import View, plain


def values(view: View, stored: dict[int, npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Return what *view* says that its tensor holds."""
    sources = [stored[source].reshape(view.stored_shape(number)) for number, source in enumerate(view.sources)]
    whole = sources[0]
    if view.axis is not None:
        place = view.order.index(view.axis)
        whole = np.concatenate(sources, place).take(view.places, axis=place)
    axes = [one for one in view.order if one is not None]
    ones = [place for place, one in enumerate(view.order) if one is None]
    whole = whole.reshape([size for place, size in enumerate(whole.shape) if place not in ones])
    return whole.transpose([axes.index(axis) for axis in sorted(axes)]).reshape(view.shape)


@given(st.data())
def test_views_follow_their_tensors(data: st.DataObject) -> None:
    """Whatever is transposed, taken and reshaped one after the other, a view has the same values as the array."""
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4))
    array = np.arange(np.prod(shape)).reshape(shape)
    stored, view = {7: array}, View.of(7, shape)
    for _ in range(data.draw(st.integers(1, 6))):
        step = data.draw(st.sampled_from(["transpose", "take", "merge", "split", "one"]))
        rank = array.ndim
        axis = data.draw(st.integers(0, rank - 1))
        if step == "transpose":
            axes = data.draw(st.permutations(range(rank)))
            array, made = array.transpose(axes), view.transposed(axes)
        elif step == "take":
            places = np.asarray(data.draw(st.lists(st.integers(0, array.shape[axis] - 1), min_size=1, max_size=6)))
            taken = view.taken(axis, places)
            if taken is None:
                continue
            array, made = array.take(places, axis=axis), taken
        else:
            new = list(array.shape)
            if step == "merge" and axis + 1 < rank:
                new[axis : axis + 2] = [new[axis] * new[axis + 1]]
            elif step == "split" and new[axis] % 2 == 0:
                new[axis : axis + 1] = [2, new[axis] // 2]
            else:
                new.insert(axis, 1)
            reshaped = view.reshaped(new)
            if reshaped is None:
                continue
            array, made = array.reshape(new), reshaped
        view = made
        assert view.shape == array.shape
        np.testing.assert_array_equal(values(view, stored), array)


def test_values_in_their_order_have_any_shape() -> None:
    """A tensor as it is stored can always be reshaped."""
    assert View.of(0, (1, 6, 4)).reshaped((3, 8)) is not None
    assert View.of(0, (2, 1, 9)).reshaped((1, 3, 6, 1)) is not None


@pytest.mark.parametrize(("groups", "channels"), [(2, 6), (3, 6), (4, 8)])
def test_a_shuffle_is_an_order_of_channels(groups: int, channels: int) -> None:
    """Split, transposed and joined again, channels are as they were, in another order."""
    view = View.of(0, (1, channels, 5)).reshaped((1, groups, channels // groups, 5))
    assert view is not None
    shuffled = view.transposed((0, 2, 1, 3)).reshaped((1, channels, 5))
    assert shuffled is not None
    assert shuffled.order == (0, 1, 2)
    assert shuffled.axis == 1
    assert shuffled.index == tuple(np.arange(channels).reshape(groups, -1).T.flat)


def test_what_does_not_lie_together_is_not_joined() -> None:
    """Channels that are stored last and rows that are not have no common axis."""
    view = View.of(0, (1, 4, 5, 6)).transposed((0, 3, 1, 2))
    assert view.reshaped((1, 24, 5)) is None
    flat = view.reshaped((1, 120))
    assert flat is not None
    assert flat.axis == 1


def test_an_index_that_takes_all_is_none() -> None:
    """All places of one source in their order are that source."""
    view = View.of(0, (1, 4)).taken(1, np.arange(4))
    assert view is not None
    assert view == plain(view)
    assert view.axis is None
