"""Build small `.tflite` files for tests, operator by operator, with the schema classes that come with LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_TYPES = {name.lower(): number for name, number in vars(schema.TensorType).items() if name.isupper()}
ACTIVATION = "int8"


@dataclass
class Builder:
    """A network of one data type; `image` and the operator methods return tensor indices."""

    dtype: str = "int8"
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    operators: list[Any] = field(default_factory=list)
    codes: list[tuple[int, int, str | None]] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str | None = None,
        data: Any = None,
        channels: int = 1,
        *,
        variable: bool = False,
    ) -> int:
        """Add a tensor; *data* makes it a constant, *channels* says how many scales it has."""
        dtype = dtype or self.dtype
        tensor = schema.TensorT()
        tensor.name = f"t{len(self.tensors)}"
        tensor.shape = list(shape)
        tensor.type = _TYPES[dtype]
        tensor.isVariable = variable
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        if self.dtype != "float32" and channels:
            quant = schema.QuantizationParametersT()
            quant.scale = [0.05] * channels
            quant.zeroPoint = [0] * channels
            tensor.quantization = quant
        self.tensors.append(tensor)
        self.shapes.append(tuple(shape))
        return len(self.tensors) - 1

    def weights(self, shape: Sequence[int], channels: int = 1, axis: int = 0) -> int:
        """Add constant weights with one scale a channel."""
        kind = self.dtype if self.dtype != "int16" else "int8"
        index = self.tensor(shape, kind, np.ones(shape, np.dtype(kind)), channels)
        if self.tensors[index].quantization is not None:
            self.tensors[index].quantization.quantizedDimension = axis
        return index

    def bias(self, channels: int) -> int:
        """Add a constant bias."""
        kind = "float32" if self.dtype == "float32" else "int32"
        return self.tensor((channels,), kind, np.zeros(channels, kind), channels)

    def integers(self, values: Any) -> int:
        """Add a constant shape, axis or padding."""
        values = np.asarray(values, np.int32)
        return self.tensor(values.shape, "int32", values, 0)

    def operator(
        self, name: str, inputs: Sequence[int], shape: Sequence[int], options: Any = None, version: int = 1
    ) -> int:
        """Add an operator with one output of *shape*."""
        return self.operator_many(name, inputs, [shape], options, version)[0]

    def operator_many(
        self, name: str, inputs: Sequence[int], shapes: Sequence[Sequence[int]], options: Any = None, version: int = 1
    ) -> list[int]:
        """Add an operator with some outputs."""
        outputs = [self.tensor(shape) for shape in shapes]
        self.append(name, inputs, outputs, options, version)
        return outputs

    def append(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        version: int = 1,
        *,
        custom: bytes | None = None,
    ) -> None:
        """Add an operator between tensors that exist; with *custom*, its options, it is a custom one of that name."""
        builtin = "CUSTOM" if custom is not None else name
        code = (getattr(schema.BuiltinOperator, builtin), version, name if custom is not None else None)
        if code not in self.codes:
            self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.index(code)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if custom:
            operator.customOptions = np.frombuffer(custom, np.uint8)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.operators.append(operator)

    def conv(self, x: int, channels: int, kernel: int = 3, stride: int = 1, activation: int = 1) -> int:
        """Add CONV_2D with SAME padding."""
        n, h, w, c = self.shapes[x]
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.fusedActivationFunction = activation
        inputs = (x, self.weights((channels, kernel, kernel, c), channels), self.bias(channels))
        return self.operator("CONV_2D", inputs, (n, -(-h // stride), -(-w // stride), channels), options)

    def depthwise(self, x: int, kernel: int = 3, stride: int = 1, multiplier: int = 1) -> int:
        """Add DEPTHWISE_CONV_2D with SAME padding."""
        n, h, w, c = self.shapes[x]
        channels = c * multiplier
        options = schema.DepthwiseConv2DOptionsT()
        options.strideH = options.strideW = stride
        options.depthMultiplier = multiplier
        inputs = (x, self.weights((1, kernel, kernel, channels), channels, axis=3), self.bias(channels))
        return self.operator("DEPTHWISE_CONV_2D", inputs, (n, -(-h // stride), -(-w // stride), channels), options)

    def transpose_conv(self, x: int, channels: int, kernel: int = 2, stride: int = 2) -> int:
        """Add TRANSPOSE_CONV with SAME padding."""
        n, h, w, c = self.shapes[x]
        options = schema.TransposeConvOptionsT()
        options.strideH = options.strideW = stride
        shape = (n, h * stride, w * stride, channels)
        inputs = (self.integers(shape), self.weights((channels, kernel, kernel, c), channels), x, self.bias(channels))
        return self.operator("TRANSPOSE_CONV", inputs, shape, options, version=3)

    def pool(self, x: int, size: int = 2, kind: str = "AVERAGE_POOL_2D") -> int:
        """Add a pooling over size x size with the same stride."""
        n, h, w, c = self.shapes[x]
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideH = options.strideW = options.filterHeight = options.filterWidth = size
        return self.operator(kind, (x,), (n, h // size, w // size, c), options, version=2)

    def binary(self, name: str, a: int, b: int) -> int:
        """Add ADD, SUB or MUL; b may broadcast."""
        options = getattr(schema, f"{name.title()}OptionsT")()
        return self.operator(name, (a, b), self.shapes[a], options, version=2)

    def concat(self, *xs: int) -> int:
        """Add a CONCATENATION over channels."""
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        n, h, w, _ = self.shapes[xs[0]]
        return self.operator("CONCATENATION", xs, (n, h, w, sum(self.shapes[x][3] for x in xs)), options, version=2)

    def mean(self, x: int, *, keep_dims: bool = False) -> int:
        """Add a MEAN over height and width."""
        n, _, _, c = self.shapes[x]
        options = schema.ReducerOptionsT()
        options.keepDims = keep_dims
        return self.operator(
            "MEAN", (x, self.integers([1, 2])), (n, 1, 1, c) if keep_dims else (n, c), options, version=2
        )

    def pad(self, x: int, by: int = 1) -> int:
        """Add a PAD of height and width."""
        n, h, w, c = self.shapes[x]
        pads = self.integers([[0, 0], [by, by], [by, by], [0, 0]])
        return self.operator("PAD", (x, pads), (n, h + 2 * by, w + 2 * by, c), schema.PadOptionsT(), version=2)

    def dense(self, x: int, channels: int) -> int:
        """Add FULLY_CONNECTED on the flattened input."""
        inner = prod(self.shapes[x][1:])
        inputs = (x, self.weights((channels, inner)), self.bias_of_dense(channels))
        return self.operator("FULLY_CONNECTED", inputs, (1, channels), schema.FullyConnectedOptionsT(), version=4)

    def bias_of_dense(self, channels: int) -> int:
        """Add a bias with one scale."""
        kind = "float32" if self.dtype == "float32" else "int32"
        index = self.tensor((channels,), kind, np.zeros(channels, kind), 1)
        if self.dtype != "float32":
            self.tensors[index].quantization.scale = [0.05 * 0.05]
        return index

    def unary(self, name: str, x: int) -> int:
        """Add an operator of one input and no options (RELU6, LOGISTIC, HARD_SWISH, TANH)."""
        return self.operator(name, (x,), self.shapes[x])

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        """Add a RESHAPE."""
        return self.operator("RESHAPE", (x, self.integers(shape)), shape, schema.ReshapeOptionsT())

    def softmax(self, x: int) -> int:
        """Add a SOFTMAX; its output is quantized as the format demands."""
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        y = self.operator("SOFTMAX", (x,), self.shapes[x], options, version=2)
        if self.dtype == "int8":
            self.tensors[y].quantization.scale = [1 / 256]
            self.tensors[y].quantization.zeroPoint = [-128]
        return y

    def file(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Return the bytes of the file."""
        model, subgraph = schema.ModelT(), schema.SubGraphT()
        model.version = 3
        model.buffers = self.buffers
        for builtin, version, custom in self.codes:
            code = schema.OperatorCodeT()
            code.customCode = custom
            code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
            model.operatorCodes = [*(model.operatorCodes or []), code]
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = list(inputs), list(outputs)
        model.subgraphs = [subgraph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
