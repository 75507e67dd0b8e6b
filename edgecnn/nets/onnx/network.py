"""A network that runs the operators of an ONNX graph one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


class Operator(nn.Module):
    """An operator without weights, as a layer: so that it has a name."""

    def __init__(self, functions: Sequence[Callable[..., Any]]) -> None:
        super().__init__()
        self.functions = tuple(functions)

    def forward(self, *x: torch.Tensor) -> Any:
        """Map what the operator takes to what it gives."""
        first, *others = self.functions
        y = first(*x)
        for function in others:
            y = function(y)
        return y


class Chain(nn.Sequential):
    """A layer with weights, and a padding before or after it."""


@dataclass(frozen=True)
class Step:
    """One layer: its name in the module, the values it takes and gives, and those that nobody reads after it."""

    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last: tuple[str, ...] = ()


class OnnxNetwork(nn.Module):
    """The layers of an ONNX graph, with images channels first, whatever the file has.

    Args:
        layers: by their names, which have dots as those of modules within modules do.
        constants: tensors that layers take beside what is computed, by the name of their value.
        steps: the layers in their order.
        inputs: the names of the network's inputs.
        outputs: the name of each output → that of its value.
        channels_last: whether the graph has its images channels last.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        constants: Mapping[str, torch.Tensor],
        steps: Sequence[Step],
        inputs: Sequence[str],
        outputs: Mapping[str, str],
        *,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        for name, layer in layers.items():
            *parts, leaf = name.split(".")
            place: nn.Module = self
            for part in parts:
                if part not in place._modules:
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.add_module(leaf, layer)
        self._constants = {value: f"constant_{number}" for number, value in enumerate(constants)}
        for value, name in self._constants.items():
            self.register_buffer(name, constants[value])
        self._steps = tuple(steps)
        self.input_names, self._outputs = tuple(inputs), dict(outputs)
        self.channels_last = channels_last
        self.takes_batches = False

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map inputs [N, ...] to outputs by name; one sample at a time where the graph has a fixed batch."""
        if self.takes_batches or len(inputs[0]) == 1:
            return self._run(inputs)
        singles = [self._run([x[index : index + 1] for x in inputs]) for index in range(len(inputs[0]))]
        return {name: torch.cat([one[name] for one in singles]) for name in singles[0]}

    def _run(self, inputs: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        values = {value: getattr(self, name) for value, name in self._constants.items()}
        for name, x in zip(self.input_names, inputs, strict=True):
            values[name] = x.permute(0, 2, 3, 1) if self.channels_last and x.ndim == 4 else x
        for step in self._steps:
            made = self.get_submodule(step.layer)(*(values[name] for name in step.inputs))
            made = made if isinstance(made, (tuple, list)) else (made,)
            values.update(zip(step.outputs, made, strict=False))
            for name in step.last:
                values.pop(name, None)
        found = {name: values[value] for name, value in self._outputs.items()}
        if self.channels_last:
            found = {name: y.permute(0, 3, 1, 2) if y.ndim == 4 else y for name, y in found.items()}
        return found

    def try_batches(self, *shapes: Sequence[int]) -> None:
        """Find out whether two samples at once give what they give one by one, on noise of these shapes.

        A graph that does not go through at all is told where it is used.
        """
        draw = torch.Generator().manual_seed(0)
        inputs = [torch.randn(2, *shape, generator=draw) for shape in shapes]
        self.takes_batches = False
        with torch.no_grad():
            try:
                expected = self(*inputs)
                given = self._run(inputs)
                self.takes_batches = all(
                    given[name].shape == y.shape and torch.allclose(given[name], y, rtol=1e-3, atol=1e-4)
                    for name, y in expected.items()
                )
            except (RuntimeError, IndexError, ValueError):
                self.takes_batches = False
