"""Make TFLite files to calibrate latency with, of random weights: no training, no converter.

Chains repeat one operator, and tell what it costs; networks of random shape tell how far the sum of such costs is from
the truth. Each is a pure function of its number, so that every machine measures the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.errors import require
from edgecnn.files import write_whole

PRECISIONS = ("fp32", "w8a8")
_LOG2_MOST_WEIGHTS = 25  # of a flat layer: 128 MiB in float, more than caches hold
_ACTIVATION_SCALE, _WEIGHT_SCALE = 0.05, 0.01


@dataclass
class SyntheticNet:
    """A TFLite file being built, NHWC; each method adds an operator and returns the index of its output tensor."""

    precision: str
    rng: np.random.Generator  # of the shapes
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        values = np.random.default_rng(0)  # apart, so that both precisions get the same shapes
        # Drawn once and repeated: what they are does not matter, and hundreds of millions take long to draw.
        self.normal = values.standard_normal(1 << 16).astype(np.float32)
        self.integer = values.integers(-127, 128, 1 << 16, np.int8)
        self.schema = require("ai_edge_litert.schema_py_generated", "torch")
        self.buffers.append(self.schema.BufferT())  # the first one is empty by definition

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self.tensors[index].shape)

    def tensor(
        self, shape: Sequence[int], data: Any = None, scales: Sequence[float] = (), axis: int = 0, zero_point: int = 0
    ) -> int:
        """Add a tensor of activations, or a constant of *data*."""
        schema, types = self.schema, self.schema.TensorType
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"t{len(self.tensors)}", list(shape)
        tensor.type = types.FLOAT32 if self.precision == "fp32" else types.INT8
        if data is not None:
            kinds = {"float32": types.FLOAT32, "int8": types.INT8, "int32": types.INT32}
            tensor.type, tensor.buffer = kinds[data.dtype.name], len(self.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.buffers.append(buffer)
        elif self.precision != "fp32":
            scales = scales or (_ACTIVATION_SCALE,)
        if scales and self.precision != "fp32":
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = list(scales), [zero_point] * len(scales)
            tensor.quantization.quantizedDimension = axis
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def weights(self, shape: Sequence[int], axis: int = 0) -> int:
        """Add random weights with a scale for each of the channels of *axis*."""
        if self.precision == "fp32":
            spread = (2 / max(prod(shape) // shape[axis], 1)) ** 0.5
            return self.tensor(shape, np.resize(self.normal * np.float32(spread), shape))
        return self.tensor(shape, np.resize(self.integer, shape), [_WEIGHT_SCALE] * shape[axis], axis)

    def bias(self, channels: int) -> int:
        """Add a bias of zeros."""
        kind = np.float32 if self.precision == "fp32" else np.int32
        return self.tensor((channels,), np.zeros(channels, kind), [_ACTIVATION_SCALE * _WEIGHT_SCALE] * channels)

    def add(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        options: Any = None,
        version: int = 1,
        output: int | None = None,
    ) -> int:
        """Add an operator whose output has *shape*, or is a tensor that is there already."""
        schema = self.schema
        output = self.tensor(shape) if output is None else output
        code = (getattr(schema.BuiltinOperator, name), version)
        if code not in self.codes:
            self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self.codes.index(code), list(inputs), [output]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.operators.append(operator)
        return output

    def conv(
        self, x: int, channels: int, kernel: int = 3, stride: int = 1, *, activation: bool = True, groups: int = 1
    ) -> int:
        """Add CONV_2D with padding; before a stride the PAD stands apart, as converters of torch write it."""
        n, h, w, c = self.shape(x)
        options = self.schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.fusedActivationFunction = int(activation)  # RELU
        if stride > 1 and kernel > 1:
            x = self.pad(x, kernel // 2)
            options.padding = self.schema.Padding.VALID
        inputs = (x, self.weights((channels, kernel, kernel, c // groups)), self.bias(channels))
        return self.add("CONV_2D", inputs, (n, -(-h // stride), -(-w // stride), channels), options, 3)

    def pad(self, x: int, margin: int) -> int:
        """Add PAD by *margin* on all four sides."""
        n, h, w, c = self.shape(x)
        margins = self.integers([(0, 0), (margin, margin), (margin, margin), (0, 0)])
        return self.add("PAD", (x, margins), (n, h + 2 * margin, w + 2 * margin, c), self.schema.PadOptionsT(), 2)

    def sigmoid(self, x: int) -> int:
        """Add LOGISTIC, whose integers stand for 0 to 1."""
        output = self.tensor(self.shape(x), scales=(1 / 256,), zero_point=-128)
        return self.add("LOGISTIC", (x,), self.shape(x), version=2, output=output)

    def quantized(self, x: int) -> int:
        """Add QUANTIZE from floats; nothing in float."""
        options = self.schema.QuantizeOptionsT()
        return x if self.precision == "fp32" else self.add("QUANTIZE", (x,), self.shape(x), options)

    def floats(self, shape: Sequence[int]) -> int:
        """Add a tensor of floats, whatever the precision."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type = f"t{len(self.tensors)}", list(shape), self.schema.TensorType.FLOAT32
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def depthwise(self, x: int, kernel: int = 3, stride: int = 1) -> int:
        """Add DEPTHWISE_CONV_2D, padding SAME."""
        n, h, w, c = self.shape(x)
        options = self.schema.DepthwiseConv2DOptionsT()
        options.strideH = options.strideW = stride
        options.depthMultiplier = options.fusedActivationFunction = 1
        inputs = (x, self.weights((1, kernel, kernel, c), axis=3), self.bias(c))
        return self.add("DEPTHWISE_CONV_2D", inputs, (n, -(-h // stride), -(-w // stride), c), options, 3)

    def linear(self, x: int, channels: int) -> int:
        """Add FULLY_CONNECTED on what is left of [1, ...] flattened; int8 has one scale for all its weights."""
        inner = prod(self.shape(x))
        weights = self.weights((channels, inner))
        bias = self.bias(channels)
        if self.precision != "fp32":
            for index in (weights, bias):
                quant = self.tensors[index].quantization
                quant.scale, quant.zeroPoint = quant.scale[:1], [0]
        flat = self.reshape(x, (1, inner))
        return self.add(
            "FULLY_CONNECTED", (flat, weights, bias), (1, channels), self.schema.FullyConnectedOptionsT(), 4
        )

    def integers(self, values: Any) -> int:
        """Add a constant shape or axis."""
        array = np.asarray(values, np.int32)
        return self.tensor(array.shape, array)

    def pool(self, x: int, name: str = "MAX_POOL_2D", stride: int = 2) -> int:
        """Add a pooling of 2x2, padding SAME."""
        n, h, w, c = self.shape(x)
        options = self.schema.Pool2DOptionsT()
        options.filterHeight = options.filterWidth = 2
        options.strideH = options.strideW = stride
        return self.add(name, (x,), (n, -(-h // stride), -(-w // stride), c), options, 2)

    def mean(self, x: int) -> int:
        """Add MEAN over height and width, which it keeps as 1."""
        n, _, _, c = self.shape(x)
        options = self.schema.ReducerOptionsT()
        options.keepDims = True
        return self.add("MEAN", (x, self.integers((1, 2))), (n, 1, 1, c), options, 2)

    def binary(self, name: str, a: int, b: int) -> int:
        """Add ADD or MUL; b may broadcast."""
        options = getattr(self.schema, f"{name.title()}OptionsT")()
        return self.add(name, (a, b), self.shape(a), options, 2)

    def concat(self, a: int, b: int) -> int:
        """Add CONCATENATION over channels."""
        n, h, w, c = self.shape(a)
        options = self.schema.ConcatenationOptionsT()
        options.axis = 3
        return self.add("CONCATENATION", (a, b), (n, h, w, c + self.shape(b)[3]), options, 2)

    def transpose(self, x: int, order: Sequence[int]) -> int:
        """Add TRANSPOSE: axis i of the output is axis order[i] of the input."""
        shape = tuple(self.shape(x)[axis] for axis in order)
        return self.add("TRANSPOSE", (x, self.integers(order)), shape, self.schema.TransposeOptionsT(), 2)

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        """Add RESHAPE."""
        return self.add("RESHAPE", (x, self.integers(shape)), shape, self.schema.ReshapeOptionsT())

    def cropped(self, x: int, shape: Sequence[int]) -> int:
        """Add SLICE of *shape* from the first corner."""
        inputs = (x, self.integers((0, 0, 0, 0)), self.integers(shape))
        return self.add("SLICE", inputs, shape, self.schema.SliceOptionsT(), 2)

    def channels_of(self, x: int, first: int, count: int) -> int:
        """Add SLICE of *count* channels from *first* on."""
        n, h, w, _ = self.shape(x)
        inputs = (x, self.integers((0, 0, 0, first)), self.integers((n, h, w, count)))
        return self.add("SLICE", inputs, (n, h, w, count), self.schema.SliceOptionsT(), 2)

    def file(self, x: int, y: int) -> bytes:
        """Return the bytes of the file from input *x* to output *y*."""
        schema, flatbuffers = self.schema, require("flatbuffers", "torch")
        model, subgraph = schema.ModelT(), schema.SubGraphT()
        model.version, model.buffers, model.operatorCodes = 3, self.buffers, []
        for builtin, version in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
            model.operatorCodes.append(code)
        subgraph.tensors, subgraph.operators, subgraph.inputs, subgraph.outputs = self.tensors, self.operators, [x], [y]
        model.subgraphs = [subgraph]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _plain(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    y = net.conv(x, channels, 3)
    return net.pool(y) if stride == 2 else y


def _residual(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    y = net.conv(net.conv(x, channels, 3, stride), channels, 3, activation=False)
    same = stride == 1 and net.shape(x)[3] == channels
    return net.binary("ADD", y, x if same else net.conv(x, channels, 1, stride, activation=False))


def _bottleneck(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    inner = max(channels // 4, 4)
    y = net.conv(net.conv(net.conv(x, inner, 1), inner, 3, stride), channels, 1, activation=False)
    same = stride == 1 and net.shape(x)[3] == channels
    return net.binary("ADD", y, x if same else net.conv(x, channels, 1, stride, activation=False))


def _grouped(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    width = int(net.rng.choice((8, 16, 32)))  # of a group
    inner = max(channels // width, 1) * width
    y = net.conv(net.conv(x, inner, 1), inner, 3, stride, groups=inner // width)
    if net.rng.random() < 0.5:
        y = _gated(net, y)
    y = net.conv(y, channels, 1, activation=False)
    return net.binary("ADD", y, x) if net.shape(y) == net.shape(x) else y


def _gated(net: SyntheticNet, x: int) -> int:
    """Squeeze and excite: every channel times a factor of its own."""
    gate = net.conv(net.conv(net.mean(x), max(net.shape(x)[3] // 8, 4), 1), net.shape(x)[3], 1, activation=False)
    return net.binary("MUL", x, net.sigmoid(gate))


def _separable(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    return net.conv(net.depthwise(x, 3, stride), channels, 1)


def _inverted(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    """The block of the mobile networks; a third activates by hard swish, a third by a sigmoid's product."""
    kernel, activation = int(net.rng.choice((3, 5))), net.rng.choice(("relu", "hard_swish", "silu"))

    def activated(y: int) -> int:
        if activation == "hard_swish":
            return net.add("HARD_SWISH", (y,), net.shape(y))
        return net.binary("MUL", y, net.sigmoid(y)) if activation == "silu" else y

    y = activated(net.conv(x, 4 * net.shape(x)[3], 1, activation=activation == "relu"))
    y = activated(net.depthwise(y, kernel, stride))
    if net.rng.random() < 0.5:
        y = _gated(net, y)
    y = net.conv(y, channels, 1, activation=False)
    return net.binary("ADD", y, x) if net.shape(y) == net.shape(x) else y


def _fire(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    y = net.conv(x, max(channels // 8, 4), 1)
    y = net.concat(net.conv(y, channels // 2, 1), net.conv(y, channels // 2, 3))
    return net.pool(y) if stride == 2 else y


def _dense(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    growth = max(channels // 8, 4)
    for _ in range(3):
        x = net.concat(x, net.conv(net.conv(x, 4 * growth, 1), growth, 3))
    return net.pool(net.conv(x, channels, 1), "AVERAGE_POOL_2D") if stride == 2 else x


def _shuffled(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    """Half of the channels go through, the other half through a separable convolution; then they are mixed."""
    half = channels // 2
    if stride == 2 or net.shape(x)[3] != 2 * half:
        halves = net.conv(net.depthwise(x, 3, stride), half, 1), net.conv(net.depthwise(x, 3, stride), half, 1)
    else:
        own = net.channels_of(x, half, half)
        halves = net.channels_of(x, 0, half), net.conv(net.depthwise(net.conv(own, half, 1), 3), half, 1)
    y = net.concat(*halves)
    n, h, w, c = net.shape(y)
    # As converters of torch write it: to channels first, mixed there, and back.
    y = net.reshape(net.transpose(y, (0, 3, 1, 2)), (n, 2, half, h, w))
    y = net.reshape(net.transpose(y, (0, 2, 1, 3, 4)), (n, c, h, w))
    return net.transpose(y, (0, 2, 3, 1))


#: Block, and how many times wider than the stem networks of such blocks usually are.
_BLOCKS: tuple[tuple[Callable[[SyntheticNet, int, int, int], int], int], ...] = (
    (_plain, 1), (_residual, 1), (_bottleneck, 4), (_grouped, 2), (_separable, 2), (_inverted, 1), (_fire, 2),
    (_inverted, 1), (_dense, 2), (_shuffled, 2),
)  # fmt: skip


#: One operator each, from a tensor to one of the same shape, so that it can be repeated.
_OPERATORS: tuple[Callable[[SyntheticNet, int], int], ...] = (
    lambda net, x: net.conv(x, net.shape(x)[3], 3),
    lambda net, x: net.conv(x, net.shape(x)[3], 3, groups=net.shape(x)[3] // 16),
    lambda net, x: net.conv(x, net.shape(x)[3], 1),
    lambda net, x: net.depthwise(x, 3),
    lambda net, x: net.depthwise(x, 5),
    lambda net, x: net.pool(x, stride=1),
    lambda net, x: net.pool(x, "AVERAGE_POOL_2D", stride=1),
    lambda net, x: net.binary("MUL", x, net.mean(x)),
    lambda net, x: net.binary("ADD", x, x),
    lambda net, x: net.binary("MUL", x, x),
    lambda net, x: net.binary("MUL", x, net.sigmoid(x)),
    lambda net, x: net.add("HARD_SWISH", (x,), net.shape(x)),
    lambda net, x: net.cropped(net.pad(x, 1), net.shape(x)),
    lambda net, x: net.channels_of(net.concat(x, x), 0, net.shape(x)[3]),
    lambda net, x: net.transpose(net.transpose(x, (0, 3, 1, 2)), (0, 2, 3, 1)),
)  # fmt: skip
_SIZES = ((112, 48), (28, 96), (7, 384))  # side, channels: a MiB and more in float, a third, and little
_REPEATS = 6

#: How many chains of operators there are.
CHAINS = len(_OPERATORS) * len(_SIZES)


def family_of(number: int) -> str:
    """Return the name of the blocks that the synthetic network *number* is made of."""
    return _BLOCKS[number % len(_BLOCKS)][0].__name__.strip("_")


def write_chain(path: Path, number: int, precision: str) -> Path:
    """Write the chain *number* of CHAINS, one operator repeated, to *path*, whole or not at all, and return *path*."""
    net = SyntheticNet(precision, np.random.default_rng(number))
    side, channels = _SIZES[number // len(_OPERATORS)]
    image = net.floats((1, side, side, channels))
    x = net.quantized(image)
    for _ in range(_REPEATS):
        x = _OPERATORS[number % len(_OPERATORS)](net, x)
    write_whole(path, net.file(image, net.linear(net.mean(x), 10)))
    return path


def write_synthetic(path: Path, number: int, precision: str) -> Path:
    """Write the synthetic network *number* in *precision* to *path*, whole or not at all, and return *path*.

    The number gives the shape, so the files of one number at both precisions are the same network.
    """
    rng = np.random.default_rng(number)
    net = SyntheticNet(precision, rng)
    block, deep = _BLOCKS[number % len(_BLOCKS)]
    side, width = int(rng.choice((32, 64, 96, 128, 160, 192, 224))), round(2 ** rng.uniform(3, 6)) * deep
    side = min(side, 224 * 32 * deep // width)  # wide networks see small images, or measuring would take too long
    if rng.random() < 0.5:  # as most networks have it; the others are what pruning leaves
        width = -(-width // 16) * 16
    image = net.floats((1, side, side, 3))
    x = net.conv(net.quantized(image), width // deep, int(rng.choice((3, 3, 5, 7))), 2)
    for stage in range(int(rng.integers(3, 5))):
        channels = width * 2 ** (stage + int(rng.integers(0, 2)))
        for index in range(int(rng.integers(1, 4))):
            x = block(net, x, channels, 2 if index == 0 else 1)
    # One in three ends in a flat layer with most of the weights, as AlexNet and VGG do.
    flat, weights = rng.random() < 1 / 3, round(2 ** rng.uniform(20, _LOG2_MOST_WEIGHTS))
    x = net.linear(x, min(4096, max(1, weights // prod(net.shape(x))))) if flat else net.mean(x)
    y = net.linear(x, int(rng.choice((10, 100, 1000))))
    write_whole(path, net.file(image, y))
    return path
