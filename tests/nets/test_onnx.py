"""ONNX files read into torch: each operator gives what onnxruntime gives, and what cannot be read is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from edgecnn.nets.onnx import read_onnx_network
from edgecnn.nets.onnx.operators import OPERATORS
from edgecnn.pipeline import Training, Uniform, compress_model
from edgecnn.runtimes.onnxruntime import open_content

RNG = np.random.default_rng(0)
IMAGE = (1, 4, 7, 9)
NONE = np.zeros(0, np.float32)


def f(*shape: int) -> npt.NDArray[Any]:
    """Return weights of a shape."""
    return RNG.standard_normal(shape).astype(np.float32)


def i(*values: int) -> npt.NDArray[Any]:
    """Return a list of whole numbers."""
    return np.array(values, np.int64)


def scalar(value: float) -> npt.NDArray[Any]:
    """Return one number."""
    return np.array(value, np.float32)


def graph(nodes: Sequence[Any], constants: Mapping[str, Any], shape: Sequence[Any] = IMAGE, opset: int = 17) -> Any:
    """Return a model from `x` of *shape* to `y`."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.x", 1)], ir_version=8
    )


def both(model: Any, folder: Path) -> tuple[list[Any], list[Any]]:
    """Return what onnxruntime and the module of torch give for one sample of noise, images channels first."""
    path = folder / "m.onnx"
    onnx.save(model, path)
    artifact = Artifact.open(path)
    x = RNG.standard_normal(artifact.inputs[0].shape).astype(np.float32)
    expected = open_content(model.SerializeToString())({artifact.inputs[0].name: x})
    module = read_onnx_network(artifact)
    last = module.channels_last
    with torch.no_grad():
        given = module(torch.from_numpy(x.transpose(0, 3, 1, 2) if last else x)).values()
    turned = [y.transpose(0, 3, 1, 2) if last and y.ndim == 4 else y for y in expected]
    return turned, [y.numpy() for y in given]


def assert_same(model: Any, folder: Path) -> None:
    """See that torch and onnxruntime agree."""
    expected, given = both(model, folder)
    for a, b in zip(expected, given, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


W, DEPTHWISE, TURNED = f(6, 4, 3, 3), f(4, 1, 3, 3), f(4, 3, 3, 3)
FOUR = {"s": f(4), "b": f(4)}
HALF = {"kernel_shape": [3, 3], "strides": [2, 2]}
SIDES = (
    {"pads": [1, 1, 1, 1]}, {"pads": [0, 0, 1, 1]}, {"ceil_mode": 1}, {"pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"},
)  # fmt: skip


def _recurrent(gates: int, ways: int) -> dict[str, Any]:
    return {"w": f(ways, gates * 5, 4), "r": f(ways, gates * 5, 5), "b": f(ways, 2 * gates * 5)}


def _resizes() -> list[tuple[dict[str, Any], dict[str, Any], int, Sequence[int]]]:
    cases = []
    sizes = (
        {"r": NONE, "s": np.array([1, 1, 2, 2], np.float32)},
        {"r": NONE, "s": NONE, "z": i(1, 4, 11, 5)},
        {"r": NONE, "s": NONE, "z": i(1, 4, 3, 1)},
    )
    for rule in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"):
        for mode in ("nearest", "linear", "cubic"):
            for rounding in ("round_prefer_floor", "floor", "ceil") if mode == "nearest" else ("floor",):
                at = {"mode": mode, "coordinate_transformation_mode": rule, "nearest_mode": rounding}
                cases += [(consts, at, 13, IMAGE) for consts in sizes]
    cases.append(({"s": np.array([1, 1, 2, 3], np.float32)}, {"mode": "nearest"}, 10, IMAGE))
    cases.append(({"s": np.array([1, 1, 0.6, 1.5], np.float32)}, {"mode": "linear"}, 10, IMAGE))
    return cases


def _reductions() -> list[tuple[dict[str, Any], dict[str, Any], int, Sequence[int]]]:
    return [
        ({}, {"axes": [2, 3]}, 11, IMAGE),
        ({}, {"axes": [-1], "keepdims": 0}, 11, IMAGE),
        ({"a": i(2, 3)}, {}, 18, IMAGE),
        ({}, {}, 18, IMAGE),
    ]


#: Operator → cases: constants that are its further inputs, attributes, opset, shape of the input.
CASES: dict[str, list[tuple[dict[str, Any], dict[str, Any], int, Sequence[int]]]] = {
    **{kind: [({}, {}, 17, IMAGE)] for kind in (
        "Abs", "Ceil", "Celu", "Cos", "Elu", "Erf", "Exp", "Floor", "GlobalMaxPool", "HardSigmoid", "HardSwish",
        "Identity", "LeakyRelu", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus",
        "Softsign", "Tanh", "ThresholdedRelu", "Transpose",
    )},
    **{kind: [({"c": f(4, 1, 1)}, {}, 17, IMAGE)] for kind in ("Add", "Div", "Mul", "Sub")},
    **{kind: [({"c": f(4, 1, 1), "d": f(1)}, {}, 17, IMAGE)] for kind in ("Max", "Mean", "Min", "Sum")},
    **{kind: _reductions() for kind in (
        "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
        "ReduceSumSquare",
    )},
    "ReduceSum": [({}, {"axes": [2, 3]}, 11, IMAGE), ({"a": i(1)}, {"keepdims": 0}, 13, IMAGE)],
    "AveragePool": [({}, HALF | pads | {"count_include_pad": inside}, opset, IMAGE)
                    for pads in SIDES for inside, opset in ((0, 11), (1, 19))],
    "BatchNormalization": [
        (FOUR | {"m": f(4), "v": np.abs(f(4))}, {}, opset, shape) for opset, shape in ((9, (1, 4)), (15, IMAGE))
    ],
    "Clip": [
        ({}, {"min": -0.5, "max": 0.5}, 9, IMAGE), ({"a": scalar(0), "b": scalar(6)}, {}, 13, IMAGE),
        ({"a": scalar(0)}, {}, 13, IMAGE),
    ],
    "Concat": [({"c": f(1, 2, 7, 9)}, {"axis": 1}, 13, IMAGE)],
    "Conv": [
        *(({"w": W, "b": f(6)}, at, 11, IMAGE) for at in (
            {}, {"pads": [1, 1, 1, 1]}, {"pads": [0, 1, 2, 1]}, {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
            {"strides": [2, 2], "auto_pad": "SAME_LOWER"}, {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
        )),
        ({"w": DEPTHWISE}, {"group": 4}, 9, IMAGE),
        ({"w": f(6, 4, 3), "b": f(6)}, {"pads": [1, 0]}, 17, (1, 4, 12)),
        ({"w": f(6, 4, 3, 3, 3)}, {"pads": [1] * 6}, 17, (1, 4, 5, 6, 7)),
    ],
    "ConvTranspose": [
        *(({"w": TURNED, "b": f(3)}, at, 11, IMAGE) for at in (
            {}, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, {"dilations": [2, 2]},
            {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
            {"strides": [2, 2], "output_shape": [14, 18]}, {"strides": [2, 2], "pads": [0, 0, 1, 1]},
        )),
        ({"w": f(4, 3, 2, 2)}, {"group": 2, "strides": [2, 2]}, 11, IMAGE),
    ],
    "CumSum": [({"a": np.array(2)}, {}, 14, IMAGE)],
    "DepthToSpace": [({}, {"blocksize": 2, "mode": mode}, 13, (1, 8, 3, 4)) for mode in ("DCR", "CRD")],
    "Dropout": [({}, {}, 9, IMAGE), ({"r": scalar(0.5)}, {}, 13, IMAGE)],
    "Einsum": [({}, {"equation": "bij->bji"}, 13, (1, 3, 4))],
    "Expand": [({"s": i(1, 4, 7, 9)}, {}, 13, (1, 1, 7, 9))],
    "Flatten": [({}, {"axis": axis}, 13, IMAGE) for axis in (0, 1, 2, -1)],
    "GRU": [(_recurrent(3, 1), {"hidden_size": 5, "linear_before_reset": how}, 14, (3, 1, 4)) for how in (0, 1)],
    "Gather": [({"i": np.array(2)}, {"axis": 1}, 13, IMAGE), ({"i": i(0, -1)}, {"axis": 1}, 13, IMAGE),
               ({"i": np.array([[0, 1], [2, 3]])}, {"axis": 1}, 13, IMAGE), ({"i": i(1, 2)}, {"axis": 3}, 13, IMAGE)],
    "GatherElements": [({"i": np.array([[0, -1]])}, {"axis": 1}, 13, (1, 4))],
    "Gelu": [({}, {"approximate": how}, 20, IMAGE) for how in ("none", "tanh")],
    "Gemm": [
        ({"w": f(6, 5), "b": f(5)}, {}, 13, (1, 6)), ({"w": f(1, 5)}, {"transA": 1}, 13, (1, 6)),
        ({"w": f(5, 6), "b": f(1, 5)}, {"transB": 1, "alpha": 0.5, "beta": 2.0}, 13, (1, 6)),
        ({"w": f(5, 6), "b": f(1)}, {"transB": 1}, 13, (1, 6)),
    ],
    "GlobalAveragePool": [({}, {}, 13, IMAGE), ({}, {}, 13, (1, 4, 9))],
    "GridSample": [({"g": f(1, 5, 6, 2) / 2}, {}, 16, IMAGE)],
    "GroupNormalization": [
        ({"s": f(2), "b": f(2)}, {"num_groups": 2}, 18, IMAGE), (FOUR, {"num_groups": 2}, 21, IMAGE),
    ],
    "InstanceNormalization": [(FOUR, {}, 13, IMAGE)],
    "LRN": [({}, {"size": 3}, 13, IMAGE), ({}, {"size": 5, "alpha": 0.1, "beta": 0.5, "bias": 2.0}, 13, IMAGE)],
    "LSTM": [
        (_recurrent(4, ways), {"hidden_size": 5, "direction": direction}, 14, (3, 1, 4))
        for direction, ways in (("forward", 1), ("reverse", 1), ("bidirectional", 2))
    ],
    "LayerNormalization": [({"s": f(9), "b": f(9)}, {}, 17, IMAGE), ({"s": f(7, 9)}, {"axis": 2}, 17, IMAGE)],
    "LogSoftmax": [({}, {"axis": 1}, 13, IMAGE), ({}, {"axis": 1}, 11, IMAGE)],
    "MatMul": [({"w": f(6, 5)}, {}, 13, (1, 3, 6)), ({"w": f(2, 6, 5)}, {}, 13, (1, 2, 3, 6))],
    "MaxPool": [
        *(({}, HALF | pads, opset, IMAGE) for pads in SIDES for opset in (11, 19)),
        ({}, {"kernel_shape": [2, 2], "dilations": [2, 2]}, 11, IMAGE),
        ({}, {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}, 11, (1, 4, 11)),
    ],
    "Mish": [({}, {}, 18, IMAGE)],
    "PRelu": [({"s": f(4, 1, 1)}, {}, 13, IMAGE), ({"s": f(1)}, {}, 13, IMAGE), ({"s": f(4, 7, 9)}, {}, 13, IMAGE)],
    "Pad": [
        *(({"p": i(0, 0, 1, 2, 0, 0, 3, 1)}, {"mode": mode}, 19, IMAGE)
          for mode in ("constant", "reflect", "edge", "wrap")),
        ({}, {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 0.5}, 9, IMAGE),
        ({"p": i(0, 0, 1, 2, 0, 1, 3, -1), "v": scalar(1.5)}, {}, 13, IMAGE),
    ],
    "Pow": [({"c": scalar(2)}, {}, 13, IMAGE)],
    "Reshape": [({"s": i(*shape)}, {}, 13, IMAGE) for shape in ((1, -1), (0, -1, 9), (4, 63), (-1, 63))],
    "Resize": _resizes(),
    "Slice": [
        ({}, {"starts": [1], "ends": [3], "axes": [1]}, 9, IMAGE),
        ({"s": i(0, -3), "e": i(2, 2**62), "a": i(2, 3), "t": i(1, 2)}, {}, 13, IMAGE),
        ({"s": i(-1), "e": i(-(2**62)), "a": i(3), "t": i(-1)}, {}, 13, IMAGE),
        ({"s": i(6), "e": i(1), "a": i(3), "t": i(-2)}, {}, 13, IMAGE),
    ],
    "Softmax": [({}, {"axis": 1}, opset, IMAGE) for opset in (9, 13)] + [({}, {}, 13, (1, 10))],
    "SpaceToDepth": [({}, {"blocksize": 2}, 13, (1, 2, 4, 6))],
    "Split": [({"s": i(3, 1)}, {"axis": 1}, 13, IMAGE), ({}, {"axis": 1, "split": [1, 3]}, 11, IMAGE)],
    "Squeeze": [({}, {"axes": [2, 3]}, 11, (1, 4, 1, 1)), ({"a": i(-1)}, {}, 13, (1, 4, 3, 1)),
                ({}, {}, 13, (1, 4, 1, 3))],
    "Tile": [({"r": i(1, 2, 1, 3)}, {}, 13, IMAGE)],
    "Unsqueeze": [({}, {"axes": [0]}, 11, IMAGE), ({"a": i(-1, 1)}, {}, 13, IMAGE)],
    "Upsample": [({"s": np.array([1, 1, 2, 3], np.float32)}, {"mode": mode}, 9, IMAGE)
                 for mode in ("nearest", "linear")],
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(CASES))
def test_an_operator_gives_what_onnxruntime_gives(kind: str, tmp_path: Path) -> None:
    """In each opset and with each set of attributes, on noise."""
    for constants, attributes, opset, shape in CASES[kind]:
        outputs = ["y", "z"] if kind == "Split" else ["y"]
        node = helper.make_node(kind, ["x", *constants], outputs, **attributes)
        assert_same(graph([node], constants, shape, opset), tmp_path)


#: Operators that the graphs below have, which make no float from a float alone.
_OTHERS = {
    "And", "ArgMax", "ArgMin", "Cast", "CastLike", "Constant", "ConstantOfShape", "Equal", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Log", "Mod", "Not", "Or", "Range", "ReduceLogSum", "Shape", "Size", "Sqrt", "Swish", "TopK",
    "Where", "Xor",
}  # fmt: skip


def test_every_operator_that_is_read_is_tried() -> None:
    """A row of the table is in one of the tests here."""
    assert set(OPERATORS) - _OTHERS == set(CASES)


def test_operators_of_other_types(tmp_path: Path) -> None:
    """Comparisons, whole numbers and places of maxima, one behind the other."""
    node = helper.make_node
    nodes = [
        node("Greater", ["x", "zero"], ["a"]), node("Less", ["x", "one"], ["b"]), node("And", ["a", "b"], ["c"]),
        node("Or", ["c", "a"], ["d"]), node("Xor", ["d", "b"], ["e"]), node("Not", ["e"], ["n"]),
        node("GreaterOrEqual", ["x", "one"], ["g"]), node("LessOrEqual", ["x", "one"], ["l"]),
        node("Or", ["n", "g"], ["o"]), node("And", ["o", "l"], ["p"]), node("Abs", ["x"], ["q"]),
        node("Sqrt", ["q"], ["r"]), node("Log", ["r"], ["logs"]), node("Where", ["p", "logs", "x"], ["chosen"]),
        node("ArgMax", ["chosen"], ["place"], axis=1), node("ArgMin", ["chosen"], ["least"], axis=1),
        node("Mod", ["place", "two"], ["rest"]), node("Equal", ["rest", "least"], ["same"]),
        node("CastLike", ["same", "x"], ["shares"]), node("Cast", ["rest"], ["rests"], to=TensorProto.FLOAT),
        node("TopK", ["chosen", "k"], ["tops", "at"], axis=1), node("Cast", ["at"], ["places"], to=TensorProto.FLOAT),
        node("ReduceLogSum", ["q"], ["sums"], axes=[1]),
        node("Concat", ["shares", "rests", "tops", "places", "sums"], ["y"], axis=1),
    ]  # fmt: skip
    constants = {"zero": scalar(0), "one": scalar(1), "two": np.array(2), "k": i(2)}
    assert_same(graph(nodes, constants), tmp_path)


def test_sizes_that_are_computed_are_known_when_the_file_is_read(tmp_path: Path) -> None:
    """Shape, Size, Gather, Range, ConstantOfShape and an If over sizes, as exporters of open sizes write them."""
    node = helper.make_node
    branch = helper.make_tensor_value_info
    then = helper.make_graph([node("Relu", ["m"], ["t"])], "then", [], [branch("t", TensorProto.FLOAT, None)])
    other = helper.make_graph([node("Neg", ["m"], ["e"])], "else", [], [branch("e", TensorProto.FLOAT, None)])
    nodes = [
        node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "first"], ["n"]),
        node("Unsqueeze", ["n", "a0"], ["nv"]),
        node("Constant", [], ["rest"], value_ints=[-1]), node("Concat", ["nv", "rest"], ["flat"], axis=0),
        node("Reshape", ["x", "flat"], ["r"]), node("Size", ["x"], ["count"]),
        node("Range", ["first", "count", "one"], ["range"]),
        node("Cast", ["range"], ["f"], to=TensorProto.FLOAT), node("Mul", ["r", "f"], ["s"]),
        node("Unsqueeze", ["count", "a0"], ["many"]), node("ConstantOfShape", ["many"], ["ones"],
             value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])), node("Sub", ["s", "ones"], ["m"]),
        node("Equal", ["n", "one"], ["is_one"]), node("If", ["is_one"], ["y"], then_branch=then, else_branch=other),
    ]  # fmt: skip
    constants = {"first": np.array(0), "one": np.array(1), "a0": i(0)}
    assert_same(graph(nodes, constants, shape=("n", 4, 7, 9), opset=13), tmp_path)


class Small(nn.Module):
    """A shortcut, a transposed convolution, batch norm, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 3, 2, 1, 1)
        self.head = nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 1, 8, 8] to [N, 10]."""
        x = self.features(x)
        return self.head((self.up(torch.relu(self.down(x))) + x).mean((2, 3)).flatten(1))


@pytest.mark.parametrize("batch", [1, None])
def test_a_file_of_torch_keeps_the_names_of_layers_and_takes_batches(tmp_path: Path, batch: int | None) -> None:
    """Weights are parameters of layers of torch; what was exported for one sample runs several."""
    torch.manual_seed(0)
    module = Small().eval()
    shapes = None if batch else ({0: torch.export.Dim("n")},)
    example = torch.zeros(batch or 2, 1, 8, 8)
    torch.onnx.export(module, (example,), tmp_path / "n.onnx", dynamo=True, verbose=False, dynamic_shapes=shapes)
    network = build(tmp_path / "n.onnx")
    read = network.module
    assert read.takes_batches
    assert {"features.0", "down", "up", "head"} <= {name for name, _ in read.named_modules()}
    assert isinstance(read.get_submodule("head"), nn.Linear)
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        (given,) = read(x).values()
        torch.testing.assert_close(given, module(x), rtol=1e-4, atol=1e-5)


def test_layers_whose_names_lie_within_each_other_are_all_there(tmp_path: Path) -> None:
    """A layer `a`, one `a.b`, a second `a.b`, and one that is called as a method of torch's modules."""
    weights = {name: f(4, 4, 1, 1) for name in ("a.weight", "a.b.weight", "half.weight")}
    names = [*weights, "a.b.weight"]
    ends = ["x", *(f"t{number}" for number in range(len(names) - 1)), "y"]
    nodes = [helper.make_node("Conv", [ends[n], name], [ends[n + 1]]) for n, name in enumerate(names)]
    assert_same(graph(nodes, weights), tmp_path)
    layers = {name for name, layer in build(tmp_path / "m.onnx").module.named_modules() if isinstance(layer, nn.Conv2d)}
    assert layers == {"a", "a_b_2", "half_1", "a_b_3"}


def test_a_graph_that_mixes_its_batch_runs_one_sample_at_a_time(tmp_path: Path) -> None:
    """Softmax over the batch of 1 gives ones, however many samples are given."""
    onnx.save(graph([helper.make_node("Softmax", ["x"], ["y"], axis=0)], {}, (1, 4)), tmp_path / "m.onnx")
    network = build(tmp_path / "m.onnx")
    assert network.checkpoint is None  # cannot be trained
    assert (network.outputs(f(3, 4))[0] == 1).all()


def test_images_channels_last_are_taken_channels_first(tmp_path: Path) -> None:
    """A file of TensorFlow's converters, [1, H, W, 3] with a transpose at its start, is a network like any other."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), node("Conv", ["t", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]),
    ]  # fmt: skip
    model = graph(nodes, {"w": f(5, 3, 3, 3)}, (1, 6, 8, 3), 13)
    assert_same(model, tmp_path)
    assert build(tmp_path / "m.onnx").input_shape == (3, 6, 8)


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        (
            [helper.make_node("NonMaxSuppression", ["x", "x"], ["y"], name="nms")],
            {},
            r"operators NonMaxSuppression \(node 'nms'\); export the network without it: boxes and scores",
        ),
        ([helper.make_node("Foo", ["x"], ["y"], domain="com.x")], {}, r"operators com.x.Foo \(node 'y'\)"),
        ([helper.make_node("MaxPool", ["x"], ["y", "at"], kernel_shape=[2, 2])], {}, "gives the places of the maxima"),
        ([helper.make_node("Conv", ["x", "w"], ["y"], name="c")], {"w": f(2, 3, 3, 3)}, r"\(node 'c'\) has weights"),
        ([helper.make_node("Conv", ["x", "x"], ["y"], name="c")], {}, "from the values of the network's input"),
        ([helper.make_node("ConstantOfShape", ["s"], ["y"])], {"s": i(2**14, 2**14)}, "fills 268435456 values"),
        ([helper.make_node("Tile", ["x", "r"], ["y"])], {"r": i(1, 1, 2**11, 2**10)}, "edgecnn takes 268435456"),
        ([helper.make_node("Relu", ["w"], ["y"])], {"w": f(1, 3)}, "output 'y' does not depend on the input"),
        ([helper.make_node("Reshape", ["x", "s"], ["y"])], {"s": i(5, 7)}, r"makes \[5, 7\] of \[1, 4, 7, 9\]"),
        ([helper.make_node("Transpose", ["x"], ["y"], perm=[0, 0, 1])], {}, "does not go through"),
        ([helper.make_node("Einsum", ["x"], ["y"], equation="__import__('os')")], {}, "has the equation"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(nodes: list[Any], constants: Any, message: str, tmp_path: Path) -> None:
    """The operator and its node are named, and nothing huge is made."""
    onnx.save(graph(nodes, constants), tmp_path / "m.onnx")
    source = Artifact.open(tmp_path / "m.onnx")
    with pytest.raises(EdgecnnError, match=message) as caught:
        read_onnx_network(source)
    assert "\n" not in str(caught.value)


def test_constants_that_double_are_stopped(tmp_path: Path) -> None:
    """Forty concatenations of a constant with itself would take 4 TiB."""
    nodes = [helper.make_node("Concat", [f"v{n}", f"v{n}"], [f"v{n + 1}"], axis=0) for n in range(40)]
    nodes.append(helper.make_node("Add", ["x", "v40"], ["y"]))
    onnx.save(graph(nodes, {"v0": f(1, 4, 7, 9)}), tmp_path / "m.onnx")
    with pytest.raises(EdgecnnError, match=r"268435456|more than 2147483647"):
        read_onnx_network(Artifact.open(tmp_path / "m.onnx"))


def test_a_fixed_batch_is_read_for_one_sample(tmp_path: Path) -> None:
    """A file for four samples at a time gives for one what it gives for it among them; one that mixes them says so."""
    shaped = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("Gemm", ["r", "w"], ["y"])]
    model = graph(shaped, {"s": i(4, -1), "w": f(8, 3)}, (4, 2, 2, 2))
    onnx.save(model, tmp_path / "m.onnx")
    x = f(4, 2, 2, 2)
    (expected,) = open_content(model.SerializeToString())({"x": x})
    (given,) = read_onnx_network(Artifact.open(tmp_path / "m.onnx"))(torch.from_numpy(x[1:2])).values()
    np.testing.assert_allclose(given.detach().numpy(), expected[1:2], rtol=1e-4, atol=1e-5)
    onnx.save(
        graph([helper.make_node("Reshape", ["x", "s"], ["y"])], {"s": i(2, -1)}, (4, 2, 2, 2)), tmp_path / "m.onnx"
    )
    with pytest.raises(EdgecnnError, match="fixed batch of 4 and does not go through with one sample"):
        read_onnx_network(Artifact.open(tmp_path / "m.onnx"))


def test_a_file_is_cut_and_the_checkpoint_goes_on_with_it(tmp_path: Path) -> None:
    """The layers of an ONNX file lose filters like those of torch; the checkpoint alone says which file it needs."""
    torch.manual_seed(0)
    path = tmp_path / "n.onnx"
    torch.onnx.export(Small().eval(), (torch.zeros(1, 1, 8, 8),), path, dynamo=True, verbose=False)
    x, y = RNG.integers(0, 256, (60, 1, 8, 8), dtype=np.uint8), np.arange(60) % 10
    out = tmp_path / "small.safetensors"
    compress_model(path, out, Uniform(0.5), data=(x, y), training=Training(epochs=1))
    cut = build(path, weights=out)
    assert cut.name == "small"
    assert cut.module.get_submodule("features.0").out_channels == 2
    assert cut.outputs(f(3, 1, 8, 8))[0].shape == (3, 10)
    with pytest.raises(EdgecnnError, match=r"was cut from n\.onnx: give n\.onnx --weights"):
        build(out)
