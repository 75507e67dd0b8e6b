"""An ONNX file, in float or with QuantizeLinear and DequantizeLinear (QDQ), as a `Program`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import require
from edgecnn.export.int8.linear import Geometry, LinearLayer
from edgecnn.export.int8.program import Array, Kernel, Step, TensorId
from edgecnn.runtimes.onnxruntime import open_content

_DEQUANTIZE = "DequantizeLinear"
#: Activations that are no straight line for positive numbers.
_BENT = frozenset({"Sigmoid", "Tanh", "Elu", "Selu", "Celu", "Softplus", "HardSigmoid", "HardSwish", "Gelu", "Mish"})


class OnnxProgram:
    """An ONNX model with one network; each node is computed as it stands, QDQ nodes in float between their ends."""

    def __init__(self, model: Any) -> None:
        """Open an onnx `ModelProto`, which is changed in place."""
        self._onnx: Any = require("onnx", "torch")
        self.model = model
        graph = model.graph
        self._constants: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self._nodes = []
        for node in graph.node:
            if node.op_type == "Constant":
                value = self._onnx.helper.get_attribute_value(node.attribute[0])
                if not isinstance(value, self._onnx.TensorProto):
                    value = self._onnx.numpy_helper.from_array(np.asarray(value))
                self._constants[node.output[0]] = value
            else:
                self._nodes.append(node)
        self._arrays: dict[str, Array] = {}
        self.steps = tuple(
            Step(node.op_type, tuple(filter(None, node.input)), tuple(filter(None, node.output)))
            for node in self._nodes
        )
        self.inputs: tuple[TensorId, ...] = tuple(v.name for v in graph.input if v.name not in self._constants)
        self.outputs: tuple[TensorId, ...] = tuple(value.name for value in graph.output)
        self._makers = {out: step for step, op in enumerate(self.steps) for out in op.outputs}
        self._readers = Counter(tensor for step in self.steps for tensor in step.inputs)

    def constant(self, tensor: TensorId) -> Array | None:
        """Return what a constant holds; None for an activation."""
        name = str(tensor)
        if name not in self._constants:
            return None
        if name not in self._arrays:
            self._arrays[name] = self._onnx.numpy_helper.to_array(self._constants[name])
        return self._arrays[name]

    def set_constant(self, tensor: TensorId, values: Array) -> None:
        """Give a constant other *values* of the same shape and type."""
        name = str(tensor)
        self._constants[name].CopyFrom(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        self._arrays.pop(name, None)

    def kernel(self, step: int) -> Kernel:
        """Return what runs one node in onnxruntime, from its activations, each given once, in order."""
        operator = self.steps[step]
        given = [str(tensor) for tensor in dict.fromkeys(operator.inputs) if str(tensor) not in self._constants]
        run: Any = None

        def kernel(arrays: Sequence[Array]) -> list[Array]:
            nonlocal run
            if run is None:
                run = open_content(self._alone(step, given, arrays), optimize=False)
            return run(dict(zip(given, arrays, strict=True)))  # type: ignore[no-any-return]

        return kernel

    def linear(self, step: int) -> LinearLayer | None:
        """Return the convolution or linear layer at *step*; None for others, and where its weights are no constant."""
        node = self._nodes[step]
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            return None
        attributes = {a.name: self._onnx.helper.get_attribute_value(a) for a in node.attribute}
        weights, weight_scale = self._source(node.input[1])
        bias, bias_scale = self._source(node.input[2]) if len(node.input) > 2 else (None, None)
        values = None if weights is None else self.constant(weights)
        if values is None or values.dtype not in (np.float32, np.int8):
            return None
        found = _form(node.op_type, attributes, values)
        if found is None:
            return None
        order, geometry = found
        channels = values.shape[order[0]]
        return LinearLayer(
            step,
            node.input[0],
            node.output[0],
            weights,
            bias,
            order,
            geometry,
            None if weight_scale is None else np.broadcast_to(weight_scale, (channels,)),
            None if bias_scale is None else np.broadcast_to(bias_scale, (channels,)),
        )

    def _source(self, tensor: str) -> tuple[str | None, npt.NDArray[np.float64] | None]:
        """Return the constant that *tensor* is or is dequantized from, and its scale; None where several nodes read it.

        A float layer has no scale.
        """
        if self._readers[tensor] > 1:
            return None, None
        if tensor in self._constants:
            return tensor, None
        node = self._nodes[self._makers[tensor]] if tensor in self._makers else None
        if node is None or node.op_type != _DEQUANTIZE or self._readers[node.input[0]] > 1:
            return None, None
        scale = self.constant(node.input[1])
        zero_point = self.constant(node.input[2]) if len(node.input) > 2 else None
        if node.input[0] not in self._constants or scale is None or (zero_point is not None and np.any(zero_point)):
            return None, None
        return node.input[0], scale.astype(np.float64).reshape(-1)

    def activation(self, step: int) -> tuple[float, float] | None:
        """Return the limits that a node clips its output to: (0, 6) for ReLU6; None for another activation."""
        node = self._nodes[step]
        if node.op_type == "Relu":
            return 0.0, math.inf
        if node.op_type != "Clip":
            return (-math.inf, math.inf) if node.op_type not in _BENT else None
        ends = [self.constant(name) if name else None for name in [*node.input[1:], "", ""][:2]]
        low, high = (
            default if end is None else float(end) for end, default in zip(ends, (-math.inf, math.inf), strict=True)
        )
        return low, high

    def observer(self, tensors: Sequence[TensorId]) -> Callable[[Array], list[Array]]:
        """Return what runs the whole network on one sample and gives the values of *tensors*."""
        model = self._onnx.ModelProto()
        model.CopyFrom(self.model)
        known = {value.name for value in model.graph.output}
        extra = [name for name in dict.fromkeys(map(str, tensors)) if name not in known]
        model.graph.output.extend(self._onnx.helper.make_empty_tensor_value_info(name) for name in extra)
        run = open_content(model.SerializeToString())
        order = [*(value.name for value in self.model.graph.output), *extra]

        def observe(x: Array) -> list[Array]:
            values = dict(zip(order, run({str(self.inputs[0]): self.enter(x)}), strict=True))
            return [values[str(tensor)] for tensor in tensors]

        return observe

    def real(self, tensor: TensorId, stored: Array) -> npt.NDArray[np.float32]:
        """Return the real numbers of an activation: between the conversions, those of a QDQ file are float already."""
        return stored.astype(np.float32, copy=False)

    def enter(self, x: Array) -> Array:
        """Return one sample as the input takes it: as it is."""
        return x

    def pack(self) -> bytes:
        """Return the file."""
        return bytes(self.model.SerializeToString())

    def _alone(self, step: int, given: Sequence[str], arrays: Sequence[Array]) -> bytes:
        """Return a file of one node, whose inputs are its activations, of the types and shapes of *arrays*."""
        node, helper = self._nodes[step], self._onnx.helper
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(given, arrays, strict=True)
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = helper.make_graph([node], "node", inputs, outputs)
        for name in dict.fromkeys(node.input):
            if name in self._constants:
                tensor = graph.initializer.add()
                tensor.CopyFrom(self._constants[name])
                tensor.name = name
        model = helper.make_model(graph, opset_imports=list(self.model.opset_import))
        model.ir_version = self.model.ir_version
        return bytes(model.SerializeToString())


def _form(kind: str, attributes: dict[str, Any], weights: Array) -> tuple[tuple[int, ...], Geometry] | None:
    """Return the axes that bring *weights* to [O, I / groups, kh, kw] and how the layer slides; None: another form."""
    if kind == "Gemm":
        if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0 or attributes.get("transA", 0):
            return None
        return ((0, 1) if attributes.get("transB", 0) else (1, 0)), Geometry(is_flat=True)
    if kind == "MatMul":
        return ((1, 0), Geometry(is_flat=True)) if weights.ndim == 2 else None
    padding = attributes.get("auto_pad", b"NOTSET")
    if weights.ndim != 4 or padding not in (b"NOTSET", b"VALID"):
        return None
    top, left, bottom, right = attributes.get("pads") or (0, 0, 0, 0)
    stride, dilation = (tuple(attributes.get(name) or (1, 1)) for name in ("strides", "dilations"))
    geometry = Geometry(
        (stride[0], stride[1]), (dilation[0], dilation[1]), (left, right, top, bottom), attributes.get("group", 1)
    )
    return (0, 1, 2, 3), geometry


__all__ = ["OnnxProgram"]
