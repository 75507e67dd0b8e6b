"""What quantized files hold, and what their runtimes really compute."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgecnn.artifact import Artifact
from edgecnn.datasets import DataSource
from edgecnn.evaluate.verify import ExportedFile
from edgecnn.nets.network import Network
from edgecnn.pipeline import ExportResult, export_model
from edgecnn.recipe import Recipe, load_recipe


class Mixed(nn.Module):
    """A residual connection, a depthwise convolution, squeeze-excite with a hard sigmoid, a concat, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 3, H, W] to [N, 5]."""
        x = self.stem(x)
        y = torch.relu(x + self.pointwise(torch.relu(self.depthwise(x))))
        scale = self.excite(torch.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1))))
        y = torch.cat([y * functional.hardsigmoid(scale), x], 1)
        return self.head(y.mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The mixed network in both formats, fp32 and w8a8."""
    torch.manual_seed(0)
    recipe: Recipe = replace(load_recipe("board"), limits={})
    return export_model(
        Network("mixed", Mixed().eval()),
        tmp_path_factory.mktemp("mixed"),
        recipe=recipe,
        data=DataSource(input_shape=(3, 16, 16)),
    )


def only(result: ExportResult, format_name: str, precision: str) -> ExportedFile:
    """Return one file of the result."""
    return next(f for f in result.files if (f.artifact.format, f.artifact.precision) == (format_name, precision))


def optimized_kinds(path: Path, folder: Path) -> Counter[str]:
    """Return the operators that onnxruntime really runs."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def test_onnxruntime_computes_int8_files_in_integers(mixed: ExportResult, tmp_path: Path) -> None:
    """Around residual connections too, no convolution, addition, product, pool or linear layer is left in float."""
    kinds = optimized_kinds(only(mixed, "onnx", "w8a8").path, tmp_path)
    assert not kinds.keys() & {
        "Conv",
        "FusedConv",
        "Add",
        "Mul",
        "Gemm",
        "MatMul",
        "Concat",
        "ReduceMean",
        "GlobalAveragePool",
    }
    assert kinds["QLinearConv"] == 5
    assert kinds["QLinearAdd"] == kinds["QLinearMul"] == 1


def test_what_onnxruntime_leaves_in_float_is_named(mixed: ExportResult, tmp_path: Path) -> None:
    """The operators told are those of the optimized graph: the hard sigmoid, for which there is no integer kernel."""
    file = only(mixed, "onnx", "w8a8")
    told = Counter(kind for kind, _ in file.float_operators)
    real = optimized_kinds(file.path, tmp_path)
    assert told == {"HardSigmoid": real["HardSigmoid"]} == {"HardSigmoid": 1}


def test_tflite_weights_are_per_channel(mixed: ExportResult) -> None:
    """Every convolution has one scale a filter, along the axis of its filters; biases too."""
    graph = only(mixed, "tflite", "w8a8").artifact.graph
    for operator in graph.operators:
        if operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weight = graph.tensors[operator.inputs[1]]
            assert weight.dtype == "int8"
            assert weight.quant is not None
            axis = 0 if operator.kind == "CONV_2D" else 3
            assert weight.quant.axis == axis
            assert len(weight.quant.scale) == weight.shape[axis]
            assert set(weight.quant.zero_point) == {0}
    assert only(mixed, "tflite", "w8a8").float_operators == ()


@pytest.mark.parametrize(("precision", "dtype"), [("w8a8", "int8"), ("w8", "int8"), ("w4", "int4")])
def test_linear_layers_have_one_scale_for_each_output(precision: str, dtype: str, tmp_path: Path) -> None:
    """So a row of small weights keeps its digits beside a row of large ones."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 64), nn.Linear(64, 5))
    with torch.no_grad():
        network[3].weight[::2] *= 100.0  # type: ignore[operator]
    recipe = Recipe("own", "", {"tflite": ("fp32", precision)})
    result = export_model(
        Network("linear", network.eval()), tmp_path, recipe=recipe, data=DataSource(input_shape=(3, 8, 8))
    )
    file = only(result, "tflite", precision)
    linear = [operator for operator in file.artifact.graph.operators if operator.kind == "FULLY_CONNECTED"]
    assert len(linear) == 2
    for operator in linear:
        weight = file.artifact.graph.tensors[operator.inputs[1]]
        assert weight.dtype == dtype
        assert weight.quant is not None
        assert len(weight.quant.scale) == weight.shape[0]
        assert weight.size_bytes == weight.shape[0] * weight.shape[1] // (2 if dtype == "int4" else 1)
    assert file.artifact.precision == precision
    assert file.parity.sqnr_db is not None
    assert file.parity.sqnr_db > (12 if precision == "w4" else 20)


def test_four_bits_are_for_linear_layers_alone(tmp_path: Path) -> None:
    """A network without one is told so, and what to take instead; the recipe's other file is written."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    recipe = replace(load_recipe("phone-w4"), limits={})
    result = export_model(
        Network("bare", network), tmp_path / "out", recipe=recipe, data=DataSource(input_shape=(3, 8, 8))
    )
    assert [file.path.name for file in result.files] == ["bare.w8.tflite"]
    [failed] = result.failed
    assert failed.path.name == "bare.w4.tflite"
    assert failed.reason.endswith("it has none; use w8")


def test_onnx_weights_are_per_channel(mixed: ExportResult) -> None:
    """Every convolution's weight is int8 with one scale a filter, axis 0."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(only(mixed, "onnx", "w8a8").path).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 5
    for node in convolutions:
        dequantize = producers[node.input[1]]
        weight, scale = (values[name] for name in dequantize.input[:2])
        assert weight.dtype == np.int8
        assert scale.shape == (weight.shape[0],)


def test_the_two_formats_agree(mixed: ExportResult) -> None:
    """The int8 files of both formats are about as close to the network as each other."""
    levels = [only(mixed, name, "w8a8").parity.sqnr_db for name in ("onnx", "tflite")]
    assert all(level is not None and level > 25 for level in levels)


def test_quantizing_by_hand_keeps_what_the_file_says(board: ExportResult, tmp_path: Path) -> None:
    """Labels, normalization and the weights' sha256 of the fp32 file are in the file quantized from it."""
    from edgecnn.export import quantize

    for format_name in ("onnx", "tflite"):
        source = only(board, format_name, "fp32").artifact
        quantize(source, tmp_path / f"a.w8.{format_name}", "w8")
        metadata = Artifact.open(tmp_path / f"a.w8.{format_name}").metadata
        for key in ("labels", "normalization", "weights_sha256", "model"):
            assert metadata[key] == source.metadata[key]
        assert metadata["precision"] == "w8"
        assert metadata["calibration"] is None
