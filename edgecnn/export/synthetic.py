"""Make small networks of random shape as TFLite files, to calibrate latency with: no training, no converter.

Each is a pure function of its number, so that every machine measures the same ones. Together they have the operators
that networks for boards are made of, at sizes of 1 to some hundreds of million multiply-adds.
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
_MOST_WEIGHTS = 1 << 23  # of a flat layer: 32 MiB in float
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
        self.values = np.random.default_rng(0)  # apart, so that both precisions get the same shapes
        self.schema = require("ai_edge_litert.schema_py_generated", "torch")
        self.buffers.append(self.schema.BufferT())  # the first one is empty by definition

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self.tensors[index].shape)

    def tensor(self, shape: Sequence[int], data: Any = None, scales: Sequence[float] = (), axis: int = 0) -> int:
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
            scales = (_ACTIVATION_SCALE,)
        if scales and self.precision != "fp32":
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = list(scales), [0] * len(scales)
            tensor.quantization.quantizedDimension = axis
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def weights(self, shape: Sequence[int], axis: int = 0) -> int:
        """Add random weights with a scale for each of the channels of *axis*."""
        if self.precision == "fp32":
            spread = (2 / max(prod(shape) // shape[axis], 1)) ** 0.5
            return self.tensor(shape, (self.values.standard_normal(shape) * spread).astype(np.float32))
        values = self.values.integers(-127, 128, shape, np.int8)
        return self.tensor(shape, values, [_WEIGHT_SCALE] * shape[axis], axis)

    def bias(self, channels: int) -> int:
        """Add a bias of zeros."""
        kind = np.float32 if self.precision == "fp32" else np.int32
        return self.tensor((channels,), np.zeros(channels, kind), [_ACTIVATION_SCALE * _WEIGHT_SCALE] * channels)

    def add(self, name: str, inputs: Sequence[int], shape: Sequence[int], options: Any = None, version: int = 1) -> int:
        """Add an operator whose output has *shape*."""
        schema, output = self.schema, self.tensor(shape)
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

    def conv(self, x: int, channels: int, kernel: int = 3, stride: int = 1, activation: bool = True) -> int:
        """Add CONV_2D, padding SAME."""
        n, h, w, c = self.shape(x)
        options = self.schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.fusedActivationFunction = int(activation)  # RELU
        inputs = (x, self.weights((channels, kernel, kernel, c)), self.bias(channels))
        return self.add("CONV_2D", inputs, (n, -(-h // stride), -(-w // stride), channels), options, 3)

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
        flat = self.add("RESHAPE", (x, self.integers((1, inner))), (1, inner), self.schema.ReshapeOptionsT())
        return self.add(
            "FULLY_CONNECTED", (flat, weights, bias), (1, channels), self.schema.FullyConnectedOptionsT(), 4
        )

    def integers(self, values: Any) -> int:
        """Add a constant shape or axis."""
        array = np.asarray(values, np.int32)
        return self.tensor(array.shape, array)

    def pool(self, x: int, name: str = "MAX_POOL_2D") -> int:
        """Add a pooling of 2x2 with stride 2, padding SAME."""
        n, h, w, c = self.shape(x)
        options = self.schema.Pool2DOptionsT()
        options.strideH = options.strideW = options.filterHeight = options.filterWidth = 2
        return self.add(name, (x,), (n, -(-h // 2), -(-w // 2), c), options, 2)

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
    y = net.conv(net.conv(net.conv(x, max(channels // 4, 4), 1), max(channels // 4, 4), 3, stride), channels, 1)
    same = stride == 1 and net.shape(x)[3] == channels
    return net.binary("ADD", y, x) if same else y


def _separable(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    return net.conv(net.depthwise(x, 3, stride), channels, 1)


def _inverted(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    kernel = int(net.rng.choice((3, 5)))
    y = net.depthwise(net.conv(x, 4 * net.shape(x)[3], 1), kernel, stride)
    if net.rng.random() < 0.3:
        y = net.add("HARD_SWISH", (y,), net.shape(y))
    if net.rng.random() < 0.5:
        gate = net.conv(net.conv(net.mean(y), max(net.shape(y)[3] // 8, 4), 1), net.shape(y)[3], 1)
        y = net.binary("MUL", y, gate)
    y = net.conv(y, channels, 1, activation=False)
    return net.binary("ADD", y, x) if net.shape(y) == net.shape(x) else y


def _fire(net: SyntheticNet, x: int, channels: int, stride: int) -> int:
    y = net.conv(x, max(channels // 8, 4), 1)
    y = net.concat(net.conv(y, channels // 2, 1), net.conv(y, channels // 2, 3))
    return net.pool(y) if stride == 2 else y


#: Block, and how many times wider than the stem networks of such blocks usually are.
_BLOCKS: tuple[tuple[Callable[[SyntheticNet, int, int, int], int], int], ...] = (
    (_plain, 1), (_residual, 1), (_bottleneck, 4), (_separable, 2), (_inverted, 1), (_fire, 2),
)  # fmt: skip


def write_synthetic(path: Path, number: int, precision: str) -> Path:
    """Write the synthetic network *number* in *precision* to *path*, whole or not at all, and return *path*.

    The number gives the shape, so the files of one number at both precisions are the same network.
    """
    rng = np.random.default_rng(number)
    net = SyntheticNet(precision, rng)
    block, deep = _BLOCKS[number % len(_BLOCKS)]
    side, width = int(rng.choice((32, 64, 96, 128, 160, 192, 224))), int(rng.integers(8, 33)) * deep
    if rng.random() < 0.5:  # as most networks have it; the others are what pruning leaves
        width = -(-width // 16) * 16
    x = image = net.tensor((1, side, side, 3))
    x = net.conv(x, width // deep, int(rng.choice((3, 3, 5, 7))), 2)
    for stage in range(int(rng.integers(2, 5))):
        channels = width * 2 ** (stage + int(rng.integers(0, 2)))
        for index in range(int(rng.integers(1, 4))):
            x = block(net, x, channels, 2 if index == 0 else 1)
    # One in three ends in a flat layer with most of the weights, as AlexNet and VGG do.
    flat = rng.random() < 1 / 3
    x = net.linear(x, min(1024, _MOST_WEIGHTS // prod(net.shape(x)))) if flat else net.mean(x)
    y = net.linear(x, int(rng.choice((10, 100, 1000))))
    write_whole(path, net.file(image, y))
    return path
