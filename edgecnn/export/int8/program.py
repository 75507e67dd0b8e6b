"""A float or int8 network that runs operator by operator, and whose weights and biases can be exchanged on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgecnn.export.int8.linear import LinearLayer

TensorId = int | str  # the index in a TFLite file, the name in an ONNX file
Array = npt.NDArray[Any]
Kernel = Callable[[Sequence[Array]], list[Array]]


@dataclass(frozen=True)
class Step:
    """One operator: its kind as the format names it, and its tensors; left-out inputs are not among them."""

    kind: str
    inputs: tuple[TensorId, ...]
    outputs: tuple[TensorId, ...]


class Program(Protocol):
    """A file of one format, open for changes of its constants."""

    steps: tuple[Step, ...]  # in an order in which they can run
    inputs: tuple[TensorId, ...]
    outputs: tuple[TensorId, ...]

    def constant(self, tensor: TensorId) -> Array | None:
        """Return what a constant holds; None for an activation."""
        ...

    def set_constant(self, tensor: TensorId, values: Array) -> None:
        """Give a constant other *values* of the same shape and type."""
        ...

    def kernel(self, step: int) -> Kernel:
        """Return what runs one operator in the file's own runtime, from its activations, each given once, in order."""
        ...

    def linear(self, step: int) -> LinearLayer | None:
        """Return the convolution or linear layer at *step*; None for other operators, and where its weights vary."""
        ...

    def activation(self, step: int) -> tuple[float, float] | None:
        """Return the limits that an operator clips its output to: (0, 6) for ReLU6; None for another activation."""
        ...

    def observer(self, tensors: Sequence[TensorId]) -> Callable[[Array], list[Array]]:
        """Return what runs the whole network on one sample [1, C, H, W] and gives the values of *tensors*."""
        ...

    def real(self, tensor: TensorId, stored: Array) -> npt.NDArray[np.float32]:
        """Return the real numbers that the *stored* values of an activation stand for."""
        ...

    def enter(self, x: Array) -> Array:
        """Return one sample [1, C, H, W] (or [1, C]) as the first input takes it."""
        ...

    def pack(self) -> bytes:
        """Return the file."""
        ...


def linear_layers(program: Program) -> list[LinearLayer]:
    """Return the convolutions and linear layers of *program* that have constant weights, in the order they run."""
    found = (program.linear(step) for step in range(len(program.steps)))
    return [layer for layer in found if layer is not None]


@dataclass
class Execution:
    """A program on its way over a few samples: what is asked for is computed, what no operator needs any more is freed.

    An operator runs with the constants that the program has at that time.
    """

    program: Program
    samples: Sequence[Array]
    _values: dict[TensorId, list[Array]] = field(default_factory=dict)
    _ran: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._producers = {out: step for step, op in enumerate(self.program.steps) for out in op.outputs}
        self._readers = Counter(tensor for op in self.program.steps for tensor in set(op.inputs))
        self._kept = frozenset(self.program.outputs)
        self._is_fixed: dict[int, bool] = {}
        self._values[self.program.inputs[0]] = [self.program.enter(x) for x in self.samples]

    def stored(self, tensor: TensorId) -> list[Array]:
        """Return the values of an activation as its file stores them, one array a sample."""
        pending = [tensor]
        while pending:
            wanted = pending[-1]
            if wanted in self._values:
                pending.pop()
                continue
            step = self._producers[wanted]
            missing = [t for t in self._activations(step) if t not in self._values]
            if missing:
                pending += missing
                continue
            self._run(step)
        return self._values[tensor]

    def real(self, tensor: TensorId) -> list[npt.NDArray[np.float32]]:
        """Return the real numbers of an activation, one array a sample."""
        return [self.program.real(tensor, stored) for stored in self.stored(tensor)]

    def _activations(self, step: int) -> list[TensorId]:
        """Return the inputs of an operator that depend on the sample."""
        return [tensor for tensor in self.program.steps[step].inputs if not self._fixed(tensor)]

    def _fixed(self, tensor: TensorId) -> bool:
        if tensor in self._values:
            return False
        step = self._producers.get(tensor)
        if step is None:
            return self.program.constant(tensor) is not None
        if step not in self._is_fixed:
            self._is_fixed[step] = all(map(self._fixed, self.program.steps[step].inputs))
        return self._is_fixed[step]

    def _constant(self, tensor: TensorId) -> Array:
        """Return a constant, or what is computed from constants alone (weights that are dequantized)."""
        values = self.program.constant(tensor)
        if values is not None:
            return values
        step = self._producers[tensor]
        operator = self.program.steps[step]
        outputs = self.program.kernel(step)([self._constant(given) for given in self._given(operator)])
        return outputs[operator.outputs.index(tensor)]

    def _given(self, operator: Step) -> list[TensorId]:
        """Return the inputs that are no constants of the file, each once."""
        return [tensor for tensor in dict.fromkeys(operator.inputs) if self.program.constant(tensor) is None]

    def _run(self, step: int) -> None:
        operator = self.program.steps[step]
        kernel = self.program.kernel(step)
        given = self._given(operator)
        fixed = {tensor: self._constant(tensor) for tensor in given if self._fixed(tensor)}
        results = [
            kernel([fixed[t] if t in fixed else self._values[t][sample] for t in given])
            for sample in range(len(self.samples))
        ]
        for place, tensor in enumerate(operator.outputs):
            self._values[tensor] = [outputs[place] for outputs in results]
        self._ran.add(step)
        for tensor in set(operator.inputs):
            self._readers[tensor] -= 1
            if not self._readers[tensor] and tensor not in self._kept:
                self._values.pop(tensor, None)
