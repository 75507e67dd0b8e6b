"""What a network computes for one input: pure multiply-adds, and the total that papers count with fvcore."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class OperationCount:
    """The operations of one run on one input, by kind.

    Example:
        >>> (OperationCount(convolution_macs=10) + OperationCount(pooled_elements=4)).fvcore_flops
        14
    """

    convolution_macs: int = 0  # without biases
    linear_macs: int = 0  # likewise
    batch_norm_elements: int = 0
    pooled_elements: int = 0  # that adaptive average pooling takes in

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers."""
        return self.convolution_macs + self.linear_macs

    @property
    def fvcore_flops(self) -> int:
        """The total of `fvcore.nn.FlopCountAnalysis` 0.1.5 in evaluation mode: no FLOPs, and no MACs either.

        It counts a multiply-add as one, batch norm as two an element, and adaptive average pooling as one an input
        element; activations, sums, products, concatenations and other poolings are nothing.
        """
        return self.macs + 2 * self.batch_norm_elements + self.pooled_elements

    def __add__(self, other: OperationCount) -> OperationCount:
        return OperationCount(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )

    def __sub__(self, other: OperationCount) -> OperationCount:
        return OperationCount(
            **{field.name: getattr(self, field.name) - getattr(other, field.name) for field in fields(self)}
        )


def count_operations(module: nn.Module, shape: tuple[int, ...]) -> Mapping[str, OperationCount]:
    """Return the operations of *module* and of each module within it that runs, by name; "" is the whole.

    An operation counts where it runs, also if nothing uses its result. A network on torch's meta device is counted
    without memory for its weights.

    Args:
        module: in evaluation mode.
        shape: of one input without the batch, (C, H, W).

    Example:
        >>> count_operations(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), (3, 6, 6))["0"].macs
        3456
    """
    device = next(iter(module.parameters()), torch.empty(0)).device
    counter, found = _Counter(), dict[str, OperationCount]()
    began: dict[str, list[OperationCount]] = {}
    handles = []
    for name, part in module.named_modules():

        def enter(*_: object, name: str = name) -> None:
            began.setdefault(name, []).append(counter.total)

        def leave(*_: object, name: str = name) -> None:
            found[name] = found.get(name, OperationCount()) + (counter.total - began[name].pop())

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        with torch.no_grad(), counter:
            module(torch.zeros(1, *shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _convolution(output: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *_: Any, **__: Any) -> OperationCount:
    return OperationCount(convolution_macs=output[0, 0].numel() * weight.numel() * output.shape[0])


def _linear(output: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *_: Any, **__: Any) -> OperationCount:
    return OperationCount(linear_macs=output.numel() * weight.shape[1])


def _batch_norm(output: torch.Tensor, *_: Any, **__: Any) -> OperationCount:
    return OperationCount(batch_norm_elements=output.numel())


def _pooling(output: torch.Tensor, x: torch.Tensor, *_: Any, **__: Any) -> OperationCount:
    return OperationCount(pooled_elements=x.numel())


_COUNTED: Mapping[Any, Callable[..., OperationCount]] = {
    functional.conv1d: _convolution,
    functional.conv2d: _convolution,
    functional.linear: _linear,
    functional.batch_norm: _batch_norm,
    functional.adaptive_avg_pool2d: _pooling,
}


class _Counter(TorchFunctionMode):
    """Adds up the operations of what runs in it."""

    def __init__(self) -> None:
        super().__init__()
        self.total = OperationCount()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        count = _COUNTED.get(func)
        if count is not None:
            self.total += count(output, *args, **(kwargs or {}))
        return output
