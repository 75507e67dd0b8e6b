"""`npz:FILE`: the user's own arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import DataRequest, Dataset, training_part
from edgecnn.errors import EdgecnnError
from edgecnn.files import check_downloaded
from edgecnn.normalization import Normalization
from edgecnn.samples import JoinedInputs, Samples
from edgecnn.tasks.boxes import Boxes

EVALUATION_SHARE = 0.2
_MOST_CLASSES = 100_000


def open_npz(request: DataRequest) -> Dataset:
    """Return the arrays `x` [n, C, H, W] and `y` [n, ...] of an npz file, split 80 to 20; or `x_train`, `x_test`, ….

    `x_test` without `x_train` is for evaluation alone, and so is all of `x` where it is too little to be split.

    uint8 images are pixels; other numbers are taken as what the network wants already. Images with the channels last
    are turned. `y` are targets of any shape: whole numbers [n] are class numbers. It may be missing: the samples then
    calibrate and compare, but give no score. `labels` may name the classes, and `task` what the targets are.

    For a network with several inputs there is an array for each: `x0`, `x1`, … in their order, or named as they are.

    Raises:
        EdgecnnError: no such file, not an npz file, no such arrays, or lengths that differ.
    """
    path = Path(request.argument)
    if not path.is_file():
        raise EdgecnnError(f"no file at '{path}' (for --data npz:FILE)")
    check_downloaded(path)
    try:
        # allow_pickle stays off: an npz with objects in it is refused.
        with np.load(path, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError, TypeError, OSError) as error:
        raise EdgecnnError(f"{path}: not a readable npz file ({error}); write it with numpy.savez(x=…, y=…)") from None
    return of_arrays(arrays, path.stem, str(path))


def of_arrays(arrays: Mapping[str, npt.NDArray[Any]], name: str, path: str) -> Dataset:
    """Return the data set *name* of arrays as `npz:FILE` holds them; *path* is where they are from, for messages.

    Raises:
        EdgecnnError: no such arrays, or lengths that differ.
    """
    training: Samples | None = None
    names = inputs_in(arrays)
    if any(f"{name}_{part}" in arrays for name in names for part in ("train", "test")):
        evaluation = _samples(path, arrays, names, "_test")
        has_training = any(f"{name}_train" in arrays for name in names)
        training = _samples(path, arrays, names, "_train") if has_training else None
    else:
        training, evaluation = _samples(path, arrays, names, "").split_or_whole(EVALUATION_SHARE)
    classes = _class_names(path, arrays, *(part for part in (training, evaluation) if part is not None))
    normalization = Normalization() if evaluation.images[:1].dtype == np.uint8 else None
    remedy = "add x_train and y_train, or give at least 10 samples"
    return Dataset(
        name,
        partial(training_part, training, path, remedy),
        lambda: evaluation,
        normalization,
        classes,
        task=str(arrays["task"]) if "task" in arrays else _task(evaluation),
    )


def _task(samples: Samples) -> str | None:
    """Return the task that the type of the targets says: whole numbers [n] are classes, boxes are to be detected."""
    if samples.class_numbers is not None:
        return "classification"
    return "detection" if samples.labels is not None and isinstance(samples.labels[:1].flat[0], Boxes) else None


#: Arrays that are no inputs.
_OTHERS = ("labels", "task", "y")


def inputs_in(arrays: Mapping[str, Any]) -> list[str]:
    """Return the names of the inputs: `x`, or without it, where there are several arrays, what these are called."""
    names = dict.fromkeys(name.removesuffix("_train").removesuffix("_test") for name in arrays)
    found = [name for name in names if name not in _OTHERS]
    if "x" in found or len(found) < 2:
        return ["x"]
    numbered = all(name.startswith("x") and name[1:].isdigit() for name in found)
    return sorted(found, key=lambda name: int(name[1:])) if numbered else found


def _samples(path: str, arrays: Mapping[str, npt.NDArray[Any]], names: list[str], part: str) -> Samples:
    """Return the samples of a *part*: `_train`, `_test`, or all of them.

    Raises:
        EdgecnnError: an array is missing, of another length, or holds what is no input.
    """
    found = [_input(path, arrays, f"{name}{part}") for name in names]
    first, y = found[0], arrays.get(f"y{part}")
    for name, x in zip(names, found, strict=True):
        if len(x) != len(first):
            raise EdgecnnError(f"{path}: '{name}{part}' has {len(x)} samples, '{names[0]}{part}' has {len(first)}")
    images = first if len(found) == 1 else JoinedInputs(dict(zip(names, found, strict=True)))
    return Samples.of(images, None if y is None else _targets(f"{path}: 'y{part}'", y, first))


def _input(path: str, arrays: Mapping[str, npt.NDArray[Any]], x_name: str) -> npt.NDArray[Any]:
    if x_name not in arrays:
        raise EdgecnnError(f"{path}: no array '{x_name}' in it; it has: {', '.join(sorted(arrays)) or 'nothing'}")
    x = arrays[x_name]
    if x.ndim < 2 or not (np.issubdtype(x.dtype, np.floating) or x.dtype == np.uint8):
        raise EdgecnnError(f"{path}: '{x_name}' must be uint8 or float [n, C, H, W], found {x.dtype} {list(x.shape)}")
    if not x.size:
        raise EdgecnnError(f"{path}: '{x_name}' is empty")
    if x.dtype != np.uint8:
        x = x.astype(np.float32, copy=False)
        if not np.isfinite(x).all():
            raise EdgecnnError(f"{path}: '{x_name}' holds values that are not finite")
    if x.ndim == 3 and x.dtype == np.uint8:
        x = x[:, None]  # grey images
    if x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return x


def _targets(where: str, y: npt.NDArray[Any], x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return *y* as `Samples` takes it.

    Raises:
        EdgecnnError: not one target for each sample, no numbers, or class numbers below 0.
    """
    if y.dtype == object or not (np.issubdtype(y.dtype, np.number) or y.dtype == bool):
        if y.dtype == object and all(isinstance(one, Boxes) for one in y.flat):
            return y
        raise EdgecnnError(f"{where} must be numbers [n, ...], found {y.dtype} {list(y.shape)}")
    if y.shape[:1] != x.shape[:1]:
        raise EdgecnnError(f"{where} has {list(y.shape)} targets for {len(x)} samples; give one for each sample")
    if not np.isfinite(y).all():
        raise EdgecnnError(f"{where} holds values that are not finite")
    if np.issubdtype(y.dtype, np.floating):
        return y.astype(np.float32, copy=False)
    y = y.astype(np.uint8) if y.dtype == bool else y
    if y.ndim == 1 and y.min(initial=0) < 0:
        raise EdgecnnError(f"{where} holds {y.min()}; class numbers count from 0, and other values are floats")
    return y


def _class_names(path: str, arrays: Mapping[str, npt.NDArray[Any]], *splits: Samples) -> tuple[str, ...] | None:
    numbers = [split.class_numbers for split in splits if split.class_numbers is not None]
    if len(numbers) < len(splits):
        return tuple(str(name) for name in arrays["labels"].flat) if "labels" in arrays else None
    count = 1 + max(int(part.max()) for part in numbers)
    names = arrays.get("labels")
    most = _MOST_CLASSES if names is None else names.size
    if count > most:
        raise EdgecnnError(f"{path}: class number {count - 1} among at most {most} classes; number them from 0")
    return tuple(f"class {i}" for i in range(count)) if names is None else tuple(str(name) for name in names.flat)
