"""One table says what a file keeps its weights in and computes its values in, from its graph alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tflite_builder import Builder

from edgecnn.artifact import Artifact
from edgecnn.device import load_device
from edgecnn.estimate import NoCoefficientsError, estimate_latency
from edgecnn.estimate.work import graph_works
from edgecnn.export.tflite import save_tflite
from edgecnn.formats.graph import Graph, Operator, Tensor
from edgecnn.formats.precision import PRECISIONS, computed_precisions, precision_of

_BYTES = {"float32": 4, "float16": 2, "int16": 2}


def tensor(dtype: str, *shape: int, constant: bool = False) -> Tensor:
    """Return a tensor; of 4096 values where *shape* is left out."""
    return Tensor("t", shape or (1, 8, 8, 64), dtype, constant=constant, size_bytes=4096 * _BYTES.get(dtype, 1))


def tflite(weights: str, activations: str, kind: str = "CONV_2D") -> Graph:
    """Return one TFLite convolution of *activations* by *weights*."""
    tensors = (
        tensor(activations),
        tensor(weights, 64, 1, 1, 64, constant=True),
        tensor("int32", 64, constant=True),
        tensor(activations),
    )
    return Graph("tflite", tensors, (Operator(kind, (0, 1, 2), (3,), macs=262144),), (0,), (3,), 5000)


@pytest.mark.parametrize(
    ("weights", "activations", "name"),
    [
        ("float32", "float32", "fp32"),
        ("float16", "float16", "fp16a16"),
        ("int4", "float32", "w4"),
        ("int8", "float32", "w8"),
        ("int8", "int8", "w8a8"),
        ("uint8", "uint8", "w8a8"),
        ("int4", "int8", "w4a8"),
        ("int8", "int16", "w8a16"),
        ("int16", "int16", "w16a16"),
        ("int2", "float32", "int2xfloat32"),
    ],
)
def test_the_types_of_a_tflite_convolution_name_it(weights: str, activations: str, name: str) -> None:
    """File, operator and estimate give one and the same name, whatever the types."""
    graph = tflite(weights, activations)
    assert precision_of(graph).name == name
    assert [row.name for row in computed_precisions(graph)] == [name]
    assert [precision for precision, _ in graph_works(graph)] == [name]


def test_weights_that_are_unpacked_are_stored_in_another_type() -> None:
    """A TFLite file with half-precision weights is fp16, and its convolution computes in fp32."""
    graph = tflite("float16", "float32")
    unpacked = Operator("DEQUANTIZE", (1,), (4,))
    convolution = replace(graph.operators[0], inputs=(0, 4, 2))
    graph = replace(graph, tensors=(*graph.tensors, tensor("float32", 64, 1, 1, 64)), operators=(unpacked, convolution))
    assert precision_of(graph).name == "fp16"
    assert computed_precisions(graph)[1].name == "fp32"


def qdq(values: str, *, output: bool = True) -> Graph:
    """Return an ONNX MatMul between conversions to and from *values*, its weights int8."""
    tensors = [
        tensor("float32", 1, 64),
        tensor(values, 1, 64),
        tensor("float32", 1, 64),
        tensor("int8", 64, 64, constant=True),
        tensor("float32", 64, 64),
        tensor("float32", 1, 64),
        tensor(values, 1, 64),
        tensor("float32", 1, 64),
    ]
    tensors = [replace(one, name=f"t{number}") for number, one in enumerate(tensors)]
    operators = [
        Operator("QuantizeLinear", (0,), (1,)),
        Operator("DequantizeLinear", (1,), (2,)),
        Operator("DequantizeLinear", (3,), (4,)),
        Operator("MatMul", (2, 4), (5,), macs=4096),
        *([Operator("QuantizeLinear", (5,), (6,)), Operator("DequantizeLinear", (6,), (7,))] if output else []),
    ]
    return Graph("onnx", tuple(tensors), tuple(operators), (0,), (7 if output else 5,), 5000)


@pytest.mark.parametrize(
    ("values", "output", "name"), [("uint8", True, "w8a8"), ("int16", True, "w8a16"), ("uint8", False, "w8")]
)
def test_between_conversions_an_onnx_file_computes_in_integers(values: str, output: bool, name: str) -> None:
    """The conversions say in which; a product that is not rounded to integers again is computed in float."""
    assert precision_of(qdq(values, output=output)).name == name


def test_values_quantized_as_they_come_are_a_dynamic_file() -> None:
    """`DynamicQuantizeLinear` before `MatMulInteger` is w8, no calibrated file."""
    tensors = (
        tensor("float32", 1, 64),
        tensor("uint8", 1, 64),
        tensor("uint8", 64, 64, constant=True),
        tensor("int32", 1, 64),
    )
    operators = (Operator("DynamicQuantizeLinear", (0,), (1,)), Operator("MatMulInteger", (1, 2), (3,), macs=4096))
    graph = Graph("onnx", tensors, operators, (0,), (3,), 5000)
    assert precision_of(graph).name == "w8"
    assert graph_works(graph)[-1][0] == "w8"


def test_mostly_four_bits_is_not_needed_for_w4() -> None:
    """Linear layers in 4 bits beside larger convolutions in 8 make a w4 file: the narrowest integers name it."""
    wide, narrow = tflite("int8", "float32"), tflite("int4", "float32")
    small = tuple(replace(one, shape=(8, 8)) if one.constant else one for one in narrow.tensors)
    operator = replace(narrow.operators[0], kind="FULLY_CONNECTED", inputs=(3, 5, 6), outputs=(7,))
    both = replace(wide, tensors=(*wide.tensors, *small), operators=(*wide.operators, operator), outputs=(7,))
    assert precision_of(both).name == "w4"


def test_an_estimate_without_figures_is_refused_and_a_borrowed_one_is_told() -> None:
    """int16 activations get no estimate by int8 figures; 4-bit weights get that of 8-bit ones, with a note."""
    device = load_device("rpi4")
    own = next(model for model in device.latency if model.runtime == "litert" and model.precision == "w8a8")
    device = replace(device, latency=(own, replace(own, precision="w8")))
    with pytest.raises(NoCoefficientsError, match="w8a16"):
        estimate_latency(tflite("int8", "int16"), device, threads=own.threads)
    borrowed = estimate_latency(tflite("int4", "float32", "FULLY_CONNECTED"), device, threads=own.threads)
    assert "no coefficients for w4: estimated with those of w8" in borrowed.notes


def test_every_row_of_the_table_bears_its_own_name() -> None:
    """No two rows have the same types, and figures are borrowed from rows that are there."""
    assert len({(row.weights, row.activations) for row in PRECISIONS.values()}) == len(PRECISIONS)
    assert all(row.figures_of in (None, *PRECISIONS) for row in PRECISIONS.values())


def test_metadata_that_the_graph_contradicts_are_told(tmp_path: Path) -> None:
    """A file that bears the metadata of the fp32 one it was made from is what its tensors are, and that is said."""
    builder = Builder("int16")
    x = builder.tensor((1, 8, 8, 3))
    content = builder.file([x], [builder.conv(x, 8)])
    save_tflite(content, tmp_path / "net.tflite", {"precision": "fp32"})
    artifact = Artifact.open(tmp_path / "net.tflite")
    assert artifact.precision == "w8a16"
    told = "net.tflite says that it is fp32, but its tensors are w8a16; the tensors decide"
    assert artifact.contradictions == (told,)
    save_tflite(content, tmp_path / "net.tflite", {"precision": "w8a16"})
    assert Artifact.open(tmp_path / "net.tflite").contradictions == ()


def test_a_file_that_is_int8_in_part_names_the_layers_in_float(tmp_path: Path) -> None:
    """Where most of the weights have no integer kernel, the kind of layer is told, and what the file counts as."""
    builder = Builder("float32")
    x = builder.tensor((1, 8, 8, 3), "int8")
    y = builder.conv(builder.operator("DEQUANTIZE", [x], (1, 8, 8, 3)), 8)
    save_tflite(builder.file([x], [y]), tmp_path / "net.tflite", {"precision": "w8a8"})
    (told,) = Artifact.open(tmp_path / "net.tflite").contradictions
    assert (
        told == "net.tflite is w8a8 in part: CONV_2D computes in float, with most of the weights, so it counts as fp32"
    )
