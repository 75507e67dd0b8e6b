"""One operator together with its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from edgecnn.formats import Graph, Operator, Tensor


@dataclass(frozen=True)
class Call:
    """An operator of a graph and the tensors it reads and makes; None: an optional input that is left out."""

    kind: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, int]

    @classmethod
    def of(cls, graph: Graph, operator: Operator) -> Call:
        """Return *operator* of *graph* with its tensors."""
        inputs = tuple(graph.tensors[index] if index >= 0 else None for index in operator.inputs)
        return cls(operator.kind, inputs, tuple(graph.tensors[index] for index in operator.outputs), operator.options)

    @cached_property
    def given(self) -> tuple[Tensor, ...]:
        """The inputs that are there."""
        return tuple(tensor for tensor in self.inputs if tensor is not None)

    def input(self, place: int) -> Tensor | None:
        """Return the input at *place*, None where there is none."""
        return self.inputs[place] if place < len(self.inputs) else None
