"""Layers and filters that give nothing but 0, or nothing but their bias: they have no range that a scale comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.datasets import DataSource
from edgecnn.export import CalibrationInputs, quantize
from edgecnn.export.onnx import to_onnx
from edgecnn.export.tflite import to_tflite
from edgecnn.export.tflite_ranges import widen_degenerate_ranges
from edgecnn.nets.network import Network
from edgecnn.pipeline import export_model
from edgecnn.recipe import WRITABLE, Recipe
from edgecnn.runtimes import runtime_class, runtime_for
from edgecnn.samples import Samples

SHAPE = (1, 8, 8)


def linear() -> nn.Sequential:
    """Two linear layers, a ReLU between them; the first is the layer to kill."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10)).eval()


def convolution(groups: int = 1) -> nn.Sequential:
    """Two convolutions and a linear layer; the second is the layer to kill."""
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=groups), nn.ReLU()]
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)).eval()


def changed(network: nn.Sequential, filters: slice, bias: float, weight: float = 1.0) -> nn.Sequential:
    """Return *network* with some filters' weights times *weight* and their biases *bias*, in the layer to change."""
    layer: Any = network[1] if isinstance(network[1], nn.Linear) else network[2]
    with torch.no_grad():
        layer.weight[filters] *= weight
        layer.bias[filters] = bias
    return network


class DeadBranch(nn.Module):
    """A residual branch that is always 0, one gate that is, and a concat with both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.branch, self.up = nn.Conv2d(8, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.head = nn.Linear(24, 10)
        with torch.no_grad():
            self.branch.bias.fill_(-100.0)  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 1, 8, 8] to [N, 10]."""
        x = torch.relu(self.stem(x))
        dead = torch.relu(self.branch(x))
        y = torch.cat([x + dead, x * torch.max_pool2d(dead, 3, 1, 1)], 1).mean((2, 3))
        up = torch.relu(self.up(dead)).mean((2, 3))
        return self.head(torch.cat([y, up], 1))  # type: ignore[no-any-return]


ALL, ONE = slice(None), slice(0, 1)
NETWORKS = {
    "linear, dead": changed(linear(), ALL, -100.0),
    "linear, one dead": changed(linear(), ONE, -100.0),
    "linear, one without weights": changed(linear(), ONE, 0.5, 0.0),
    "linear, one with tiny weights": changed(linear(), ONE, 0.5, 1e-6),
    "linear, without weights": changed(linear(), ALL, 0.5, 0.0),
    "convolution, dead": changed(convolution(), ALL, -100.0),
    "convolution, one dead": changed(convolution(), ONE, -100.0),
    "convolution, one without weights": changed(convolution(), ONE, 0.5, 0.0),
    "convolution, one with nothing": changed(convolution(), ONE, 0.0, 0.0),
    "convolution, all but dead": changed(convolution(), ALL, 1e-7, 1e-8),
    "depthwise, dead": changed(convolution(8), ALL, -100.0),
    "depthwise, one without weights": changed(convolution(8), ONE, 0.5, 0.0),
    "branches, dead": DeadBranch().eval(),
}


def run(artifact: Artifact, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what the file gives for each image in the runtime that edgecnn measures it in."""
    session = runtime_class(runtime_for(artifact.format))().open(str(artifact.path), 1)
    outputs = []
    for image in images:
        x = image[None]
        session.write([np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if artifact.layout == "NHWC" else x])
        session.invoke()
        outputs.append(session.read()[0].copy())
    session.close()
    return np.concatenate(outputs)


def check_integers(path: Path) -> None:
    """Check that each bias leaves half of int32 to the products, and no activation has a scale near 0."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for tensor in model.subgraphs[0].tensors:
        if tensor.quantization is None or tensor.quantization.scale is None:
            continue
        data = model.buffers[tensor.buffer].data
        if data is None:
            assert min(tensor.quantization.scale) > 1e-10
        elif tensor.type == schema.TensorType.INT32:
            assert np.abs(np.asarray(data, np.uint8).view(np.int32).astype(np.int64)).max() <= 2**30 + 128


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_always_zero_is_computed(name: str, format_name: str, tmp_path: Path) -> None:
    """Every file loads in its runtime and gives what the network gives in torch."""
    write = to_tflite if format_name == "tflite" else to_onnx
    plain = write(NETWORKS[name], tmp_path / f"a.fp32.{format_name}", SHAPE)
    images = np.random.default_rng(0).random((32, *SHAPE), np.float32)
    calibration = CalibrationInputs(Samples.of(images), None)
    with torch.no_grad():
        expected = NETWORKS[name](torch.from_numpy(images)).numpy()
    for precision in WRITABLE[format_name]:
        written = plain
        if precision != "fp32":
            path = tmp_path / f"a.{precision}.{format_name}"
            written = quantize(plain, path, precision, calibration=calibration)
        error = np.abs(run(written, images) - expected).max() / np.abs(expected).max()
        assert error < {"fp32": 1e-5, "fp16": 1e-3, "w4": 0.15}.get(precision, 0.02), precision
        if (format_name, precision) == ("tflite", "w8a8"):
            check_integers(written.path)


@pytest.mark.slow
def test_a_dead_layer_exports(tmp_path: Path) -> None:
    """A recipe brings every file it names of a network with a dead layer, and none is rejected."""
    network = Network("dead", NETWORKS["linear, dead"])
    result = export_model(network, tmp_path, recipe="phone", data=DataSource(input_shape=SHAPE))
    assert {file.artifact.precision for file in result.files} == {"fp32", "fp16", "w8", "w8a8"}
    assert all(file.rejected is None for file in result.files)


@pytest.mark.slow
@pytest.mark.parametrize("network", [linear(), convolution(), convolution(8)])
def test_a_living_network_keeps_its_ranges(network: nn.Sequential, tmp_path: Path) -> None:
    """Where nothing is too fine, the ranges stay those of the calibration, and those of weights are left out."""
    artifact = to_tflite(network, tmp_path / "a.tflite", SHAPE)
    ranges = {
        tensor.name: {"min": np.array([-0.01], np.float32), "max": np.array([1.0], np.float32)}
        for tensor in artifact.graph.tensors
        if not tensor.constant
    }
    assert widen_degenerate_ranges(artifact.graph, artifact.path.read_bytes(), ranges) == ranges


@pytest.mark.slow
def test_black_images_calibrate(tmp_path: Path) -> None:
    """With inputs that are all 0 a file comes out whose input takes 0 to 1."""
    artifact = to_tflite(linear(), tmp_path / "a.tflite", SHAPE)
    black = CalibrationInputs(Samples.of(np.zeros((4, *SHAPE), np.float32)), None)
    recipe = Recipe("own", "", {"tflite": ("w8a8",)}, input_dtype="int8")
    written = quantize(artifact, tmp_path / "b.tflite", "w8a8", recipe=recipe, calibration=black)
    quant = Artifact.open(written.path).inputs[0].quant
    assert quant is not None
    assert quant.scale == pytest.approx((1 / 255,))
