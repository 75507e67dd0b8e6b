"""Rewrite what TFLite Micro does not take."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecnn.export.tflite_model import TFLiteModel

_MOST_INPUTS = 10  # of CONCATENATION (kMaxInputNum, concatenation.cc)


def suit_micro(content: bytes) -> bytes:
    """Return the file *content* with each CONCATENATION of more than 10 inputs as several."""
    model = TFLiteModel.read(content)

    def split(operator: Any) -> list[Any]:
        if model.kind(operator) != "CONCATENATION":
            return [operator]
        inputs = [int(index) for index in operator.inputs]
        made: list[Any] = []
        while len(inputs) > _MOST_INPUTS:
            part, inputs = inputs[:_MOST_INPUTS], inputs[_MOST_INPUTS:]
            joined = _joined(model, part, operator, len(made))
            made.append(model.operator("CONCATENATION", part, [joined], operator.builtinOptions))
            made[-1].opcodeIndex = operator.opcodeIndex
            inputs.insert(0, joined)
        operator.inputs = np.asarray(inputs, np.int32)
        return [*made, operator]

    if not any(model.kind(one) == "CONCATENATION" and len(one.inputs) > _MOST_INPUTS for one in model.operators):
        return content
    model.rewrite(split)
    return model.to_bytes()


def _joined(model: TFLiteModel, part: list[int], operator: Any, number: int) -> int:
    """Return a new tensor for *part* of the inputs of a CONCATENATION, quantized as its output."""
    output = int(operator.outputs[0])
    axis = operator.builtinOptions.axis % len(model.shape(output))
    shape = list(model.shape(output))
    shape[axis] = sum(model.shape(index)[axis] for index in part)
    name = f"{model.name(output)}_part{number}"
    return model.add_tensor(name, shape, model.dtype(output), model.quantization(output))
