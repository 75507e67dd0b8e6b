"""Compressing a network of vectors: the fraud autoencoder through the ordinary way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.datasets import DataSource
from edgecnn.nets.network import build
from edgecnn.pipeline import Training, Uniform, compress_model
from tests.datasets.test_creditcard import write_transactions


@pytest.mark.slow
def test_the_fraud_autoencoder_is_pruned_and_trained_as_any_network(tmp_path: Path) -> None:
    """Half of its hidden units gone and trained on normal rows, it comes back from its checkpoint, alarm and all."""
    write_transactions(tmp_path)
    path = tmp_path / "small.safetensors"
    result = compress_model(
        "edgecnn:autoencoder-fraud",
        path,
        Uniform(0.5),
        data=DataSource("creditcard", folder=tmp_path),
        training=Training(epochs=2),
    )
    assert result.after.params < 0.6 * result.before.params
    scores = build(str(path)).outputs(np.zeros((3, 29), np.float32))[0]
    assert scores.shape == (3, 2)
    assert scores[0, 1] != -1.0  # the alarm has moved from where it starts
