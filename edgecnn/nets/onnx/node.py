"""One operator of an ONNX graph as its reader sees it: attributes, constants and the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

#: What an operator becomes: functions or modules of torch, of which the first takes its inputs and each other one
#: what the one before gave.
Built: TypeAlias = "Callable[..., Any] | Sequence[Callable[..., Any]]"


class UnreadableError(Exception):
    """An operator that torch has no counterpart of, or not with these attributes; the text says what of it."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its values where they are constant, else its shape and type alone (on `meta`)."""

    name: str
    tensor: torch.Tensor
    is_constant: bool


@dataclass
class Node:
    """One operator.

    A reader looks at some inputs itself, a constant shape for example: these are `taken`. What it returns is called
    with all others that are there, in their order.
    """

    kind: str
    name: str
    opset: int
    inputs: Sequence[Value | None]
    attributes: Mapping[str, Any]
    outputs: Sequence[str] = ()
    taken: set[int] = field(default_factory=set)

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute, as text where it is one."""
        value = self.attributes.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def has(self, index: int) -> bool:
        """Whether input *index* is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """Return input *index*.

        Raises:
            UnreadableError: it is not there.
        """
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise UnreadableError(f"has no input {index}")
        return value

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Return the shape of input *index* for a batch of 1."""
        return tuple(self.value(index).tensor.shape)

    def is_constant(self, index: int) -> bool:
        """Whether input *index* is there and known before the network runs."""
        return self.has(index) and self.value(index).is_constant

    def take(self, index: int) -> None:
        """Leave input *index* out of the call."""
        self.taken.add(index)

    def constant(self, index: int) -> torch.Tensor:
        """Return the values of input *index*, and take it.

        Raises:
            UnreadableError: they depend on the input of the network.
        """
        value = self.value(index)
        if not value.is_constant:
            raise UnreadableError(f"computes its input '{value.name}' from the values of the network's input")
        self.take(index)
        return value.tensor

    def optional(self, index: int) -> torch.Tensor | None:
        """Return the values of input *index*, and take it; None where it is not there."""
        return self.constant(index) if self.has(index) else None

    def numbers(self, index: int, attribute: str | None = None) -> list[Any] | None:
        """Return the numbers of input *index*, or of the *attribute* that older opsets have in its place; else None."""
        if self.has(index):
            found = self.constant(index).flatten().tolist()
            return found if found or attribute is None else None
        given = None if attribute is None else self.attributes.get(attribute)
        return None if given is None else [given] if isinstance(given, (int, float)) else list(given)

    def axis(self, default: int = 0, name: str = "axis") -> int:
        """Return the attribute *axis*, counted from the first axis of input 0.

        Raises:
            UnreadableError: input 0 has no such axis.
        """
        return self.from_first(int(self.attribute(name, default)))

    def from_first(self, axis: int) -> int:
        """Return *axis* of input 0 counted from the first one, likewise."""
        rank = max(len(self.shape()), 1)
        if not -rank <= axis < rank:
            raise UnreadableError(f"has the axis {axis}, its input {rank} axes")
        return axis % rank
