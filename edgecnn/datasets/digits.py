"""Scikit-learn's handwritten digits: 1 797 images of 8x8, inside the install."""

from __future__ import annotations

import numpy as np

from edgecnn.datasets import DataRequest, Dataset, in_memory
from edgecnn.errors import require
from edgecnn.normalization import Normalization
from edgecnn.samples import Samples

EVALUATION_SHARE = 0.3


def open_digits(request: DataRequest) -> Dataset:
    """Return the digits as uint8 [1, 8, 8], 70 % for training, 30 % of each class for evaluation."""
    loaded = require("sklearn.datasets", "torch").load_digits()
    pixels = np.rint(loaded.images * (255 / 16)).astype(np.uint8)[:, None]  # the publisher's range is 0…16
    training, evaluation = Samples.of(pixels, loaded.target).split(EVALUATION_SHARE)
    labels = tuple(str(digit) for digit in range(10))
    return in_memory("digits", training, evaluation, Normalization(), labels, "classification")
