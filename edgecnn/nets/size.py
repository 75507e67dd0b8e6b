"""How large a network is and what it computes, without drawing its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from edgecnn.errors import EdgecnnError, format_error
from edgecnn.nets.network import build
from edgecnn.nets.operations import OperationCount, count_operations


class UnsuitableInputError(EdgecnnError):
    """A network does not take inputs of the shape that it was to be run on."""


@dataclass(frozen=True)
class ModelSize:
    """The counts of one network."""

    params: int  # trainable ones, those without effect included
    convolution_weights: int  # without biases
    linear_weights: int  # likewise
    weights_bytes: int  # of all parameters and statistics in float32
    operations: OperationCount  # of one input


def size_of(model: str, classes: int, shape: tuple[int, ...]) -> ModelSize:
    """Return the counts of *model* for so many *classes* and inputs of *shape*, (C, H, W).

    Raises:
        EdgecnnError: unknown network.
        UnsuitableInputError: it does not take such inputs.

    Example:
        >>> size_of("edgecnn:resnet101-v13", 10, (3, 32, 32)).params
        150715
    """
    with torch.device("meta"):
        module = build(model, classes=classes, channels=shape[0]).module
    tensors = (*module.parameters(), *module.buffers())
    layers = list(module.modules())
    # Memory that nobody fills: the values count for nothing, and a run on the meta device takes longer.
    try:
        operations = count_operations(module.to_empty(device="cpu"), shape)[""]
    except Exception as error:
        # Layers that are too large for their input fail in torch's own ways.
        raise UnsuitableInputError(
            f"{model} does not take inputs of shape {list(shape)}: {format_error(error)}"
        ) from error
    return ModelSize(
        sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
        sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Conv2d)),
        sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Linear)),
        sum(tensor.numel() * 4 for tensor in tensors if tensor.is_floating_point()),
        operations,
    )
