"""Reading `.onnx` files."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.formats import Graph, read_graph

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'edgecnn[onnx]'")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8


def model_of(nodes: list[Any], constants: dict[str, Any], batch: int | str = 1, dtype: int = FLOAT) -> Any:
    """Return a model with input x [batch, 4, 8, 8] and output y."""
    x = helper.make_tensor_value_info("x", dtype, [batch, 4, 8, 8])
    y = helper.make_tensor_value_info("y", FLOAT, None)
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])


def written(tmp_path: Path, model: Any) -> Graph:
    """Write a file and read it."""
    file = tmp_path / "net.onnx"
    file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return read_graph(file)


def classifier(batch: int | str = 1) -> Any:
    """Return a convolution, a Reshape by a Constant node, and a dense layer."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([1, 96]))),
        helper.make_node("Reshape", ["r", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["y"], transB=1),
    ]
    constants = {
        "w": np.ones((6, 4, 3, 3), np.float32),
        "b": np.ones(6, np.float32),
        "g": np.ones((10, 96), np.float32),
    }
    return model_of(nodes, constants, batch)


@pytest.mark.parametrize("batch", [1, "N"])
def test_shapes_are_inferred_and_an_open_batch_is_one(tmp_path: Path, batch: int | str) -> None:
    """Shapes that the file leaves out are found, an open batch counts as 1, a Constant node is a constant."""
    graph = written(tmp_path, classifier(batch))
    shapes = {tensor.name: tensor.shape for tensor in graph.tensors}
    assert shapes["x"] == (1, 4, 8, 8)
    assert shapes["c"] == (1, 6, 4, 4)
    assert shapes["y"] == (1, 10)
    assert [operator.kind for operator in graph.operators] == ["Conv", "Relu", "Reshape", "Gemm"]
    assert (graph.params, graph.weights_bytes) == (6 * 36 + 6 + 960, 4 * (6 * 36 + 6 + 960) + 16)
    assert [spec.name for spec in (*graph.input_specs, *graph.output_specs)] == ["x", "y"]
    assert graph.operators[0].options["stride_h"] == 2


def test_multiply_adds(tmp_path: Path) -> None:
    """Conv, ConvTranspose (grouped), Gemm and MatMul count their multiply-adds, by hand."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], group=2),
        helper.make_node("ConvTranspose", ["c", "t"], ["d"], strides=[2, 2]),
        helper.make_node("MatMul", ["d", "m"], ["y"]),
    ]
    constants = {
        "w": np.ones((6, 2, 3, 3), np.float32),
        "t": np.ones((6, 5, 2, 2), np.float32),
        "m": np.ones((12, 3), np.float32),
    }
    graph = written(tmp_path, model_of(nodes, constants))
    assert [operator.macs for operator in graph.operators] == [
        6 * 6 * 6 * 2 * 9,
        6 * 6 * 6 * 5 * 4,
        5 * 12 * 3 * 12,
    ]
    assert written(tmp_path, classifier()).macs == 4 * 4 * 6 * 36 + 960


def qdq(relu: bool, quantized_end: bool) -> Any:
    """Return a QDQ convolution, with a Relu behind it, its output quantized or not."""
    end = "r" if relu else "c"
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"]),
        *([helper.make_node("Relu", ["c"], ["r"])] if relu else []),
    ]
    if quantized_end:
        nodes += [
            helper.make_node("QuantizeLinear", [end, "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ]
    else:
        nodes += [helper.make_node("Exp", [end], ["y"])]
    return model_of(nodes, {"w": np.ones((6, 4, 3, 3), np.int8), "s": np.float32(0.1), "z": np.int8(0)})


@pytest.mark.parametrize("relu", [False, True])
def test_between_conversions_is_integer(tmp_path: Path, relu: bool) -> None:
    """A QDQ convolution counts its multiply-adds and is not a float operator; one without a quantized end is."""
    graph = written(tmp_path, qdq(relu, quantized_end=True))
    assert graph.macs == 6 * 6 * 6 * 36
    assert graph.params == 6 * 36
    assert graph.float_operators() == ()
    kinds = [kind for kind, _ in written(tmp_path, qdq(relu, quantized_end=False)).float_operators()]
    assert kinds == ["Conv", *(["Relu"] if relu else []), "Exp"]


def test_metadata_carries_the_quantization(tmp_path: Path) -> None:
    """metadata_props are read, and the scales our exporter keeps there become those of the tensor."""
    model = classifier()
    entry = model.metadata_props.add()
    entry.key, entry.value = "edgecnn", json.dumps({"quantization": {"x": {"scale": [0.5], "zero_point": [3]}}})
    graph = written(tmp_path, model)
    quant = graph.input_specs[0].quant
    assert quant is not None
    assert (quant.scale, quant.zero_point) == ((0.5,), (3,))
    assert graph.output_specs[0].quant is None
    assert b"quantization" in graph.metadata["edgecnn"]


def test_missing_external_weights_are_named(tmp_path: Path) -> None:
    """Weights in a file of their own count towards the size; where that file is missing, it is named."""
    file = tmp_path / "net.onnx"
    onnx.save(classifier(), file, save_as_external_data=True, location="net.data", size_threshold=0)
    assert read_graph(file).size_bytes == file.stat().st_size + (tmp_path / "net.data").stat().st_size
    (tmp_path / "net.data").unlink()
    with pytest.raises(EdgecnnError, match=r"its weights are in 'net\.data'"):
        read_graph(file)


def test_an_open_size_is_refused(tmp_path: Path) -> None:
    """An input whose height is open is refused by name, for no figure would be true."""
    model = classifier()
    dimension = model.graph.input[0].type.tensor_type.shape.dim[2]
    dimension.Clear()
    dimension.dim_param = "height"
    with pytest.raises(EdgecnnError, match=r"input 'x' has an open dimension 2 \(height\)"):
        written(tmp_path, model)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\x07", b"\xff" * 100])
def test_what_is_no_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    """An empty or senseless file is one line that names it."""
    with pytest.raises(EdgecnnError, match=r"net\.onnx: not an \.onnx file") as error:
        written(tmp_path, content)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_surprise(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is cut off or overwritten, the answer is a Graph or one EdgecnnError."""
    content = bytearray(classifier("N").SerializeToString())
    # Most of the file is weights, where damage changes no structure: aim at the rest as well.
    del content[data.draw(st.integers(0, len(content)), label="length") if data.draw(st.booleans()) else len(content) :]
    near = st.integers(0, max(len(content) - 1, 0)) | st.integers(0, max(min(len(content), 300) - 1, 0))
    for position, value in data.draw(st.lists(st.tuples(near, st.integers(0, 255)), max_size=10)):
        if content:
            content[position] = value
    with suppress(EdgecnnError):
        graph = written(tmp_path, bytes(content))
        assert len(graph.lifetimes) == len(graph.tensors)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ([1, 1, 2**31 - 1, 8], "more than 2147483647 elements"),
        ([1, 1, 2**62, 8], "more than 2147483647 elements"),
        ([1] * 17, "17 dimensions"),
    ],
)
def test_absurd_shapes_are_refused(tmp_path: Path, shape: list[int], told: str) -> None:
    """A tensor that no runtime can hold is damage, said with its name."""
    x, y = (helper.make_tensor_value_info(name, FLOAT, shape) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", [x], [y])
    with pytest.raises(EdgecnnError, match=f"net.onnx: broken .onnx file: tensor 'x' .*{told}"):
        written(tmp_path, helper.make_model(graph))


def test_a_negative_size_of_weights_is_refused(tmp_path: Path) -> None:
    """Weights of a negative size are damage; a negative number of bytes would make everything fit."""
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], {"w": np.zeros(4, np.float32)})
    model.graph.initializer[0].dims[:] = [-4]
    with pytest.raises(EdgecnnError, match="with a negative size"):
        written(tmp_path, model)


@pytest.mark.parametrize("place", ["/etc/hostname", "../secret"])
def test_weights_outside_of_the_folder_are_refused(tmp_path: Path, place: str) -> None:
    """A file cannot make edgecnn look at, or send to a board, files that lie elsewhere."""
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], {"w": np.zeros(4, np.float32)})
    stored = model.graph.initializer[0]
    stored.data_location = onnx.TensorProto.EXTERNAL
    stored.ClearField("raw_data")
    stored.external_data.add(key="location", value=place)
    (tmp_path / "models").mkdir()
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(EdgecnnError, match="outside its folder"):
        written(tmp_path / "models", model)
