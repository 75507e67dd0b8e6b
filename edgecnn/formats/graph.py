"""What a `.tflite` or `.onnx` file says, as plain data: tensors, operators in execution order, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from edgecnn.short_repr import short_repr

_FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})
_ACTIVATIONS = frozenset({"Clip", "Relu"})
_ONNX_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
#: What reads a graph takes for given that these have an input and an output.
_UNARY = frozenset({*_ACTIVATIONS, *_ONNX_CONVERSIONS, "QUANTIZE", "DEQUANTIZE", "Cast", "CAST"})
#: Operators that give the same numbers another shape or place: they compute nothing.
_MOVES = frozenset(
    [
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        "CONCATENATION",
        "EXPAND_DIMS",
        "GATHER",
        "PACK",
        "PAD",
        "RESHAPE",
        "SLICE",
        "SPLIT",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TRANSPOSE",
        "UNPACK",
    ]
)
#: What onnxruntime's CPU provider computes in integers between DequantizeLinear and QuantizeLinear (as its optimized
#: graphs show, onnxruntime 1.31); everything else it computes in float there.
_INTEGER_KERNELS = frozenset(
    [
        "Add",
        "ArgMax",
        "AveragePool",
        "Clip",
        "Conv",
        "ConvTranspose",
        "Gemm",
        "GlobalAveragePool",
        "LeakyRelu",
        "MatMul",
        "MaxPool",
        "Mul",
        "Relu",
        "Resize",
        "Sigmoid",
        "Softmax",
        "Where",
    ]
)


@dataclass(frozen=True)
class QuantParams:
    """real = scale * (stored - zero_point); one entry for `per_tensor`, one a channel of *axis* for `per_channel`."""

    __repr__ = short_repr

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    def dequantize(self, stored: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return the real values of a `per_tensor` array, same shape."""
        return ((stored.astype(np.float32) - self.zero_point[0]) * np.float32(self.scale[0])).astype(np.float32)

    def quantize(self, real: npt.NDArray[np.floating], dtype: str) -> npt.NDArray[np.integer]:
        """Return *real* rounded to the nearest step (half to even) and clipped to *dtype*, same shape.

        Args:
            real: any shape.
            dtype: `int8`, `uint8`, `int16` or `int32`.
        """
        limits = np.iinfo(dtype)
        stored = np.rint(real / np.float32(self.scale[0])) + self.zero_point[0]
        clipped: npt.NDArray[np.integer] = np.clip(stored, limits.min, limits.max).astype(dtype)
        return clipped


#: A tensor of more is damage: no runtime on an edge device takes it.
_MOST_ELEMENTS = 2**31 - 1
_MOST_DIMENSIONS = 16


def checked_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return *shape*.

    Args:
        name: of the tensor, for the message.
        shape: as the file has it.

    Raises:
        ValueError: it has a negative size, more than 16 dimensions, or more than 2^31 - 1 elements.
    """
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"tensor {name[:60]!r} has {len(shape)} dimensions, more than {_MOST_DIMENSIONS}")
    if any(size < 0 for size in shape):
        raise ValueError(f"tensor {name[:60]!r} has the shape {list(shape)}, with a negative size")
    if prod(shape) > _MOST_ELEMENTS:
        raise ValueError(f"tensor {name[:60]!r} has the shape {list(shape)}, more than {_MOST_ELEMENTS} elements")
    return shape


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: name, shape with the batch first, numpy dtype name (`int4` too), quantization if any."""

    __repr__ = short_repr

    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: QuantParams | None = None


@dataclass(frozen=True)
class Tensor(TensorSpec):
    """One tensor of a graph."""

    __repr__ = short_repr

    constant: bool = False  # its data is in the file (weights)
    variable: bool = False  # it keeps its value between two runs
    size_bytes: int = 0  # of its data at run time; for a constant, of its data in the file


@dataclass(frozen=True)
class Operator:
    """One operator: its kind as the format names it (`CONV_2D`, `Conv`), and indices into `Graph.tensors`."""

    __repr__ = short_repr

    kind: str
    inputs: tuple[int, ...]  # -1: an optional input that is left out
    outputs: tuple[int, ...]
    macs: int = 0  # multiply-adds of one run, batch of the file; 0 where the operator has none
    options: Mapping[str, int] = field(default_factory=dict)  # stride_h, dilation_w, depth_multiplier, ...
    name: str = ""

    def __post_init__(self) -> None:
        if self.kind in _UNARY and (min(self.inputs[:1], default=-1) < 0 or not self.outputs):
            raise ValueError(f"an operator {self.kind} lacks its input or its output")


@dataclass(frozen=True)
class Graph:
    """A whole file; a batch dimension left open counts as 1.

    Example:
        >>> graph = edgecnn.read_graph("classifier.tflite")
        >>> [operator.kind for operator in graph.operators]
        ['DEPTHWISE_CONV_2D', 'TRANSPOSE', 'MEAN', 'FULLY_CONNECTED']
    """

    __repr__ = short_repr

    format: str  # "tflite" or "onnx"
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    size_bytes: int  # of all its files
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    data_files: tuple[str, ...] = ()  # files with weights that belong to it: paths that start from its own folder
    #: The other subgraphs of a `.tflite` file: of its other signatures, or called once before the first run.
    further: tuple[Graph, ...] = ()

    @property
    def input_specs(self) -> tuple[Tensor, ...]:
        """The input tensors, in order."""
        return tuple(self.tensors[index] for index in self.inputs)

    @property
    def output_specs(self) -> tuple[Tensor, ...]:
        """The output tensors, in order."""
        return tuple(self.tensors[index] for index in self.outputs)

    @property
    def macs(self) -> int:
        """Multiply-adds of one run."""
        return sum(operator.macs for operator in self.operators)

    @property
    def weights_bytes(self) -> int:
        """Bytes of all constant tensors, as stored in the file."""
        return sum(tensor.size_bytes for tensor in self.tensors if tensor.constant)

    @property
    def params(self) -> int:
        """Elements of the weights and biases; shapes, axes, scales and zero points do not count."""
        used: set[int] = set()
        for operator in self.operators:
            # Everything but the first input of these is a scale or a zero point.
            inputs = operator.inputs[:1] if operator.kind in _ONNX_CONVERSIONS else operator.inputs
            used.update(index for index in inputs if index >= 0 and self.tensors[index].constant)
        return sum(prod(self.tensors[index].shape) for index in used if self._is_weight(self.tensors[index]))

    def _is_weight(self, tensor: Tensor) -> bool:
        if tensor.dtype == "int64" or not tensor.shape:
            return False
        # A TFLite file quantizes its int32 biases; int32 without a scale is a shape or an axis.
        return tensor.dtype != "int32" or self.format != "tflite" or tensor.quant is not None

    def float_operators(self) -> tuple[tuple[str, str], ...]:
        """Return (kind, name of the output) of every operator that computes in float.

        Not counted are the conversions at the ends of the graph, what only moves numbers, and in a QDQ ONNX file
        every operator between DequantizeLinear and QuantizeLinear that onnxruntime has an integer kernel for.
        """
        integer = self._between_conversions() if self.format == "onnx" else frozenset()
        return tuple(
            (operator.kind, self.tensors[operator.outputs[0]].name)
            for step, operator in enumerate(self.operators)
            if step not in integer and operator.outputs and self._touches_float(operator)
        )

    def _touches_float(self, operator: Operator) -> bool:
        if operator.kind in _ONNX_CONVERSIONS | _MOVES:
            return False
        if (operator.kind == "QUANTIZE" and set(operator.inputs) <= set(self.inputs)) or (
            operator.kind == "DEQUANTIZE" and set(operator.outputs) <= set(self.outputs)
        ):
            return False
        moving = [i for i in (*operator.inputs, *operator.outputs) if i >= 0 and not self.tensors[i].constant]
        return any(self.tensors[index].dtype in _FLOATS for index in moving)

    def _between_conversions(self) -> frozenset[int]:
        """Return the operators whose inputs all come from DequantizeLinear and whose outputs go to QuantizeLinear.

        An activation in between belongs to the operator before it (Conv, Relu: one integer kernel).
        """
        producer = {index: step for step, operator in enumerate(self.operators) for index in operator.outputs}
        readers: dict[int, list[Operator]] = {}
        for operator in self.operators:
            for index in operator.inputs:
                readers.setdefault(index, []).append(operator)

        def from_integer(index: int) -> bool:
            if index < 0 or self.tensors[index].constant or self.tensors[index].dtype not in _FLOATS:
                return True
            return index in producer and self.operators[producer[index]].kind == "DequantizeLinear"

        @cache
        def to_integer(index: int) -> bool:
            after = readers.get(index, [])
            if len(after) == 1 and after[0].kind in _ACTIVATIONS:
                after = readers.get(after[0].outputs[0], [])
            return {operator.kind for operator in after} == {"QuantizeLinear"}

        found: set[int] = set()
        for step, operator in enumerate(self.operators):
            if operator.kind not in _INTEGER_KERNELS:
                continue
            fused = operator.kind in _ACTIVATIONS and producer.get(operator.inputs[0]) in found
            if (fused or all(map(from_integer, operator.inputs))) and all(map(to_integer, operator.outputs)):
                found.add(step)
        return frozenset(found)

    @cached_property
    def lifetimes(self) -> tuple[tuple[int, int] | None, ...]:
        """For each tensor the first and last operator index that needs its memory; None: never (constants, unused).

        An input lives from the first operator on, an output until the last one.
        """
        first: dict[int, int] = dict.fromkeys(self.inputs, 0)
        last: dict[int, int] = {}
        for step, operator in enumerate(self.operators):
            for index in operator.outputs:
                first.setdefault(index, step)
                last[index] = max(last.get(index, step), step)
            for index in operator.inputs:
                if index >= 0:
                    last[index] = step
        for index in self.outputs:
            last[index] = max(len(self.operators) - 1, 0)
        return tuple(
            None
            if tensor.constant or index not in first
            else (first[index], max(first[index], last.get(index, first[index])))
            for index, tensor in enumerate(self.tensors)
        )
