"""What edgecnn changes in TFLite files that the converter and the quantizer have written."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tflite_builder import Builder
from torch import nn

import edgecnn
from edgecnn.export.heads import heads_in_float, last_concatenations, mixed_heads
from edgecnn.export.tflite_activations import activations, join_activations, kept_in_float
from edgecnn.export.tflite_integers import compute_in_integers
from edgecnn.export.tflite_micro import suit_micro
from edgecnn.export.tflite_model import TFLiteModel
from edgecnn.fit.micro_support import unsupported_by_micro
from edgecnn.formats import Graph, read_graph
from edgecnn.samples import Samples

SHAPE = (1, 4, 4, 8)


def graph_of(content: bytes, folder: Path) -> Graph:
    """Return what a file says, as edgecnn reads it."""
    (folder / "m.tflite").write_bytes(content)
    return read_graph(folder / "m.tflite")


def run(content: bytes, *inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the one output of a file in LiteRT."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def islands() -> tuple[bytes, list[str]]:
    """Return an int8 file with operators in float, as the quantizer leaves them, and their kinds."""
    b = Builder("int8")
    x = b.tensor(SHAPE)
    a, leaked, elu = (b.tensor(SHAPE, "float32", channels=0) for _ in range(3))
    largest = b.tensor((1, 8), "float32", channels=0)
    y = b.tensor((1, 8))
    b.append("DEQUANTIZE", (x,), (a,), schema.DequantizeOptionsT(), 2)
    options = schema.LeakyReluOptionsT()
    options.alpha = 0.1
    b.append("LEAKY_RELU", (a,), (leaked,), options)
    b.append("ELU", (leaked,), (elu,))
    b.append("REDUCE_MAX", (elu, b.integers([1, 2])), (largest,), schema.ReducerOptionsT())
    b.append("QUANTIZE", (largest,), (y,), schema.QuantizeOptionsT())
    return b.file([x], [y]), ["LEAKY_RELU", "ELU", "REDUCE_MAX"]


def test_operators_left_in_float_get_their_integer_kernels(tmp_path: Path) -> None:
    """No float is left in between, TFLite Micro takes the file, and its values stay within two steps."""
    content, kinds = islands()
    folded = compute_in_integers(content)
    graph = graph_of(folded, tmp_path)
    assert [operator.kind for operator in graph.operators] == [*kinds, "QUANTIZE"]
    assert {graph.tensors[index].dtype for operator in graph.operators for index in operator.outputs} == {"int8"}
    assert unsupported_by_micro(graph) == ()
    x = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)
    assert np.abs(run(folded, x).astype(int) - run(content, x)).max() <= 2


def test_a_file_without_such_operators_stays_as_it_is() -> None:
    """Not even the order of its bytes changes."""
    b = Builder("int8")
    x = b.tensor(SHAPE)
    content = b.file([x], [b.conv(x, 4)])
    assert compute_in_integers(content) is content


def apart(kind: str) -> tuple[Builder, int, int]:
    """Return a float file under way, its input, and ELU or Softplus of that less 0.5, taken apart."""
    b = Builder("float32")
    x = b.tensor(SHAPE)

    def constant(value: float) -> int:
        return b.tensor((), data=np.float32(value))

    shifted = b.operator("ADD", (x, constant(-0.5)), SHAPE, schema.AddOptionsT())
    exp = b.unary("EXP", shifted)
    if kind == "ELU":
        less = b.operator("SUB", (exp, constant(1)), SHAPE, schema.SubOptionsT())
        is_positive = b.tensor(SHAPE, "bool")
        b.append("GREATER", (shifted, constant(0)), (is_positive,), schema.GreaterOptionsT())
        return b, x, b.operator("SELECT_V2", (is_positive, shifted, less), SHAPE, schema.SelectV2OptionsT())
    return b, x, b.unary("LOG", b.operator("ADD", (exp, constant(1)), SHAPE, schema.AddOptionsT()))


def test_an_elu_that_was_taken_apart_is_one_again(tmp_path: Path) -> None:
    """By its values, wherever it begins; what the file computes stays."""
    b, x, y = apart("ELU")
    content = b.file([x], [y])
    model = TFLiteModel.read(content)
    join_activations(model)
    joined = model.to_bytes()
    assert [operator.kind for operator in graph_of(joined, tmp_path).operators] == ["ADD", "ELU"]
    values = np.random.default_rng(0).normal(0, 3, SHAPE).astype(np.float32)
    np.testing.assert_allclose(run(joined, values), run(content, values), rtol=1e-5, atol=1e-6)


def test_activations_that_int8_does_not_hold_stay_in_float() -> None:
    """Softplus is known by its values, and all its operators are named; a product of two tensors is none."""
    b, x, y = apart("Softplus")
    product = b.binary("MUL", y, b.conv(x, 8))
    model = TFLiteModel.read(b.file([x], [product]))
    (found,) = activations(model)
    z = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(found.values(model, z), np.log1p(np.exp(z - 0.5)), rtol=1e-6)
    assert kept_in_float(model) == [model.name(int(operator.outputs[0])) for operator in found.operators]
    assert [model.kind(operator) for operator in found.operators] == ["ADD", "EXP", "ADD", "LOG"]


def test_a_concatenation_of_many_is_split_for_micro(tmp_path: Path) -> None:
    """Thirteen parts become ten, and four with what those gave: the same values."""
    b = Builder("int8")
    parts = [b.tensor((1, 2, 2, 1)) for _ in range(13)]
    content = b.file(parts, [b.concat(*parts)])
    split = suit_micro(content)
    graph = graph_of(split, tmp_path)
    assert [len(operator.inputs) for operator in graph.operators] == [10, 4]
    assert unsupported_by_micro(graph) == ()
    arrays = [np.full((1, 2, 2, 1), number, np.int8) for number in range(13)]
    np.testing.assert_array_equal(run(split, *arrays), run(content, *arrays))
    b = Builder("int8")
    parts = [b.tensor((1, 2, 2, 1)) for _ in range(2)]
    few = b.file(parts, [b.concat(*parts)])
    assert suit_micro(few) is few


def test_heads_of_different_range_are_found(tmp_path: Path) -> None:
    """A last concatenation and what moves its values count; one that a layer follows, or parts alike, do not."""
    b = Builder("float32")
    boxes, scores = b.tensor(SHAPE), b.tensor(SHAPE)
    inner = b.conv(b.concat(boxes, scores), 8)
    y = b.reshape(b.concat(boxes, scores, inner), (1, 384))
    graph = graph_of(b.file([boxes, scores], [y]), tmp_path)
    names = [graph.tensors[index].name for index in (boxes, scores, inner)]
    assert [operator.kind for operator in last_concatenations(graph)] == ["CONCATENATION"]
    found = mixed_heads(graph, dict(zip(names, (96.0, 1.0, 50.0), strict=True)))
    assert [operator.kind for operator in found] == ["CONCATENATION", "RESHAPE"]
    assert found[0].outputs == graph.operators[-2].outputs
    assert mixed_heads(graph, dict(zip(names, (96.0, 40.0, 50.0), strict=True))) == []


def test_arithmetic_that_leads_to_the_last_concatenation_alone_is_found(tmp_path: Path) -> None:
    """Boxes are decoded behind the last layer; what a layer reads as well, and sigmoids alone, are none of it."""
    b = Builder("float32")
    x, cells = b.tensor(SHAPE), b.tensor(SHAPE)
    shared = b.unary("LOGISTIC", b.conv(x, 8))
    boxes = b.binary("MUL", b.binary("ADD", b.unary("LOGISTIC", b.conv(shared, 8)), cells), cells)
    y = b.reshape(b.concat(boxes, b.binary("ADD", shared, cells)), (1, 256))
    graph = graph_of(b.file([x, cells], [y]), tmp_path)
    kinds = sorted(operator.kind for operator in heads_in_float(graph, []))
    assert kinds == ["ADD", "ADD", "CONCATENATION", "LOGISTIC", "MUL", "RESHAPE"]
    b = Builder("float32")
    x = b.tensor(SHAPE)
    y = b.concat(b.unary("LOGISTIC", b.conv(x, 8)), b.conv(x, 8))
    graph = graph_of(b.file([x], [y]), tmp_path)
    assert heads_in_float(graph, []) == []
    assert sorted(operator.kind for operator in heads_in_float(graph, graph.operators[-1:])) == [
        "CONCATENATION",
        "LOGISTIC",
    ]


def test_what_nobody_reads_is_left_out(tmp_path: Path) -> None:
    """Operators, tensors and the bytes of constants go; inputs stay, the file runs."""
    b = Builder("float32")
    x = b.tensor(SHAPE)
    y = b.unary("RELU", x)
    b.conv(x, 64)
    model = TFLiteModel.read(b.file([x], [y]))
    before = len(model.to_bytes())
    model.drop_unread()
    content = model.to_bytes()
    assert [operator.kind for operator in graph_of(content, tmp_path).operators] == ["RELU"]
    assert before - len(content) > 64 * 3 * 3 * 8 * 4
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    np.testing.assert_array_equal(run(content, values), np.maximum(values, 0))


def test_tensors_are_named_after_modules_in_int8_too(tmp_path: Path) -> None:
    """An activation bears the name that `named_modules` gives its layer, in the float file and in the int8 one."""
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    net = nn.Sequential(OrderedDict(body=inner, head=nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 2)))).eval()
    plain = edgecnn.to_tflite(net, tmp_path / "n.fp32.tflite", (3, 8, 8))
    x = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    inputs = edgecnn.CalibrationInputs(Samples.of(x), None)
    small = edgecnn.quantize(plain, tmp_path / "n.w8a8.tflite", "w8a8", calibration=inputs)
    modules = {name for name, _ in net.named_modules()}
    for file in (plain, small):
        (conv,) = (one for one in file.graph.operators if one.kind == "CONV_2D")
        assert file.graph.tensors[conv.outputs[0]].name in modules
        names = [tensor.name for tensor in file.graph.tensors]
        assert len(set(names)) == len(names)
