"""Find the activations of a TFLite file: operators in a row that map each value of one tensor to one value.

The converter takes Mish, Softplus, ELU and others apart into EXP, LOG, products and sums. In int8 each of those rounds,
and EXP has nearly all its values near 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecnn.export.tflite_model import Array, TFLiteModel

#: Operators that compute each value from the values in the same place, as numpy does it.
_ELEMENTWISE: Mapping[str, Callable[..., Any]] = {
    "ABS": np.abs,
    "ADD": np.add,
    "DIV": np.divide,
    "EQUAL": np.equal,
    "EXP": np.exp,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "LOG": np.log,
    "LOGICAL_AND": np.logical_and,
    "LOGICAL_NOT": np.logical_not,
    "LOGICAL_OR": np.logical_or,
    "LOGISTIC": lambda x: 1 / (1 + np.exp(-x)),
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "MUL": np.multiply,
    "NEG": np.negative,
    "NOT_EQUAL": np.not_equal,
    "POW": np.power,
    "RELU": lambda x: np.maximum(x, 0),
    "RELU6": lambda x: np.clip(x, 0, 6),
    "RELU_N1_TO_1": lambda x: np.clip(x, -1, 1),
    "RSQRT": lambda x: 1 / np.sqrt(x),
    "SELECT": np.where,
    "SELECT_V2": np.where,
    "SQRT": np.sqrt,
    "SQUARE": np.square,
    "SUB": np.subtract,
    "TANH": np.tanh,
}
#: Those whose values int8 does not hold: small ones count as much as large ones.
_FRAGILE = frozenset({"DIV", "EXP", "LOG", "POW", "RSQRT", "SQRT"})
#: Activation that ends an operator (`ActivationFunctionType`) → what it does.
_FUSED: Mapping[int, Callable[[Any], Any]] = {
    0: lambda x: x,
    1: _ELEMENTWISE["RELU"],
    2: _ELEMENTWISE["RELU_N1_TO_1"],
    3: _ELEMENTWISE["RELU6"],
    4: np.tanh,
}
#: Operator of TFLite → its function, by which an activation that was taken apart is known again.
_WHOLE: Mapping[str, Callable[[Array], Array]] = {
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
}


@dataclass(frozen=True)
class Activation:
    """Operators that together map each value of the tensor *source* to one of the tensor *output*."""

    source: int
    output: int
    operators: tuple[Any, ...]  # in their order

    def values(self, model: TFLiteModel, x: Array) -> Array:
        """Return what *x* is mapped to, in double precision."""
        known: dict[int, Any] = {self.source: x.astype(np.float64)}
        with np.errstate(all="ignore"):
            for operator in self.operators:
                inputs = [known[int(i)] if int(i) in known else _scalar(model, int(i)) for i in operator.inputs]
                fused = _FUSED[getattr(operator.builtinOptions, "fusedActivationFunction", 0)]
                known[int(operator.outputs[0])] = fused(_ELEMENTWISE[model.kind(operator)](*inputs))
        return np.asarray(known[self.output])

    def endings(self, model: TFLiteModel) -> Iterator[Activation]:
        """Yield the activation, and those of its endings that depend on one tensor as well."""
        yield self
        for step, operator in enumerate(self.operators[:-2], start=1):
            source, rest = int(operator.outputs[0]), self.operators[step:]
            made = {source, *(int(one.outputs[0]) for one in rest)}
            inputs = (int(index) for one in rest for index in one.inputs)
            if all(index in made or _scalar(model, index) is not None for index in inputs):
                yield Activation(source, self.output, rest)

    def is_fragile(self, model: TFLiteModel) -> bool:
        """Whether int8 does not hold the values within it."""
        return not _FRAGILE.isdisjoint(map(model.kind, self.operators))


def _scalar(model: TFLiteModel, index: int) -> Any:
    """Return a constant of one value, or of many equal ones; None for another tensor."""
    values = model.constant(index)
    if values is None or not values.size or not (values == values.flat[0]).all():
        return None
    value = values.flat[0]
    return bool(value) if values.dtype == np.bool_ else float(value)


def activations(model: TFLiteModel) -> list[Activation]:
    """Return the activations of *model* that several operators make, each from the first of its tensors on."""
    sources: dict[int, int] = {}  # tensor → the one that it is a function of, value by value
    steps: dict[int, list[Any]] = {}  # such a tensor → the operators that make it of that one
    for operator in model.operators:
        if model.kind(operator) not in _ELEMENTWISE:
            continue
        moving = [int(index) for index in operator.inputs if _scalar(model, int(index)) is None]
        roots = {sources.get(index, index) for index in moving}
        output = int(operator.outputs[0])
        if len(roots) == 1 and all(model.shape(index) == model.shape(output) for index in moving):
            before = [one for index in moving for one in steps.get(index, ())]
            sources[output], steps[output] = roots.pop(), list(dict.fromkeys([*before, operator]))
    readers, ends = model.readers(), set(map(int, model.graph.outputs))
    return [
        Activation(source, output, tuple(steps[output]))
        for output, source in sources.items()
        if len(steps[output]) > 1
        and (output in ends or any(_first(reader, sources) != source for reader in readers.get(output, ())))
    ]


def _first(operator: Any, sources: Mapping[int, int]) -> int | None:
    """Return what the first output of an operator is a function of, value by value; None: it is none."""
    outputs: Sequence[Any] = operator.outputs if operator.outputs is not None else ()
    return sources.get(int(outputs[0])) if len(outputs) else None


def join_activations(model: TFLiteModel) -> None:
    """Write the activations that TFLite has an operator for as that one, in place."""
    x = np.linspace(-30, 30, 6001)
    made: dict[Any, Any] = {}  # the last operator of an activation → the one in its place
    for activation in activations(model):
        for part in activation.endings(model):
            y = part.values(model, x)
            for kind, function in _WHOLE.items():
                if np.allclose(y, function(x), rtol=1e-5, atol=1e-6):
                    made[part.operators[-1]] = model.operator(kind, [part.source], [part.output])
    if made:
        model.rewrite(lambda operator: [made.get(operator, operator)])


def kept_in_float(model: TFLiteModel) -> list[str]:
    """Return the names of the tensors whose operators stay in float.

    Int8 does not hold what is within some activations, and the quantizer calibrates no operator of another subgraph.
    """
    within = [
        model.name(int(operator.outputs[0]))
        for activation in activations(model)
        if activation.is_fragile(model)
        for operator in activation.operators
    ]
    others = [tensor.name.decode() for graph in model.model.subgraphs[1:] for tensor in graph.tensors]
    return [*within, *others]
