"""Reading `.tflite` files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.formats import Graph, read_graph
from edgecnn.formats.tflite_schema import OPERATORS, TYPES

tflite_builder = pytest.importorskip("tflite_builder", reason="needs ai_edge_litert's schema to build files")
Builder, schema = tflite_builder.Builder, tflite_builder.schema

CLASSIFIER = Path(__file__).parents[1] / "data/classifier.tflite"
IC = Path(__file__).parents[2] / "../shared/models/mlperf-tiny-ic-int8.tflite"


def written(tmp_path: Path, content: bytes) -> Graph:
    """Write a file and read it."""
    file = tmp_path / "net.tflite"
    file.write_bytes(content)
    return read_graph(file)


def test_names_and_types_are_the_schemas() -> None:
    """Every operator and type of the installed schema has the number it has there."""
    operators = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    types = {number: name for name, number in vars(schema.TensorType).items() if not name.startswith("_")}
    assert [operators[number] for number in range(len(operators))] == list(OPERATORS)
    assert [types[number].lower() for number in range(len(types))] == [name for name, _ in TYPES]


@pytest.mark.skipif(not IC.is_file(), reason=f"no {IC.name} beside the checkout")
def test_a_file_made_by_others() -> None:
    """MLPerf Tiny's image classifier: inputs, outputs, quantization, weights, multiply-adds, metadata."""
    graph = read_graph(IC)
    image, answer = graph.input_specs[0], graph.output_specs[0]
    assert (image.shape, image.dtype, answer.shape) == ((1, 32, 32, 3), "int8", (1, 10))
    assert image.quant is not None
    assert (image.quant.scale, image.quant.zero_point, image.quant.axis) == ((1.0,), (-128,), None)
    assert (graph.macs, graph.params, graph.size_bytes) == (12_501_632, 77_706, 98_496)
    assert graph.operators[0].options["stride_h"] == 1
    assert graph.float_operators() == ()
    assert set(graph.metadata) == {"min_runtime_version"}


def test_multiply_adds(tmp_path: Path) -> None:
    """Each operator with weights counts its multiply-adds, by hand."""
    b = Builder("float32")
    x = b.tensor((1, 8, 8, 4))
    y = b.conv(x, 6, 3)
    z = b.depthwise(y, 3, multiplier=2)
    w = b.transpose_conv(z, 5, 2)
    graph = written(tmp_path, b.file([x], [b.dense(b.mean(w), 7)]))
    macs = {operator.kind: operator.macs for operator in graph.operators}
    assert macs["CONV_2D"] == 8 * 8 * 6 * 3 * 3 * 4
    assert macs["DEPTHWISE_CONV_2D"] == 8 * 8 * 12 * 9
    assert macs["TRANSPOSE_CONV"] == 8 * 8 * 12 * 2 * 2 * 5
    assert macs["FULLY_CONNECTED"] == 7 * 5
    assert macs["MEAN"] == 0


def test_per_channel_quantization_and_variables(tmp_path: Path) -> None:
    """Weights have one scale a channel with their axis; a variable is marked, a constant has its stored size."""
    b = Builder("int8")
    x = b.tensor((1, 8, 8, 4))
    state = b.tensor((1, 3), variable=True)
    graph = written(tmp_path, b.file([x], [b.depthwise(x)]))
    weights = graph.tensors[graph.operators[0].inputs[1]]
    assert weights.quant is not None
    assert (len(weights.quant.scale), len(weights.quant.zero_point), weights.quant.axis) == (4, 4, 3)
    assert (weights.constant, weights.size_bytes) == (True, 36)
    assert graph.tensors[state].variable


def test_float_operators_are_named(tmp_path: Path) -> None:
    """What computes in float inside an int8 file is named; the conversions at its ends are not."""
    b = Builder("int8")
    x = b.tensor((1, 8, 8, 4), "float32", channels=0)
    q = b.operator("QUANTIZE", (x,), (1, 8, 8, 4), schema.QuantizeOptionsT())
    y = b.conv(q, 4)
    middle = b.tensor((1, 8, 8, 4), "float32", channels=0)
    b.append("DEQUANTIZE", (y,), [middle], schema.DequantizeOptionsT())
    raised = b.tensor((1, 8, 8, 4), "float32", channels=0)
    b.append("EXP", (middle,), [raised])
    back = b.operator("QUANTIZE", (raised,), (1, 8, 8, 4), schema.QuantizeOptionsT())
    end = b.tensor((1, 8, 8, 4), "float32", channels=0)
    b.append("DEQUANTIZE", (b.conv(back, 4),), [end], schema.DequantizeOptionsT())
    graph = written(tmp_path, b.file([x], [end]))
    assert [kind for kind, _ in graph.float_operators()] == ["DEQUANTIZE", "EXP", "QUANTIZE"]


def test_data_behind_the_flatbuffer(tmp_path: Path) -> None:
    """A weight stored behind the flatbuffer, as in files over 2 GB, is a constant of its size; cut off, an error."""
    b = Builder("float32")
    x = b.tensor((1, 4, 4, 1))
    y = b.conv(x, 1, 1)
    weights = b.operators[0].inputs[1]
    buffer = b.buffers[b.tensors[weights].buffer]
    buffer.data, buffer.offset, buffer.size = None, 4096, 4
    content = b.file([x], [y]).ljust(4096, b"\0")
    graph = written(tmp_path, content + np.float32(1).tobytes())
    assert (graph.tensors[weights].constant, graph.tensors[weights].size_bytes) == (True, 4)
    with pytest.raises(EdgecnnError, match="is truncated"):
        written(tmp_path, content)


def test_control_flow_is_refused(tmp_path: Path) -> None:
    """A network that runs other subgraphs is refused by name, not read in part."""
    b = Builder("float32")
    x = b.tensor((1, 4))
    content = b.file([x], [b.unary("WHILE", x)])
    with pytest.raises(EdgecnnError, match="WHILE runs other subgraphs"):
        written(tmp_path, content)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 64, b"\x1c\0\0\0TFL3", b"\xff" * 4 + b"TFL3" + b"\xff" * 90])
def test_what_is_no_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    """An empty, short or senseless file is one line that names it."""
    with pytest.raises(EdgecnnError, match=r"net\.tflite.*\.tflite file") as error:
        written(tmp_path, content)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_surprise(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is cut off or overwritten, the answer is a Graph or one EdgecnnError."""
    content = bytearray(CLASSIFIER.read_bytes())
    del content[data.draw(st.integers(0, len(content)), label="length") if data.draw(st.booleans()) else len(content) :]
    positions = st.integers(0, max(len(content) - 1, 0))
    for position, value in data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), max_size=30)):
        if content:
            content[position] = value
    with suppress(EdgecnnError):
        graph = written(tmp_path, bytes(content))
        assert graph.macs >= 0
        assert len(graph.lifetimes) == len(graph.tensors)


def test_a_folder_is_told(tmp_path: Path) -> None:
    """A folder is called one, not a file that is missing."""
    with pytest.raises(EdgecnnError, match="is a folder; name a"):
        read_graph(tmp_path)


def test_a_rejected_file_is_read(tmp_path: Path) -> None:
    """The name of a file that broke its limits says the format before its last suffix."""
    rejected = tmp_path / "net.tflite.rejected"
    rejected.write_bytes(CLASSIFIER.read_bytes())
    assert read_graph(rejected) == read_graph(CLASSIFIER)
    other = tmp_path / "net.txt.rejected"
    other.write_bytes(b"x")
    with pytest.raises(EdgecnnError, match="not an exported file"):
        read_graph(other)
