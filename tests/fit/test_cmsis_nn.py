"""CMSIS-NN's scratch buffers, against sizes worked out by hand from its `get_buffer_size` functions."""

from __future__ import annotations

import pytest

from edgecnn.fit.call import Call
from edgecnn.fit.cmsis_nn import cmsis_nn_scratch
from edgecnn.formats import Graph, Operator, Tensor


def graph_of(kind: str, image: tuple[int, ...], weights: tuple[int, ...], output: tuple[int, ...]) -> Graph:
    """Return one int8 operator; TRANSPOSE_CONV has its image third."""
    tensors = (
        Tensor("image", image, "int8", size_bytes=1),
        Tensor("weights", weights, "int8", constant=True, size_bytes=1),
        Tensor("output", output, "int8", size_bytes=1),
        Tensor("shape", (4,), "int32", constant=True, size_bytes=16),
    )
    inputs = (3, 1, 0) if kind == "TRANSPOSE_CONV" else (0, 1)
    options = {"stride_h": 2, "stride_w": 2} if kind == "TRANSPOSE_CONV" else {}
    return Graph("tflite", tensors, (Operator(kind, inputs, (2,), options=options),), (0,), (2,), 1)


CASES = [
    # kind, image, weights, output, size with dsp, with helium, with neither
    ("CONV_2D", (1, 8, 8, 3), (16, 3, 3, 3), (1, 8, 8, 16), (2 * 2 * 28,), (4 * 32,), (2 * 2 * 28,)),
    ("CONV_2D", (1, 8, 8, 32), (16, 1, 1, 32), (1, 8, 8, 16), (), (), ()),
    ("DEPTHWISE_CONV_2D", (1, 8, 8, 8), (1, 3, 3, 8), (1, 8, 8, 8), (), (4 * 124 * 9,), ()),
    ("DEPTHWISE_CONV_2D", (1, 8, 8, 8), (1, 5, 5, 8), (1, 8, 8, 8), (2 * 8 * 25,), (4 * 124 * 25,), ()),
    ("DEPTHWISE_CONV_2D", (1, 8, 8, 8), (1, 5, 5, 16), (1, 8, 8, 16), (), (), ()),
    ("FULLY_CONNECTED", (1, 64), (10, 64), (1, 10), (), (40,), ()),
    ("AVERAGE_POOL_2D", (1, 8, 8, 64), (), (1, 1, 1, 64), (4 * 64,), (), ()),
    ("TRANSPOSE_CONV", (1, 4, 4, 8), (4, 2, 2, 8), (1, 8, 8, 4), (4 * 8 * 4 * 2,), (4 * 8 * 4 * 2,), (4 * 8 * 4 * 2,)),
    ("TRANSPOSE_CONV", (1, 4, 4, 32), (4, 2, 2, 32), (1, 8, 8, 4), (512, 512), (512, 512), (512, 512)),
]


@pytest.mark.parametrize(("kind", "image", "weights", "output", "dsp", "helium", "plain"), CASES)
def test_sizes(
    kind: str,
    image: tuple[int, ...],
    weights: tuple[int, ...],
    output: tuple[int, ...],
    dsp: tuple[int, ...],
    helium: tuple[int, ...],
    plain: tuple[int, ...],
) -> None:
    """Each kernel asks for what its own function says, for each instruction set."""
    graph = graph_of(kind, image, weights, output)
    for instructions, expected in (("dsp", dsp), ("helium", helium), (None, plain)):
        assert cmsis_nn_scratch(instructions)(Call.of(graph, graph.operators[0])) == expected
