"""A TFLite file as a `Program`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import require
from edgecnn.export.int8.linear import Geometry, LinearLayer
from edgecnn.export.int8.program import Array, Kernel, Step, TensorId
from edgecnn.export.tflite_model import load_tflite, pack_tflite
from edgecnn.runtimes.litert import every_tensor, open_content

#: TFLite's number of a tensor type → numpy's name; types that are not here are left alone.
_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
#: Operator → the axes that bring its stored weights to [O, I / groups, kh, kw].
_ORDERS = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (0, 1)}
#: The limits that an activation clips to, as an operator of its own and as an option of another.
_ACTIVATIONS = {"RELU": (0.0, math.inf), "RELU6": (0.0, 6.0), "RELU_0_TO_1": (0.0, 1.0)}
_FUSED = {0: (-math.inf, math.inf), 1: (0.0, math.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
_SAME = 0  # the padding that keeps the size, halved by the stride


class TfliteProgram:
    """A TFLite file with one network."""

    def __init__(self, content: bytes, layout: str = "NHWC") -> None:
        """Open the file *content* whose input has the *layout* `NHWC`, `NCHW` or `NC`."""
        self._schema = require("ai_edge_litert.schema_py_generated", "torch")
        self._model = load_tflite(content)
        self._graph = self._model.subgraphs[0]
        self._layout = layout
        kinds = {number: name for name, number in vars(self._schema.BuiltinOperator).items() if name.isupper()}
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in self._model.operatorCodes]
        self._kinds = [kinds.get(codes[op.opcodeIndex], "CUSTOM") for op in self._graph.operators]
        self._separate_biases()
        self.steps = tuple(
            Step(kind, tuple(_present(op.inputs)), tuple(_present(op.outputs)))
            for kind, op in zip(self._kinds, self._graph.operators, strict=True)
        )
        self.inputs: tuple[TensorId, ...] = tuple(_present(self._graph.inputs))
        self.outputs: tuple[TensorId, ...] = tuple(_present(self._graph.outputs))
        self._readers = Counter(tensor for step in self.steps for tensor in step.inputs)
        self._sharing = Counter(tensor.buffer for tensor in self._graph.tensors)

    def _separate_biases(self) -> None:
        """Give each layer a bias tensor of its own: converters let several layers read one."""
        seen: set[int] = set()
        for kind, op in zip(self._kinds, self._graph.operators, strict=True):
            if kind not in _ORDERS or len(op.inputs) < 3 or op.inputs[2] < 0:
                continue
            bias = int(op.inputs[2])
            if bias in seen:
                own = copy(self._graph.tensors[bias])
                own.name = own.name + b"/%d" % len(self._graph.tensors)  # the quantizer tells tensors by their names
                self._graph.tensors.append(own)
                op.inputs = np.array(op.inputs, np.int32)
                op.inputs[2] = len(self._graph.tensors) - 1
            seen.add(bias)

    def constant(self, tensor: TensorId) -> Array | None:
        """Return what a constant holds; None for an activation."""
        stored = self._tensor(tensor)
        data = self._model.buffers[stored.buffer].data
        if data is None or not len(data):
            return None
        if stored.type not in _TYPES:
            return np.asarray(data, np.uint8)
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _TYPES[stored.type])
        return values.reshape(_shape(stored))

    def set_constant(self, tensor: TensorId, values: Array) -> None:
        """Give a constant other *values* of the same shape and type."""
        stored = self._tensor(tensor)
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        if self._sharing[stored.buffer] > 1:
            self._sharing[stored.buffer] -= 1
            self._model.buffers.append(self._schema.BufferT())
            stored.buffer = len(self._model.buffers) - 1
            self._sharing[stored.buffer] = 1
        self._model.buffers[stored.buffer].data = data

    def kernel(self, step: int) -> Kernel:
        """Return what runs one operator in LiteRT, from the arrays of its activations, in order."""
        return open_content(self._alone(step))

    def linear(self, step: int) -> LinearLayer | None:
        """Return the convolution or linear layer at *step*; None for others, and where its weights are no constant."""
        kind, op = self._kinds[step], self._graph.operators[step]
        if kind not in _ORDERS:
            return None
        image, weights = (int(index) for index in op.inputs[:2])
        bias = int(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
        values = self.constant(weights)
        if values is None or self._tensor(weights).type not in (0, 9) or self._readers[weights] > 1:
            return None
        channels = values.shape[_ORDERS[kind][0]]
        return LinearLayer(
            step,
            image,
            int(op.outputs[0]),
            weights,
            bias,
            _ORDERS[kind],
            self._geometry(kind, op, values.shape),
            self._scale(weights, channels),
            None if bias is None else self._scale(bias, channels),
        )

    def activation(self, step: int) -> tuple[float, float] | None:
        """Return the limits that an operator clips its output to: (0, 6) for ReLU6; None for another activation."""
        if self._kinds[step] in _ACTIVATIONS:
            return _ACTIVATIONS[self._kinds[step]]
        options = self._graph.operators[step].builtinOptions
        return _FUSED.get(getattr(options, "fusedActivationFunction", 0))

    def observer(self, tensors: Sequence[TensorId]) -> Callable[[Array], list[Array]]:
        """Return what runs the whole network on one sample [1, C, H, W] and gives the values of *tensors*."""
        run = every_tensor(self.pack())

        def observe(x: Array) -> list[Array]:
            read = run([self.enter(x)])
            return [read(int(tensor)) for tensor in tensors]

        return observe

    def real(self, tensor: TensorId, stored: Array) -> npt.NDArray[np.float32]:
        """Return the real numbers that the *stored* values of an activation stand for."""
        quantization = self._tensor(tensor).quantization
        if stored.dtype.kind not in "iu" or quantization is None or quantization.scale is None:
            return stored.astype(np.float32, copy=False)
        scale, zero_point = np.float32(quantization.scale[0]), int(quantization.zeroPoint[0])
        return (stored.astype(np.float32) - np.float32(zero_point)) * scale

    def enter(self, x: Array) -> Array:
        """Return one sample [1, C, H, W] (or [1, C]) as the input takes it."""
        if self._layout == "NHWC":
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        stored = self._tensor(self.inputs[0])
        if stored.type == 0:
            return x
        scale, zero_point = np.float32(stored.quantization.scale[0]), int(stored.quantization.zeroPoint[0])
        limits = np.iinfo(_TYPES[stored.type])
        entered: Array = np.clip(np.rint(x / scale) + zero_point, limits.min, limits.max).astype(limits.dtype)
        return entered

    def pack(self) -> bytes:
        """Return the file."""
        return pack_tflite(self._model)

    def _tensor(self, tensor: TensorId) -> Any:
        assert isinstance(tensor, int)
        return self._graph.tensors[tensor]

    def _scale(self, tensor: int, channels: int) -> npt.NDArray[np.float64] | None:
        quantization = self._tensor(tensor).quantization
        if quantization is None or quantization.scale is None or not len(quantization.scale):
            return None
        return np.broadcast_to(np.asarray(quantization.scale, np.float64), (channels,))

    def _geometry(self, kind: str, op: Any, weights: Sequence[int]) -> Geometry:
        options = op.builtinOptions
        if kind == "FULLY_CONNECTED":
            return Geometry(is_flat=True)
        image = _shape(self._tensor(int(op.inputs[0])))
        stride = options.strideH, options.strideW
        dilation = options.dilationHFactor, options.dilationWFactor
        pads = [0, 0, 0, 0]
        for axis in (0, 1) if options.padding == _SAME else ():
            reach = (weights[1 + axis] - 1) * dilation[axis] + 1
            total = max((-(-image[1 + axis] // stride[axis]) - 1) * stride[axis] + reach - image[1 + axis], 0)
            pads[2 - 2 * axis], pads[3 - 2 * axis] = total // 2, total - total // 2
        groups = image[3] if kind == "DEPTHWISE_CONV_2D" else image[3] // weights[3]
        return Geometry(stride, dilation, (pads[0], pads[1], pads[2], pads[3]), groups, channels_last=True)

    def _alone(self, step: int) -> bytes:
        """Return a file of one operator, whose inputs are its activations."""
        schema, op = self._schema, copy(self._graph.operators[step])
        named = list(dict.fromkeys(_present([*op.inputs, *op.outputs])))
        place = {tensor: index for index, tensor in enumerate(named)} | {-1: -1}
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version = self._model.version
        model.operatorCodes = [self._model.operatorCodes[op.opcodeIndex]]
        model.buffers, graph.tensors = [schema.BufferT()], []
        for tensor in named:
            alone = copy(self._graph.tensors[tensor])
            buffer = self._model.buffers[alone.buffer]
            has_data = buffer.data is not None and len(buffer.data) > 0
            alone.buffer = len(model.buffers) if has_data else 0
            model.buffers += [buffer] if has_data else []
            graph.tensors.append(alone)
        op.inputs, op.outputs = ([place[int(t)] for t in tensors] for tensors in (op.inputs, op.outputs))
        op.opcodeIndex = 0
        graph.operators, graph.name = [op], b"main"
        given = [t for t in self.steps[step].inputs if self.constant(t) is None]
        graph.inputs = [place[int(tensor)] for tensor in dict.fromkeys(given)]
        graph.outputs = op.outputs
        model.subgraphs = [graph]
        return pack_tflite(model)


def _present(tensors: Sequence[int]) -> list[int]:
    return [int(tensor) for tensor in tensors if tensor >= 0]


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.shape) if tensor.shape is not None else ()


__all__ = ["TfliteProgram"]
