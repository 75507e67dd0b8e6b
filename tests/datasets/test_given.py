"""Data that are given in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from edgecnn.datasets import Dataset, open_dataset
from edgecnn.datasets.noise import noise
from edgecnn.errors import EdgecnnError

X = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), dtype=np.uint8)
Y = np.arange(20) % 2


def loader(n: int = 20, names: tuple[str, ...] = ()) -> DataLoader[Any]:
    """Return a loader of the first *n* samples as floats, whose data set names its classes."""
    samples = TensorDataset(torch.from_numpy(X[:n]) / 255, torch.from_numpy(Y[:n]))
    if names:
        samples.classes = list(names)  # type: ignore[attr-defined]
    return DataLoader(samples, batch_size=7)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ((X, Y), (16, 4)),
        ([torch.from_numpy(X), torch.from_numpy(Y)], (16, 4)),
        ({"x": X, "y": Y}, (16, 4)),
        ({"x_train": X[:12], "y_train": Y[:12], "x_test": X[12:], "y_test": Y[12:]}, (12, 8)),
    ],
)
def test_arrays_become_a_data_set(data: Any, parts: tuple[int, int]) -> None:
    """Arrays and tensors are split as `npz:FILE` is; pixels are normalised to 0…1, and each keeps its label."""
    dataset = open_dataset(data)
    assert (len(dataset.training), len(dataset.evaluation)) == parts
    assert (str(dataset.normalization), dataset.labels) == ("unit", ("class 0", "class 1"))
    for batch in dataset.evaluation:
        assert batch.y is not None
        for image, label in zip(batch.x, batch.y, strict=True):
            assert label in Y[[np.array_equal(image, one) for one in X]]


def test_a_loader_is_read_whole() -> None:
    """Every batch of a DataLoader is taken, floats as the network wants them, with the names of the classes."""
    dataset = open_dataset(loader(names=("cat", "dog")))
    assert (len(dataset.training), len(dataset.evaluation), dataset.labels) == (16, 4, ("cat", "dog"))
    assert dataset.normalization is None
    images = np.concatenate([batch.x for part in (dataset.training, dataset.evaluation) for batch in part])
    assert np.allclose(np.sort(images.ravel()), np.sort(X.ravel() / np.float32(255)))


def test_two_loaders_are_training_and_evaluation() -> None:
    """The first of a pair is trained on, the second judges."""
    dataset = open_dataset((loader(), loader(6)))
    assert (len(dataset.training), len(dataset.evaluation)) == (20, 6)


def test_a_loader_without_labels_calibrates() -> None:
    """Images alone have no labels, and so no classes."""
    dataset = open_dataset(DataLoader(TensorDataset(torch.from_numpy(X)), batch_size=5))
    assert dataset.labels is None
    assert dataset.evaluation.labels is None


def test_a_data_set_of_ours_is_taken_as_it_is() -> None:
    """A `Dataset` goes through unchanged."""
    dataset: Dataset = noise((1, 4, 4), 3)
    assert open_dataset(dataset) is dataset


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "cannot be an object of type int; edgecnn accepts a name .* a torch DataLoader"),
        (X, "cannot be an object of type ndarray"),
        ((1, 2), r"a tuple of \(int, int\)"),
        ({"images": X}, "a dict of images"),
        ({"x": X, "z": Y}, "unknown array 'z'; known: x, y"),
        ((X, Y[:3]), "targets for .* samples"),
        ((X.astype(np.int64), Y), "'x' must be uint8 or float"),
        ([[X, Y], [X, Y], [X, Y]], "a list of"),
        (DataLoader([{"image": 1}] * 4), "the DataLoader gives a dict of image"),  # type: ignore[list-item]
    ],
)
def test_what_cannot_be_data_is_told(data: Any, message: str) -> None:
    """Anything else ends in one line that says what is taken."""
    with pytest.raises(EdgecnnError, match=message):
        open_dataset(data)


def test_a_loader_without_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader of more than the memory kept for it is refused, not read until none is left."""
    monkeypatch.setattr("edgecnn.datasets.given._MOST_BYTES", 1000)
    with pytest.raises(EdgecnnError, match="more than 0 GiB"):
        open_dataset(loader())
