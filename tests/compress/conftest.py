"""What several tests of compression begin with."""

from __future__ import annotations

import pytest
from torch import nn

from edgecnn.compress.train import TrainConfig, train
from edgecnn.datasets import Dataset, open_dataset
from edgecnn.nets.network import build


@pytest.fixture(scope="package")
def data() -> Dataset:
    """The digits."""
    return open_dataset("digits")


@pytest.fixture(scope="package")
def digits(data: Dataset) -> nn.Module:
    """A small network that reads digits."""
    config = TrainConfig(epochs=6, learning_rate=6e-3)
    return train(build("edgecnn:digits-cnn").module, data.training, config, data.normalization)
