"""Data that are given in Python: arrays, and torch's `DataLoader`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import Dataset
from edgecnn.datasets.npz import inputs_in, of_arrays
from edgecnn.errors import EdgecnnError

_TAKEN = (
    "a name (digits, folder:DIR, npz:FILE, …), an edgecnn.Dataset, a torch DataLoader of (images, labels) or a pair of "
    "them (training, evaluation), arrays (x, y), or a dict of x and y or x_train, y_train, x_test, y_test"
)
_NAMES = ("x", "y", "x_train", "y_train", "x_test", "y_test", "labels", "task")
_MOST_BYTES = 2**32  # of a DataLoader, whose samples are kept in memory


def dataset_of(data: object) -> Dataset:
    """Return a data set made of what is given.

    Args:
        data: a `Dataset`, which is returned as it is; arrays `(x, y)` or `{"x": …, "y": …}`, of which a fifth is kept
            for evaluation; `{"x_train": …, "y_train": …, "x_test": …, "y_test": …}`; a DataLoader of batches
            `(images, labels)` or of images alone, or a pair of them for training and evaluation. `x` is
            [n, C, H, W], uint8 pixels or floats as the network wants them; `y` is [n, ...]: class numbers [n] from 0,
            values, label images, or `Boxes`. numpy arrays and torch tensors are taken. A dict may name the `task`, and
            has an array for each of several inputs, by its name. A
            DataLoader is read once, in its order, into memory.

    Raises:
        EdgecnnError: something else, shapes or types that do not fit, or a DataLoader of more than 4 GiB.
    """
    if isinstance(data, Dataset):
        return data
    if _is_loader(data):
        x, y = _read(data)
        return of_arrays(_without_none(x=x, y=y, labels=_classes(data)), "DataLoader", "data")
    if isinstance(data, Sequence) and len(data) == 2:
        first, second = data
        if _is_loader(first) and _is_loader(second):
            (x_train, y_train), (x_test, y_test) = _read(first), _read(second)
            parts = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
            return of_arrays(_without_none(**parts, labels=_classes(first)), "DataLoader", "data")
        if _is_array(first) and (second is None or _is_array(second)):
            return of_arrays(_without_none(x=first, y=second), "arrays", "data")
    if isinstance(data, Mapping) and any(name in data for name in ("x", "x_train", "x_test")):
        unknown = [str(name) for name in data if name not in _NAMES]
        if unknown:
            raise EdgecnnError(f"data: unknown array '{unknown[0]}'; known: {', '.join(_NAMES)}")
        return of_arrays(_without_none(**data), "arrays", "data")
    if isinstance(data, Mapping) and len(inputs_in(data)) > 1:
        return of_arrays(_without_none(**data), "arrays", "data")
    raise EdgecnnError(f"data cannot be {_described(data)}; edgecnn accepts {_TAKEN}")


def _is_loader(data: object) -> bool:
    # By what it has: torch is not imported for it, and others wrap its DataLoader.
    return isinstance(data, Iterable) and hasattr(data, "dataset") and hasattr(data, "batch_size")


def _is_array(value: object) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _without_none(**arrays: object) -> dict[str, npt.NDArray[Any]]:
    return {name: _array(value) for name, value in arrays.items() if value is not None}


def _array(value: Any) -> npt.NDArray[Any]:
    """Return a numpy array of an array, a list, or a torch tensor on any device."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    return np.asarray(value)


def _classes(loader: Any) -> list[str] | None:
    """Return the names of the classes, where the loader's data set has them as those of torchvision do."""
    names = getattr(loader.dataset, "classes", None)
    return list(map(str, names)) if isinstance(names, (list, tuple)) and names else None


def _read(loader: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Return the images and labels of all batches; None: there are no labels.

    Raises:
        EdgecnnError: batches of another form, or too many of them.
    """
    images: list[npt.NDArray[Any]] = []
    labels: list[npt.NDArray[Any]] = []
    size_bytes = 0
    for batch in loader:
        parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
        if not 1 <= len(parts) <= 2 or not all(map(_is_array, parts)):
            raise EdgecnnError(
                f"data: the DataLoader gives {_described(batch)}; edgecnn accepts batches (images, labels), or images"
            )
        images.append(_array(parts[0]))
        labels += [_array(part) for part in parts[1:]]
        size_bytes += images[-1].nbytes
        if size_bytes > _MOST_BYTES:
            raise EdgecnnError(
                f"data: the DataLoader gives more than {_MOST_BYTES // 2**30} GiB, which would have to stay in memory; "
                f"give folder:DIR, which reads images as needed, or fewer samples"
            )
    if not images:
        raise EdgecnnError("data: the DataLoader gives no batch")
    try:
        return np.concatenate(images), np.concatenate(labels) if labels else None
    except ValueError as error:
        raise EdgecnnError(f"data: the DataLoader's batches do not fit each other: {error}") from None


def _described(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of ({', '.join(type(part).__name__ for part in value[:4])})"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, list(value)[:4])) or 'nothing'}"
    return f"an object of type {type(value).__name__}"
