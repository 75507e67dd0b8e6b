"""Int8 weights beside int16 activations: int16x8, as TFLite calls it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import Network
from edgecnn.pipeline import ExportResult, export_model
from edgecnn.recipe import Calibration, Recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """A small network in both integer precisions, with corrected weights and biases."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU6(), nn.Flatten(), nn.Linear(128, 4)]
    recipe = Recipe("own", "", {"tflite": ("w8a8", "w8a16")}, quantize="bias", calibration=Calibration(24))
    images = np.random.default_rng(0).random((64, 1, 8, 8), np.float32)
    network = Network("wide", nn.Sequential(*layers).eval())
    return export_model(network, tmp_path_factory.mktemp("w8a16"), recipe=recipe, data=(images, np.arange(64) % 4))


def test_int16_activations_keep_more_than_int8(files: ExportResult) -> None:
    """The file is w8a16 by its graph and nearer to the network than w8a8."""
    narrow, wide = files.files
    assert wide.artifact.precision == "w8a16"
    assert not wide.float_operators
    assert wide.parity.sqnr_db is not None
    assert narrow.parity.sqnr_db is not None
    assert wide.parity.sqnr_db > narrow.parity.sqnr_db + 1


def test_biases_beside_int16_are_corrected(files: ExportResult) -> None:
    """They are int64, and the correction moves them."""
    file = files.files[1].artifact
    assert file.metadata["corrections"]["biases_moved"] > 0
    graph = file.graph
    layers = [operator for operator in graph.operators if operator.macs]
    assert {graph.tensors[operator.inputs[2]].dtype for operator in layers} == {"int64"}


def test_slow_kernels_are_told(files: ExportResult) -> None:
    """On a CPU board the file runs in reference kernels."""
    [told] = [text for text in files.warnings if "int16" in text]
    assert "no fast kernels" in told


def test_the_ends_are_of_the_type_of_the_activations() -> None:
    """No int8 ends of int16 activations, nor the other way round."""
    recipe = Recipe("own", "", {"tflite": ("w8a16",)}, input_dtype="int16")
    with pytest.raises(EdgecnnError, match="a w8a16 file cannot have int8 inputs or outputs"):
        replace(recipe, input_dtype="int8")
    with pytest.raises(EdgecnnError, match="a w8a8 file cannot have int16 inputs or outputs"):
        replace(recipe, files={"tflite": ("w8a8",)})


def test_onnx_has_none(tmp_path: Path) -> None:
    """It is a precision of TFLite files alone."""
    with pytest.raises(EdgecnnError, match="w8a16"):
        Recipe("own", "", {"onnx": ("w8a16",)})
