"""Scikit-learn's handwritten digits: 1 797 images of 8x8, inside the install."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.datasets import DataRequest, Dataset, in_memory
from edgecnn.errors import missing_package, require
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples

EVALUATION_SHARE = 0.3


def open_digits(request: DataRequest) -> Dataset:
    """Return the digits as uint8 [1, 8, 8], 70 % for training, 30 % of each class for evaluation."""
    images, target = read_digits()
    pixels = np.rint(images * (255 / 16)).astype(np.uint8)[:, None]  # the publisher's range is 0…16
    training, evaluation = Samples.of(pixels, target).split(EVALUATION_SHARE)
    labels = tuple(str(digit) for digit in range(10))
    return in_memory("digits", training, evaluation, Normalization(), labels, "classification")


def read_digits() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the images [1797, 8, 8], from 0 to 16, and their classes [1797].

    The file is read where scikit-learn has it: importing the whole package for it takes 2 s.

    Raises:
        EdgecnnError: scikit-learn is not installed.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise missing_package("sklearn", "torch")
    file = Path(spec.origin).with_name("datasets") / "data" / "digits.csv.gz"
    if not file.is_file():  # another release may have it elsewhere
        loaded = require("sklearn.datasets", "torch").load_digits()
        return loaded.images, loaded.target
    with gzip.open(file, "rt", encoding="ascii") as opened:
        rows = np.loadtxt(opened, delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
