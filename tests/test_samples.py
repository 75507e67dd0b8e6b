"""Samples: re-iterable, split without overlap, drawn without bias."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.samples import Samples


def numbered(count: int, classes: int = 3) -> Samples:
    """Return samples whose pixels are their numbers."""
    x = np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)
    return Samples.of(x, np.arange(count) % classes)


@given(count=st.integers(1, 200), batch=st.integers(1, 64))
def test_batches_cover_every_sample_once_and_again(count: int, batch: int) -> None:
    """Iterating gives every sample once, in order, and can be done twice."""
    samples = numbered(count).batched(batch)
    for _ in range(2):
        seen = np.concatenate([b.x.ravel() for b in samples])
        assert seen.tolist() == list(range(count))


@given(count=st.integers(10, 300), share=st.floats(0.1, 0.9))
def test_split_parts_share_nothing_and_keep_the_classes(count: int, share: float) -> None:
    """The two parts of a split are disjoint, complete, and hold the same share of each class."""
    first, second = numbered(count).split(share)
    assert set(first.indices) | set(second.indices) == set(range(count))
    assert not set(first.indices) & set(second.indices)
    assert second.labels is not None
    for label in range(3):
        total = sum(1 for i in range(count) if i % 3 == label)
        assert sum(second.labels[second.indices] == label) == round(share * total)


@given(count=st.integers(1, 100), wanted=st.integers(1, 150))
def test_take_draws_without_repetition_and_repeatably(count: int, wanted: int) -> None:
    """Taking gives that many different samples, the same ones each time."""
    samples = numbered(count)
    taken = samples.take(wanted)
    assert len(taken) == min(count, wanted) == len(set(taken.indices))
    assert taken.indices.tolist() == samples.take(wanted).indices.tolist()


def test_take_is_not_the_beginning() -> None:
    """Taking from samples sorted by class does not take one class alone."""
    samples = Samples.of(np.zeros((100, 1, 1, 1), np.uint8), np.repeat(np.arange(10), 10))
    assert samples.class_numbers is not None
    assert len(set(samples.class_numbers[samples.take(30).indices])) > 5


def test_targets_of_another_length_are_refused() -> None:
    """Each sample has one target."""
    with pytest.raises(EdgecnnError, match="10 samples have 9 targets"):
        Samples.of(np.zeros((10, 4), np.float32), np.zeros(9))


def test_only_class_numbers_are_split_by_class() -> None:
    """Values are split as they come: each of them would be a class of its own, of which no share can be taken."""
    samples = Samples.of(np.zeros((10, 4), np.float32), np.linspace(0, 1, 10))
    assert samples.class_numbers is None
    assert [len(part) for part in samples.split(0.2)] == [8, 2]
