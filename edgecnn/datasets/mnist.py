"""MNIST and Fashion-MNIST: idx files as their publishers pack them, or as torchvision lays them out."""

from __future__ import annotations

import gzip
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import DataRequest, Dataset
from edgecnn.datasets.places import download_with_torchvision, find_files
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples

_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def open_mnist(request: DataRequest) -> Dataset:
    """Return MNIST: uint8 [1, 28, 28], 60 000 for training, 10 000 for evaluation."""
    download_with_torchvision(request, "MNIST", "mnist")
    labels = tuple(str(digit) for digit in range(10))
    return _open(request, "mnist", ("MNIST/raw/", "MNIST/", ""), labels, Normalization((0.1307,), (0.3081,)))


def open_fashion_mnist(request: DataRequest) -> Dataset:
    """Return Fashion-MNIST, of the shape and size of MNIST."""
    download_with_torchvision(request, "FashionMNIST", "fashion-mnist")
    # Its files bear the names of MNIST's, so a bare folder of them is not taken for it.
    folders = ("FashionMNIST/raw/", "FashionMNIST/", "fashion-mnist/")
    return _open(request, "fashion-mnist", folders, _FASHION, Normalization((0.2860,), (0.3530,)))


def _open(
    request: DataRequest, name: str, folders: tuple[str, ...], labels: tuple[str, ...], normalization: Normalization
) -> Dataset:
    files = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    layouts = [[folder + file + packed for file in files] for folder in folders for packed in ("", ".gz")]
    train_x, train_y, test_x, test_y = find_files(request, name, layouts)

    def read(images: Path, classes: Path) -> Samples:
        x, y = read_idx(images), read_idx(classes)
        if x.ndim != 3 or y.shape != x.shape[:1]:
            raise EdgecnnError(f"{images}: {list(x.shape)} images with {list(y.shape)} labels; fetch both again")
        return Samples.of(x[:, None], y)

    training, evaluation = partial(read, train_x, train_y), partial(read, test_x, test_y)
    return Dataset(name, training, evaluation, normalization, labels, task="classification")


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Return the uint8 array of an idx file, gzipped or not (format: yann.lecun.com/exdb/mnist).

    Raises:
        EdgecnnError: the file is something else or cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, rank = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{rank}I", content, 4)
        if zeros != 0 or kind != 8:
            raise ValueError("not an idx file of bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (ValueError, struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise EdgecnnError(f"{path}: not a complete idx file ({error}); fetch it again") from None
