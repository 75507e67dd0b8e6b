"""TFLite files from which operators that only move values were taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import RandomGraph
from tflite_builder import Builder
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.datasets import DataSource
from edgecnn.export import tflite_moves
from edgecnn.export.tflite_layout import Layout
from edgecnn.export.tflite_model import TFLiteModel
from edgecnn.export.tflite_moves import RULES, rearranged
from edgecnn.nets import blocks
from edgecnn.nets.network import Network
from edgecnn.pipeline import export_model
from edgecnn.recipe import Calibration, Recipe
from edgecnn.runtimes.litert import open_content

Arrays = Sequence[npt.NDArray[Any]]
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def kinds(content: bytes) -> list[str]:
    """Return the operators of a file in their order."""
    model = TFLiteModel.read(content)
    return [model.kind(operator) for operator in model.operators]


def anew(content: bytes) -> bytes:
    """Return the file written anew, whether that helps or not."""
    model = TFLiteModel.read(content)
    Layout(model, model.readers()).write(RULES)
    return model.to_bytes()


def check(before: bytes, after: bytes, shapes: Sequence[Sequence[int]]) -> None:
    """Compare all outputs of two files for the same noise."""
    draw = np.random.default_rng(0)
    inputs = [draw.normal(size=shape).astype(np.float32) for shape in shapes]
    expected, given = open_content(before)(inputs), open_content(after)(inputs)
    assert [x.shape for x in given] == [x.shape for x in expected]
    for x, y in zip(expected, given, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-5)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_random_files_compute_the_same(seed: int, operators: int) -> None:
    """Whatever moves values, and whatever stands between: all outputs keep their values and shapes."""
    content, shapes = RandomGraph(np.random.default_rng(seed)).content(operators)
    check(content, anew(content), shapes)


class Writer:
    """A float file under way."""

    def __init__(self, *shapes: Sequence[int]) -> None:
        self.b = Builder("float32")
        self.draw = np.random.default_rng(1)
        self.inputs = [self.b.tensor(shape) for shape in shapes]

    def transpose(self, x: int, axes: Sequence[int]) -> int:
        """Add a TRANSPOSE."""
        shape = tuple(self.b.shapes[x][axis] for axis in axes)
        return self.b.operator("TRANSPOSE", (x, self.b.integers(axes)), shape, schema.TransposeOptionsT())

    def shuffle(self, x: int, groups: int, axis: int) -> int:
        """Add the three operators of a shuffle."""
        shape = self.b.shapes[x]
        wide = (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
        axes = [*range(axis), axis + 1, axis, *range(axis + 2, len(wide))]
        return self.b.reshape(self.transpose(self.b.reshape(x, wide), axes), shape)

    def slice(self, x: int, axis: int, begin: int, end: int) -> int:
        """Add a SLICE along one axis."""
        shape = list(self.b.shapes[x])
        begins = [0] * len(shape)
        begins[axis], shape[axis] = begin, end - begin
        inputs = (x, self.b.integers(begins), self.b.integers(shape))
        return self.b.operator("SLICE", inputs, tuple(shape), schema.SliceOptionsT())

    def concat(self, axis: int, *xs: int) -> int:
        """Add a CONCATENATION."""
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        shape = list(self.b.shapes[xs[0]])
        shape[axis] = sum(self.b.shapes[x][axis] for x in xs)
        return self.b.operator("CONCATENATION", xs, tuple(shape), options)

    def constant(self, *shape: int) -> int:
        """Add weights."""
        return self.b.tensor(shape, data=self.draw.normal(size=shape).astype(np.float32))

    def conv(self, x: int, filters: int, groups: int = 1) -> int:
        """Add a pointwise CONV_2D."""
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = 1
        *space, channels = self.b.shapes[x]
        inputs = (x, self.constant(filters, 1, 1, channels // groups), self.constant(filters))
        return self.b.operator("CONV_2D", inputs, (*space, filters), options)

    def depthwise(self, x: int, times: int = 1) -> int:
        """Add a DEPTHWISE_CONV_2D of 3x3."""
        options = schema.DepthwiseConv2DOptionsT()
        options.strideH = options.strideW = 1
        options.depthMultiplier = times
        *space, channels = self.b.shapes[x]
        inputs = (x, self.constant(1, 3, 3, channels * times), self.constant(channels * times))
        return self.b.operator("DEPTHWISE_CONV_2D", inputs, (*space, channels * times), options)

    def pad(self, x: int, pads: Sequence[Sequence[int]]) -> int:
        """Add a PAD."""
        shape = tuple(size + sum(pair) for size, pair in zip(self.b.shapes[x], pads, strict=True))
        return self.b.operator("PAD", (x, self.b.integers(pads)), shape, schema.PadOptionsT())

    def mean(self, x: int, axes: Sequence[int], *, keep: bool) -> int:
        """Add a MEAN."""
        options = schema.ReducerOptionsT()
        options.keepDims = keep
        shape = self.b.shapes[x]
        left = tuple(1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes)
        return self.b.operator("MEAN", (x, self.b.integers(axes)), left, options)

    def gives(self, expected: str | None, *outputs: int) -> None:
        """Write the file anew: it computes the same, with the operators *expected* alone, if those are given."""
        content = self.b.file(self.inputs, outputs)
        after = anew(content)
        check(content, after, [self.b.shapes[x] for x in self.inputs])
        if expected is not None:
            assert " ".join(kinds(after)) == expected


def test_transposes_around_elementwise_operators_cancel() -> None:
    """Constants are laid as the values lie: along channels, along rows, for all."""
    w = Writer((1, 4, 5, 6))
    x = w.transpose(w.inputs[0], TO_NCHW)
    for shape in ((6, 1, 1), (1, 1, 4, 1), (1, 6, 4, 5), ()):
        x = w.b.operator("MUL", (x, w.constant(*shape)), (1, 6, 4, 5), schema.MulOptionsT())
    w.gives("MUL MUL MUL MUL LOGISTIC", w.transpose(w.b.unary("LOGISTIC", x), TO_NHWC))


def test_an_operand_of_another_order_is_brought_into_that_of_most() -> None:
    """One transpose, of the operand that lies in another order."""
    w = Writer((1, 4, 5, 6), (1, 6, 4, 5))
    total = w.b.binary("ADD", w.transpose(w.inputs[0], TO_NCHW), w.inputs[1])
    w.gives("TRANSPOSE ADD", w.transpose(total, TO_NHWC))


def test_a_squeeze_and_excitation_in_the_order_of_torch() -> None:
    """Means, two linear layers, and a product over the map: no transpose."""
    w = Writer((1, 4, 5, 6))
    x = w.transpose(w.inputs[0], TO_NCHW)
    options = schema.FullyConnectedOptionsT()
    pooled = w.mean(x, (2, 3), keep=False)
    scale = w.b.operator("FULLY_CONNECTED", (pooled, w.constant(6, 6), w.constant(6)), (1, 6), options)
    product = w.b.binary("MUL", x, w.b.reshape(scale, (1, 6, 1, 1)))
    w.gives("MEAN FULLY_CONNECTED RESHAPE MUL", w.transpose(product, TO_NHWC))


def test_pads_slices_and_means_follow_the_axes() -> None:
    """Each is along the axis that it was along, with or without the axes of size 1 that a mean leaves."""
    w = Writer((1, 4, 5, 6))
    x = w.pad(w.transpose(w.inputs[0], TO_NCHW), ((0, 0), (1, 2), (0, 1), (2, 0)))
    part = w.slice(x, 2, 1, 4)
    w.gives("PAD SLICE MEAN MEAN RESHAPE", w.mean(part, (2, 3), keep=True), w.mean(part, (1, 2, 3), keep=False))


def test_a_softmax_over_an_axis_that_is_not_last_needs_a_transpose() -> None:
    """Over the one that is stored last it needs none."""
    w = Writer((1, 4, 5, 6))
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    x = w.transpose(w.inputs[0], (0, 2, 1, 3))
    w.gives("SOFTMAX MEAN", w.mean(w.b.operator("SOFTMAX", (x,), (1, 5, 4, 6), options), (1, 2, 3), keep=False))
    w = Writer((1, 4, 5, 6))
    x = w.transpose(w.inputs[0], TO_NCHW)
    w.gives("TRANSPOSE SOFTMAX", w.b.operator("SOFTMAX", (x,), (1, 6, 4, 5), options))


@pytest.mark.parametrize(("axis", "expected"), [(1, 3), (2, 1), (3, 2)])
def test_concatenations_are_along_the_axis_that_it_was(axis: int, expected: int) -> None:
    """Of channels, rows and columns; parts that lie otherwise are transposed alone."""
    w = Writer((1, 4, 5, 6), (1, 4, 5, 6))
    x, y = (w.transpose(one, TO_NCHW) for one in w.inputs)
    joined = w.transpose(w.concat(axis, x, y, x), TO_NHWC)
    content = w.b.file(w.inputs, [joined])
    after = anew(content)
    check(content, after, [(1, 4, 5, 6)] * 2)
    model = TFLiteModel.read(after)
    assert kinds(after) == ["CONCATENATION"]
    assert model.operators[0].builtinOptions.axis == expected


def test_many_parts_are_joined_in_steps_of_five() -> None:
    """The smallest first, which are moved twice."""
    w = Writer((1, 2, 2, 8), *[(1, 2, 2, 1)] * 6)
    w.gives("CONCATENATION CONCATENATION LOGISTIC", w.b.unary("LOGISTIC", w.concat(3, *w.inputs)))


def test_slices_that_are_joined_again_are_what_they_were() -> None:
    """In their order they are the tensor, which is then read as it is."""
    w = Writer((1, 4, 5, 6))
    parts = [w.slice(w.inputs[0], 3, begin, begin + 2) for begin in (0, 2, 4)]
    w.gives("LOGISTIC", w.b.unary("LOGISTIC", w.concat(3, *parts)))


def test_a_shuffle_before_a_convolution_costs_nothing() -> None:
    """Weights are in the order that the channels have, behind depthwise convolutions and pools as well."""
    w = Writer((1, 4, 4, 6))
    x = w.transpose(w.shuffle(w.transpose(w.inputs[0], TO_NCHW), 3, 1), TO_NHWC)
    x = w.b.pool(w.depthwise(x, times=2))
    w.gives("DEPTHWISE_CONV_2D AVERAGE_POOL_2D CONV_2D", w.conv(x, 4))


def test_a_shuffle_before_a_linear_layer_costs_nothing() -> None:
    """Neither do the axes that are flattened in the order of torch."""
    w = Writer((1, 2, 2, 6))
    flat = w.b.reshape(w.shuffle(w.transpose(w.inputs[0], TO_NCHW), 2, 1), (1, 24))
    options = schema.FullyConnectedOptionsT()
    y = w.b.operator("FULLY_CONNECTED", (flat, w.constant(3, 24), w.constant(3)), (1, 3), options)
    w.gives("RESHAPE FULLY_CONNECTED", y)


def test_a_shuffle_before_groups_is_one_gather() -> None:
    """Or one transpose, of single values; groups of few filters read all channels instead."""
    w = Writer((1, 2, 2, 16))
    x = w.transpose(w.shuffle(w.transpose(w.inputs[0], TO_NCHW), 4, 1), TO_NHWC)
    w.gives("RESHAPE TRANSPOSE RESHAPE CONV_2D", w.conv(x, 32, groups=4))
    w = Writer((1, 2, 2, 16))
    x = w.transpose(w.shuffle(w.transpose(w.inputs[0], TO_NCHW), 4, 1), TO_NHWC)
    w.gives("CONV_2D", w.conv(x, 8, groups=4))
    w = Writer((1, 2, 2, 64))
    x = w.transpose(w.shuffle(w.transpose(w.inputs[0], TO_NCHW), 4, 1), TO_NHWC)
    w.gives(
        "RESHAPE GATHER RESHAPE CONV_2D DEPTHWISE_CONV_2D CONV_2D", w.conv(x, 32, groups=4), w.conv(w.depthwise(x), 8)
    )


def test_a_shuffle_is_split_without_being_made() -> None:
    """As in ShuffleNetV2: each half takes its channels from what they were joined of."""
    w = Writer((1, 4, 4, 8), (1, 4, 4, 8))
    shuffled = w.shuffle(w.concat(1, *(w.transpose(x, TO_NCHW) for x in w.inputs)), 2, 1)
    halves = [w.transpose(w.slice(shuffled, 1, begin, begin + 8), TO_NHWC) for begin in (0, 8)]
    slices = "SLICE SLICE CONCATENATION CONV_2D"
    w.gives(f"{slices} {slices}", *(w.conv(half, 4) for half in halves))


def test_a_shuffle_of_another_axis() -> None:
    """Rows are shuffled by a gather of rows."""
    w = Writer((1, 18, 5, 2))
    w.gives("GATHER", w.shuffle(w.inputs[0], 2, 1))


def test_a_transpose_that_many_read_is_written_once() -> None:
    """For those that need it; others read what was before it."""
    w = Writer((1, 4, 5, 6))
    x = w.transpose(w.inputs[0], (0, 2, 1, 3))
    outputs = [w.depthwise(x), w.depthwise(x), w.mean(x, (1, 2), keep=False)]
    w.gives("TRANSPOSE DEPTHWISE_CONV_2D DEPTHWISE_CONV_2D MEAN", *outputs)


def test_outputs_that_are_inputs_or_transposes() -> None:
    """An output keeps its shape and order; one that is an input is a copy."""
    w = Writer((1, 4, 5, 6))
    there = w.transpose(w.inputs[0], TO_NCHW)
    w.gives("TRANSPOSE RESHAPE", there, w.transpose(there, TO_NHWC))


def test_an_activation_behind_parts_ends_the_layers_that_give_them() -> None:
    """Int8 has no fast kernel for an activation that stands alone; where another reads a layer, it stays."""
    w = Writer((1, 4, 4, 6))
    x, y = w.conv(w.inputs[0], 4), w.depthwise(w.inputs[0])
    w.gives("CONV_2D DEPTHWISE_CONV_2D CONCATENATION", w.b.unary("RELU", w.concat(3, x, y)))
    w = Writer((1, 4, 4, 6))
    x, y = w.conv(w.inputs[0], 4), w.depthwise(w.inputs[0])
    w.gives("CONV_2D DEPTHWISE_CONV_2D RELU CONCATENATION", w.b.unary("RELU", w.concat(3, x, y)), x)


def test_a_file_in_which_nothing_is_moved_stays_as_it_is() -> None:
    """Not a byte changes; where moves cannot be spared neither."""
    w = Writer((1, 4, 4, 6))
    content = w.b.file(w.inputs, [w.conv(w.inputs[0], 4)])
    assert rearranged(content).content is content
    w = Writer((1, 4, 4, 6))
    content = w.b.file(w.inputs, [w.depthwise(w.transpose(w.inputs[0], TO_NCHW))])
    made = rearranged(content)
    assert made.content is content
    assert not made.facts
    assert made.note is None


def test_a_rule_that_is_wrong_changes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would compute something else is not kept, and the note says so."""

    def wrong(layout: Layout, operator: Any) -> bool:
        layout.views[int(operator.outputs[0])] = layout.view(int(operator.inputs[0]))
        return True

    monkeypatch.setattr(tflite_moves, "RULES", {"LOGISTIC": wrong, "TRANSPOSE": RULES["TRANSPOSE"]})
    w = Writer((1, 4, 4, 6))
    x = w.transpose(w.b.unary("LOGISTIC", w.transpose(w.inputs[0], TO_NCHW)), TO_NHWC)
    content = w.b.file(w.inputs, [w.conv(x, 4)])
    made = rearranged(content)
    assert made.content is content
    assert made.note == "transposes were not removed (ValueError: it changed what the network computes)"


class Unit(nn.Module):
    """A unit of ShuffleNetV2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            nn.Conv2d(half, half, 1), nn.ReLU(), blocks.depthwise(half), nn.Conv2d(half, half, 1)
        )
        self.shuffle = blocks.ChannelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to the same shape."""
        kept, given = x.chunk(2, 1)
        return self.shuffle(torch.cat([kept, self.branch(given)], 1))  # type: ignore[no-any-return]


def network() -> nn.Module:
    """Return one with a shuffle, split and joined, and with the blocks of the study that move values."""
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 32, 3, padding=1),
        Unit(32),
        Unit(32),
        blocks.grouped_fire(32, 32, 32),
        blocks.Ghost(64, 16, groups=4),
        blocks.SqueezeExcite(16),
        nn.Flatten(),
        nn.Linear(16 * 64, 5),
    )
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Return that network in float and in int8, exported and verified."""
    recipe = Recipe("both", "", {"tflite": ("fp32", "w8a8")}, calibration=Calibration(64))
    folder = tmp_path_factory.mktemp("moves")
    result = export_model(Network("blocks", network()), folder, recipe=recipe, data=DataSource(input_shape=(3, 8, 8)))
    return {file.artifact.precision: file.artifact for file in result.files}


def test_the_blocks_of_the_study_have_no_transposes(exported: dict[str, Artifact]) -> None:
    """Torch's outputs are the file's; metadata and history say how many operators there were."""
    file = exported["fp32"]
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    with torch.no_grad():
        expected = network()(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    (given,) = open_content(file.path.read_bytes())([x])
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)
    counts = Counter(operator.kind for operator in file.graph.operators)
    facts = file.metadata["rearranged"]
    assert counts["TRANSPOSE"] == facts["transposes_after"] == 0
    assert counts.total() == facts["operators_after"] < facts["operators_before"]
    assert facts["transposes_before"] > 10
    for made in exported.values():
        assert {"step": "rearrange", **facts} in made.history


def test_a_file_without_moves_is_quantized(exported: dict[str, Artifact]) -> None:
    """What only moves values has one scale on both sides, and int8 computes what float does."""
    graph = exported["w8a8"].graph
    assert {one.kind for one in graph.operators} >= {"CONCATENATION", "GATHER", "SLICE"}
    assert "TRANSPOSE" not in {one.kind for one in graph.operators}
    for operator in graph.operators:
        if operator.kind in ("GATHER", "SLICE", "RESHAPE"):
            ends = [graph.tensors[index] for index in (operator.inputs[0], operator.outputs[0])]
            assert {end.dtype for end in ends} == {"int8"}
            assert ends[0].quant == ends[1].quant
    assert exported["w8a8"].result["parity"]["sqnr_db"] > 20
