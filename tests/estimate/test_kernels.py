"""The operators of a file as runtimes run them: what is fused into a neighbour, in which format and by whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor as Values
from torch import nn

from edgecnn.estimate.fitting import amounts_of
from edgecnn.estimate.kernels import kernels_of
from edgecnn.estimate.work import graph_works
from edgecnn.export.onnx import to_onnx
from edgecnn.export.tflite import to_tflite
from edgecnn.formats import Graph, Operator, Tensor, read_graph

SHAPE = (1, 8, 4, 4)
RUNTIMES = ("litert", "onnxruntime", "ncnn")


class Block(nn.Module):
    """What mobile networks are made of: every activation, gates, a residual, padding, pooling and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.wide = nn.Sequential(nn.Conv2d(16, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU6())
        self.depth = nn.Sequential(nn.Conv2d(24, 24, 3, 2, 1, groups=24, bias=False), nn.BatchNorm2d(24), nn.SiLU())
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(24, 8, 1), nn.ReLU(), nn.Conv2d(8, 24, 1), nn.Hardsigmoid()
        )
        self.narrow = nn.Sequential(nn.Conv2d(24, 24, 1), nn.Identity(), nn.ReLU())
        self.head = nn.Sequential(
            nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 16), nn.Hardswish(), nn.Dropout()
        )
        self.last = nn.Linear(16, 10)

    def forward(self, x: Values) -> Values:
        """Return the scores."""
        y = self.depth(self.wide(self.stem(x)))
        y = y * self.gate(y)
        return self.last(self.head(torch.relu(self.narrow(y) + y)))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graph]:
    """The same network as an ONNX and as a TFLite file."""
    folder = tmp_path_factory.mktemp("both")
    torch.manual_seed(0)
    network = Block().eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias)
    to_onnx(network, folder / "net.onnx", (3, 32, 32))
    to_tflite(network, folder / "net.tflite", (3, 32, 32))
    return {name: read_graph(folder / f"net.{name}") for name in ("onnx", "tflite")}


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_network_is_the_same_work_in_both_formats(both: dict[str, Graph], runtime: str) -> None:
    """Multiply-adds, bytes and number of operators of each kind are the same from an ONNX and from a TFLite file."""
    found = {
        name: amounts_of((work for _, work in graph_works(graph, runtime)), "fp32") for name, graph in both.items()
    }
    np.testing.assert_allclose(found["onnx"], found["tflite"])
    assert found["onnx"].any()


def chain(kinds: Sequence[str], *, outputs: Sequence[int] = (), file_format: str = "onnx") -> Graph:
    """Return a network of operators of those kinds, one after the other; a computing one has weights.

    Tensor 0 is the input, tensor i + 1 what the i-th operator writes.
    """
    count = len(kinds) + 1
    tensors = [Tensor(f"t{index}", SHAPE, "float32") for index in range(count)]
    operators = []
    for place, kind in enumerate(kinds):
        inputs = [place]
        if kind in ("Conv", "CONV_2D"):
            inputs.append(len(tensors))
            tensors.append(Tensor(f"w{place}", (8, 8, 1, 1), "float32", constant=True))
        if kind in ("Add", "Mul", "Div", "MUL"):
            inputs.append(len(tensors))
            tensors.append(Tensor(f"c{place}", (), "float32", constant=True))
        operators.append(
            Operator(kind, tuple(inputs), (place + 1,), macs=1024 if kind.upper().startswith("CONV") else 0)
        )
    return Graph(file_format, tuple(tensors), tuple(operators), (0,), tuple(outputs) or (count - 1,), 0)


def kinds_of(graph: Graph, runtime: str = "litert") -> list[str]:
    """Return the kinds of the kernels."""
    return [kernel.operator.kind for kernel in kernels_of(graph, runtime)]


@pytest.mark.parametrize("clamp", ["Relu", "Clip"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_clamp_costs_nothing(clamp: str, runtime: str) -> None:
    """Every runtime clamps in the convolution, which then writes what the clamp wrote."""
    (kernel,) = kernels_of(chain(["Conv", clamp]), runtime)
    assert (kernel.operator.kind, kernel.operator.outputs) == ("Conv", (2,))


def test_what_others_read_is_not_fused() -> None:
    """A convolution whose own output is asked for as well writes it, and the clamp is an operator of its own."""
    assert kinds_of(chain(["Conv", "Relu"], outputs=(1, 2))) == ["Conv", "Relu"]


def test_each_runtime_fuses_its_own_activations() -> None:
    """A hard swish is part of ncnn's convolution, and an operator of LiteRT's and onnxruntime's."""
    found = {runtime: kinds_of(chain(["Conv", "HardSwish"]), runtime) for runtime in RUNTIMES}
    assert found == {"litert": ["Conv", "HardSwish"], "onnxruntime": ["Conv", "HardSwish"], "ncnn": ["Conv"]}


def test_constants_go_into_the_weights_until_an_activation() -> None:
    """Batch norm, bias and scale after a convolution are folded; behind an activation they cannot be."""
    assert kinds_of(chain(["Conv", "BatchNormalization", "Add", "Mul", "Relu"])) == ["Conv"]
    assert kinds_of(chain(["Conv", "Relu", "Mul"])) == ["Conv", "Mul"]
    assert kinds_of(chain(["MaxPool", "BatchNormalization"])) == ["MaxPool", "BatchNormalization"]


def test_a_tflite_file_is_run_as_it_stands() -> None:
    """LiteRT folds no product into the weights that the converter has left; other runtimes convert the network."""
    assert kinds_of(chain(["CONV_2D", "MUL"], file_format="tflite")) == ["CONV_2D", "MUL"]


def test_views_and_what_hands_on_are_gone() -> None:
    """Identity, Dropout, Flatten and Reshape cost nothing, and do not stand between a convolution and its clamp."""
    assert kinds_of(chain(["Conv", "Identity", "Relu", "Dropout", "Flatten", "Reshape"])) == ["Conv"]


def test_padding_is_the_convolutions() -> None:
    """A Pad before a convolution is folded, so that it reads what was there before; before a pooling not by LiteRT."""
    (kernel,) = kernels_of(chain(["Pad", "Conv"]), "litert")
    assert kernel.operator.inputs[0] == 0
    assert kinds_of(chain(["Pad", "MaxPool"])) == ["Pad", "MaxPool"]
    assert kinds_of(chain(["Pad", "MaxPool"]), "ncnn") == ["MaxPool"]


@pytest.mark.parametrize("scaled", [["Add", "Clip", "Div"], ["Add", "Clip"]])
def test_a_hard_swish_taken_apart_is_one(scaled: list[str]) -> None:
    """The product x * clip(x + 3, 0, 6) / 6, divided before the product or after it, is one hard swish."""
    base = chain(["Conv", *scaled])
    value, gate, product, result = 1, len(scaled) + 1, len(base.tensors), len(base.tensors) + 1
    tensors = (*base.tensors, Tensor("product", SHAPE, "float32"), Tensor("result", SHAPE, "float32"))
    operators = [*base.operators, Operator("Mul", (value, gate), (product,))]
    if "Div" not in scaled:
        six = len(tensors)
        tensors = (*tensors, Tensor("six", (), "float32", constant=True))
        operators.append(Operator("Div", (product, six), (result,)))
    graph = Graph("onnx", tensors, tuple(operators), (0,), operators[-1].outputs, 0)
    assert kinds_of(graph) == ["Conv", "HardSwish"]
    assert kinds_of(graph, "ncnn") == ["Conv"]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ((1, 1, 8, 4), (1, 8, 4, 1), False),
        ((1, 16, 1, 1), (1, 1, 1, 16), False),
        ((1, 3, 8, 8), (1, 8, 8, 3), True),
        ((1, 1, 8, 8), (1, 8, 8, 1), True),
    ],
)
def test_a_transpose_costs_where_values_move(before: tuple[int, ...], after: tuple[int, ...], kept: bool) -> None:
    """Sides of 1 change places for nothing; where two equal sides might have changed places it is counted."""
    tensors = (Tensor("x", before, "float32"), Tensor("y", after, "float32"))
    graph = Graph("onnx", tensors, (Operator("Transpose", (0,), (1,)),), (0,), (1,), 0)
    assert bool(kernels_of(graph, "litert")) is kept


def test_conversions_within_a_qdq_file_are_free() -> None:
    """Only what turns the float input into integers and the last integers into floats is run, beside the kernels."""
    kinds = ["QuantizeLinear", "DequantizeLinear", "Conv", "Relu", "QuantizeLinear", "DequantizeLinear"]
    graph = chain(kinds)
    tensors = list(graph.tensors)
    for index in (1, 5):
        tensors[index] = Tensor(f"t{index}", SHAPE, "int8")
    kernels = kernels_of(Graph("onnx", tuple(tensors), graph.operators, (0,), (6,), 0), "litert")
    found = [(kernel.operator.kind, kernel.precision) for kernel in kernels]
    assert found == [("QuantizeLinear", "w8a8"), ("Conv", "w8a8"), ("DequantizeLinear", "w8a8")]
