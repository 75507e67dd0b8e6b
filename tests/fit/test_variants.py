"""Graphs after a change, beside files that were built that way."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.fit.micro import plan_micro
from edgecnn.fit.variants import in_int8, with_input, with_quantized_io
from edgecnn.formats import Graph, read_graph

tflite_builder = pytest.importorskip("tflite_builder", reason="needs ai_edge_litert's schema to build files")
Builder = tflite_builder.Builder

SIDE = 48


@cache
def built(side: int, dtype: str = "int8", ends: str = "") -> Graph:
    """Return a network with padding, strides, pooling, a gate, a join and an upsampling, read from its file."""
    b = Builder(dtype)
    x = image = b.tensor((1, side, side, 3), ends or None, channels=0 if ends else 1)
    if ends:
        x = b.operator("QUANTIZE", (image,), (1, side, side, 3))
    y = b.pool(b.conv(b.pad(x, 3), 8, 7, stride=2), kind="MAX_POOL_2D")
    y = b.binary("MUL", y, b.unary("LOGISTIC", b.mean(y, keep_dims=True)))
    y = b.conv(b.depthwise(b.pad(y)), 12, 1)
    y = b.concat(y, b.conv(y, 4))
    answer = b.dense(b.mean(b.conv(b.transpose_conv(y, 4), 6)), 10)
    if ends:
        out = b.tensor((1, 10), ends, channels=0)
        b.append("DEQUANTIZE", (answer,), (out,))
        answer = out
    with TemporaryDirectory() as folder:
        file = Path(folder) / "net.tflite"
        file.write_bytes(b.file([image], [answer]))
        return read_graph(file)


@settings(deadline=None, max_examples=25)
@given(st.integers(8, SIDE - 1))
def test_a_smaller_input_is_never_taken_too_small(side: int) -> None:
    """The arena worked out for a smaller input holds the network built for it, and is not half as large again."""
    estimate, true = plan_micro(with_input(built(SIDE), side, side)), plan_micro(built(side))
    assert estimate.tail == true.tail
    assert true.head_bytes <= estimate.head_bytes <= 1.5 * true.head_bytes


def test_a_side_that_divides_is_exact() -> None:
    """Where every stride divides the side and nothing is padded, the arena is that of the file built so."""
    b = {}
    for side in (16, 32):
        builder = Builder()
        x = builder.tensor((1, side, side, 3))
        y = builder.pool(builder.conv(builder.conv(x, 8, stride=2), 16))
        with TemporaryDirectory() as folder:
            file = Path(folder) / "net.tflite"
            file.write_bytes(builder.file([x], [builder.mean(y)]))
            b[side] = read_graph(file)
    assert plan_micro(with_input(b[32], 16, 16)).total_bytes == plan_micro(b[16]).total_bytes


def test_integer_ends_are_those_of_a_file_without_conversions() -> None:
    """Without QUANTIZE and DEQUANTIZE at its ends the arena is that of the file that never had them."""
    assert plan_micro(built(SIDE, ends="float32")).total_bytes > plan_micro(built(SIDE)).total_bytes
    bare = with_quantized_io(built(SIDE, ends="float32"))
    assert [tensor.dtype for tensor in (*bare.input_specs, *bare.output_specs)] == ["int8", "int8"]
    assert plan_micro(bare).total_bytes == plan_micro(built(SIDE)).total_bytes


def test_integer_ends_stay() -> None:
    """A file with integer ends is returned as it is."""
    assert with_quantized_io(built(SIDE)) is built(SIDE)


def test_int8_is_what_the_int8_file_takes() -> None:
    """A float network taken as int8 needs the arena of its int8 file, within 1 %, and about its size."""
    estimate, true = in_int8(built(SIDE, "float32")), built(SIDE)
    assert plan_micro(estimate).total_bytes == pytest.approx(plan_micro(true).total_bytes, rel=0.01)
    assert estimate.weights_bytes == true.weights_bytes
    assert estimate.size_bytes == pytest.approx(true.size_bytes, rel=0.15)
