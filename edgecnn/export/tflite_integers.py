"""Give operators that the quantizer left in float the integer kernels that TFLite has for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecnn.export.tflite_model import Array, TFLiteModel

Params = tuple[float, int]  # scale and zero point
#: An operator and its float inputs → its output, to find the range of.
Values = Callable[[Any, TFLiteModel, Array], Array]


def _leaky(operator: Any, model: TFLiteModel, x: Array) -> Array:
    return np.where(x > 0, x, x * operator.builtinOptions.alpha)


@dataclass(frozen=True)
class Kernel:
    """An integer kernel: the version of the operator that has it, and what its output's scale may be."""

    version: int
    values: Values | None = None  # of one input: its range follows from that of the input; None: it is the input's
    params: Params | None = None  # the kernel's own scale and zero point
    gives: str = "INT8"


#: Operators that LiteRT and TFLite Micro compute in int8, and the quantizer (ai-edge-quantizer 0.10) does not know.
KERNELS: Mapping[str, Kernel] = {
    "ABS": Kernel(2, lambda _, __, x: np.abs(x)),
    "ARG_MAX": Kernel(2, gives="INT64"),
    "ARG_MIN": Kernel(2, gives="INT64"),
    "BATCH_TO_SPACE_ND": Kernel(2),
    "DEPTH_TO_SPACE": Kernel(2),
    "ELU": Kernel(1, lambda _, __, x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    "EXPAND_DIMS": Kernel(1),
    "L2_NORMALIZATION": Kernel(2, params=(1 / 128, 0)),
    "LEAKY_RELU": Kernel(2, _leaky),
    "LOG_SOFTMAX": Kernel(2, params=(16 / 256, 127)),
    "MINIMUM": Kernel(2),
    "REDUCE_MAX": Kernel(2),
    "RELU6": Kernel(2, lambda _, __, x: np.clip(x, 0, 6)),
    "REVERSE_V2": Kernel(3),
    "SPACE_TO_BATCH_ND": Kernel(2),
    "SPLIT_V": Kernel(2),
    "SQUEEZE": Kernel(1),
}


def compute_in_integers(content: bytes) -> bytes:
    """Return the w8a8 file *content* with int8 kernels for what stands in float between DEQUANTIZE and QUANTIZE.

    An operator of `KERNELS` whose inputs come from int8 tensors reads those. Its output has the scale that its reader
    asks for where the kernel may have any, else that of its input; a reader of another scale requantizes it.
    """
    model = TFLiteModel.read(content)
    folding = _Folding(model)
    if not any(model.kind(operator) in KERNELS for operator in model.operators):
        return content
    model.rewrite(folding.folded)
    return model.to_bytes()


@dataclass
class _Folding:
    """The float tensors known so far that stand for an int8 one."""

    model: TFLiteModel
    integer: dict[int, int] = field(default_factory=dict)  # float tensor → int8 tensor

    def folded(self, operator: Any) -> list[Any]:
        """Return what stands in the place of *operator*."""
        model, kind = self.model, self.model.kind(operator)
        if kind not in KERNELS and kind not in ("DEQUANTIZE", "QUANTIZE"):
            return [operator]
        source = int(operator.inputs[0])
        if kind == "DEQUANTIZE" and model.dtype(source) == "INT8" and model.quantization(source) is not None:
            if model.constant(source) is None:
                self.integer[int(operator.outputs[0])] = source
            return [operator]
        if kind == "QUANTIZE" and source in self.integer:
            operator.inputs = np.asarray([self.integer[source]], np.int32)
            model.set_kind(operator, "QUANTIZE", 2)
            return [operator]
        return self._in_int8(operator, KERNELS[kind]) if kind in KERNELS else [operator]

    def _in_int8(self, operator: Any, kernel: Kernel) -> list[Any]:
        model = self.model
        floats = [int(index) for index in operator.inputs if index >= 0 and model.dtype(index) == "FLOAT32"]
        moving = [index for index in floats if model.constant(index) is None]
        if not moving or any(index not in self.integer for index in moving):
            return [operator]
        params = {model.quantization(self.integer[index]) for index in moving}
        if len(params) != 1:
            return [operator]
        (given,) = params
        assert given is not None
        constants = {index: self._stored(index, given) for index in floats if index not in moving}
        places = {**{index: self.integer[index] for index in moving}, **constants}
        operator.inputs = np.asarray([places.get(int(index), index) for index in operator.inputs], np.int32)
        model.set_kind(operator, model.kind(operator), kernel.version)
        if kernel.gives != "INT8":
            return [operator]
        back = []
        outputs = []
        for output in map(int, operator.outputs):
            made = model.add_tensor(
                f"{model.name(output)}_int8", model.shape(output), "INT8", self._params(operator, kernel, given, output)
            )
            self.integer[output] = made
            outputs.append(made)
            back.append(model.operator("DEQUANTIZE", [made], [output], model.schema.DequantizeOptionsT(), 2))
        operator.outputs = np.asarray(outputs, np.int32)
        return [operator, *back]

    def _params(self, operator: Any, kernel: Kernel, given: Params, output: int) -> Params:
        """Return scale and zero point of an output of a kernel whose inputs have those *given*."""
        if kernel.params is not None or kernel.values is None:
            return kernel.params or given
        for reader in self.model.readers().get(output, ()):
            wanted = self.model.quantization(int(reader.outputs[0])) if self.model.kind(reader) == "QUANTIZE" else None
            if wanted is not None:
                return wanted
        scale, zero_point = given
        y = kernel.values(operator, self.model, scale * (np.arange(-128, 128) - zero_point))
        return covering(float(y.min()), float(y.max()))

    def _stored(self, index: int, params: Params) -> int:
        """Return an int8 constant of the float one *index*."""
        values = self.model.constant(index)
        assert values is not None
        stored = np.clip(np.rint(values / params[0]) + params[1], -128, 127).astype(np.int8)
        return self.model.add_tensor(f"{self.model.name(index)}_int8", values.shape, "INT8", params, stored)


def covering(low: float, high: float) -> Params:
    """Return scale and zero point of int8 over *low* to *high*, with 0 among the values."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-9) / 255
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))
