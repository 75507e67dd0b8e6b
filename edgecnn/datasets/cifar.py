"""CIFAR-10 and CIFAR-100: the official binary files; the official pickled ones are never unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import DataRequest, Dataset
from edgecnn.datasets.pickled import read_pickled_arrays
from edgecnn.datasets.places import download_with_torchvision, find_files
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples

_LABELS_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PIXELS = 3 * 32 * 32


def open_cifar10(request: DataRequest) -> Dataset:
    """Return CIFAR-10: uint8 [3, 32, 32], 50 000 for training, 10 000 for evaluation."""
    download_with_torchvision(request, "CIFAR10", "cifar10")
    binary = [*(f"data_batch_{part}.bin" for part in range(1, 6)), "test_batch.bin"]
    python = [Path(file).stem for file in binary]
    layouts = [
        *([folder + file for file in binary] for folder in ("cifar-10-batches-bin/", "")),
        *([folder + file for file in python] for folder in ("cifar-10-batches-py/", "")),
    ]
    paths = find_files(request, "cifar10", layouts)
    normalization = Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    return _dataset("cifar10", paths[:-1], paths[-1:], 1, _LABELS_10, normalization)


def open_cifar100(request: DataRequest) -> Dataset:
    """Return CIFAR-100 with its 100 fine classes: uint8 [3, 32, 32], 50 000 for training, 10 000 for evaluation."""
    download_with_torchvision(request, "CIFAR100", "cifar100")
    layouts = [
        *([folder + "train.bin", folder + "test.bin"] for folder in ("cifar-100-binary/", "")),
        *([folder + "train", folder + "test"] for folder in ("cifar-100-python/", "")),
    ]
    train, test = find_files(request, "cifar100", layouts)
    names = train.parent / "fine_label_names.txt"
    labels = tuple(names.read_text().split()) if names.is_file() else tuple(f"class {i}" for i in range(100))
    normalization = Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    return _dataset("cifar100", [train], [test], 2, labels, normalization)


def _dataset(
    name: str,
    training: Sequence[Path],
    evaluation: Sequence[Path],
    label_bytes: int,
    labels: tuple[str, ...],
    normalization: Normalization,
) -> Dataset:
    def read(paths: Sequence[Path]) -> Samples:
        parts = [_read(path, label_bytes) for path in paths]
        return Samples.of(np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]))

    return Dataset(name, lambda: read(training), lambda: read(evaluation), normalization, labels, task="classification")


def _read(path: Path, label_bytes: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    if path.suffix != ".bin":
        key = b"labels" if label_bytes == 1 else b"fine_labels"
        pixels, classes = read_pickled_arrays(path, key)
        return pixels.reshape(-1, 3, 32, 32), classes
    raw = np.fromfile(path, np.uint8)
    if raw.size == 0 or raw.size % (label_bytes + _PIXELS):
        raise EdgecnnError(f"{path}: {raw.size} bytes are not whole records of {label_bytes + _PIXELS}; fetch it again")
    records = raw.reshape(-1, label_bytes + _PIXELS)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1].astype(np.int64)
