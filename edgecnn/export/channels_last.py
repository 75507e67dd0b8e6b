"""The network as TFLite wants it: images channels last, and tensors in a row as outputs."""

from __future__ import annotations

import torch
from torch import nn

from edgecnn.nets.outputs import named_tensors


class ChannelsLast(nn.Module):
    """A module whose 4-D inputs and outputs have their channels last: [N, H, W, C]."""

    def __init__(self, wrapped: nn.Module) -> None:
        super().__init__()
        self.wrapped = wrapped

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map inputs, channels last, to outputs, channels last."""
        outputs = self.wrapped(*(x.permute(0, 3, 1, 2) if x.ndim == 4 else x for x in inputs))
        return tuple(y.permute(0, 2, 3, 1) if y.ndim == 4 else y for _, y in named_tensors(outputs))


def channels_last(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return *inputs* in that order of axes."""
    return tuple(x.permute(0, 2, 3, 1).contiguous() if x.ndim == 4 else x for x in inputs)
