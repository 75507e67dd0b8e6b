"""Read `.onnx` files into torch: each operator by its row in `operators.OPERATORS`, its weights as parameters.

Nothing of a file is code: an operator that has no row is refused by name. The graph is followed once on the shapes of
one sample, without values (torch's `meta` device), so that no size is met unseen; what does not depend on the input is
computed on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count, zip_longest
from typing import Any

import numpy as np
import torch
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError, require
from edgecnn.nets.onnx.network import Chain, OnnxNetwork, Operator, Step
from edgecnn.nets.onnx.node import Node, UnreadableError, Value
from edgecnn.nets.onnx.operators import DTYPES, OPERATORS

__all__ = ["OnnxNetwork", "read_onnx_network"]

_MOST_VALUES = 2**28  # of one tensor: 1 GiB of float32; also of all constants that are computed while reading
_MOST_DEPTH = 8  # of graphs within operators
_MOST_TOLD = 3

#: Operator → what to do about it.
_INSTEAD: Mapping[str, str] = {
    "Loop": "export the network without loops, a fixed number of times perhaps",
    "NonMaxSuppression": "export the network without it: boxes and scores, which the application suppresses",
    "NonZero": "return the whole tensor, and choose from it in the application",
    "RoiAlign": "return feature maps and boxes, and crop in the application",
    "Scan": "export the network without loops, a fixed number of times perhaps",
}
_QUANTIZED = ("QLinear", "QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "Integer")


def read_onnx_network(source: Artifact) -> OnnxNetwork:
    """Return the network of the ONNX file *source* as a module of torch, in evaluation mode.

    Its layers have the names that the file's weights have (`features.0` of `features.0.weight`), else those of its
    operators.

    Raises:
        EdgecnnError: not float32, a batch that is fixed at another size than 1, or operators that cannot be read, named
            with their nodes.

    Example:
        >>> list(read_onnx_network(Artifact.open("net.onnx"))(torch.zeros(1, 1, 8, 8)))
        ['output']
    """
    path = source.path
    if source.precision != "fp32":
        raise EdgecnnError(f"{path} is {source.precision} already; give the fp32 file that it was made from")
    for spec in source.inputs:
        if not spec.shape:
            raise EdgecnnError(f"{path}: input '{spec.name}' is a number without a batch")
    batch = max(spec.shape[0] for spec in source.inputs)
    onnx = require("onnx", "torch")
    try:
        model = onnx.load(path)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        network = _Reader(onnx, model, source).network()
    except EdgecnnError as error:
        raise EdgecnnError(f"{path}: {error}") from None
    except (
        ArithmeticError, AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError,
        TypeError, ValueError,
    ) as error:  # fmt: skip
        # What onnx's own checker does not see; torch raises almost anything.
        first = "".join(str(error).strip().splitlines()[:1])
        raise EdgecnnError(f"{path}: a broken .onnx file ({type(error).__name__}: {first[:200]})") from None
    if batch > 1:
        network.takes_batches = True
        try:
            with torch.no_grad():
                network(*(torch.zeros(1, *spec.shape[1:], dtype=getattr(torch, spec.dtype)) for spec in source.inputs))
        except (RuntimeError, IndexError, ValueError):
            raise EdgecnnError(
                f"{path}: has a fixed batch of {batch} and does not go through with one sample; export it with a batch "
                "of 1, or an open one"
            ) from None
    return network


class _Reader:
    """Follows a graph once."""

    def __init__(self, onnx: Any, model: Any, source: Artifact) -> None:
        self.onnx, self.model, self.source = onnx, model, source
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
        self.values: dict[str, Value] = {}
        self.layers: dict[str, nn.Module] = {}
        self.constants: dict[str, torch.Tensor] = {}  # that layers take
        self.steps: list[Step] = []
        self.computed = 0  # values of constants

    def network(self) -> OnnxNetwork:
        graph = self.model.graph
        _check_operators(graph.node)
        self.store(graph.initializer)
        inputs = [value.name for value in graph.input if value.name not in self.values]
        for spec, name in zip(self.source.inputs, inputs, strict=True):
            dtype = getattr(torch, spec.dtype, torch.float32)
            self.values[name] = Value(name, torch.empty(spec.shape, dtype=dtype, device="meta"), False)
        for node in graph.node:
            self.read(node, 0)
        outputs = {value.name: self.given(value.name) for value in graph.output}
        network = OnnxNetwork(
            self.layers,
            self.constants,
            _with_ends(self.steps, outputs.values()),
            inputs,
            outputs,
            channels_last=self.source.layout == "NHWC",
        )
        return network.eval()

    def store(self, initializers: Iterable[Any]) -> None:
        for tensor in initializers:
            self.values[tensor.name] = Value(tensor.name, self.tensor(tensor), True)

    def tensor(self, proto: Any) -> torch.Tensor:
        """Return a tensor of the file."""
        array = np.array(self.onnx.numpy_helper.to_array(proto))
        if array.dtype.kind == "V" or array.dtype.name not in _KNOWN:
            array = array.astype(np.float32)
        return torch.from_numpy(array)

    def attributes(self, node: Any) -> dict[str, Any]:
        found = {}
        for attribute in node.attribute:
            value = self.onnx.helper.get_attribute_value(attribute)
            is_tensor = attribute.type == attribute.TENSOR
            found[attribute.name] = self.tensor(value) if is_tensor else value
        return found

    def read(self, proto: Any, depth: int) -> None:
        """Read one operator."""
        if proto.op_type == "If":
            self.choose(proto, depth)
            return
        inputs = [self.values[name] if name else None for name in proto.input]
        node = Node(proto.op_type, proto.name, self.opset, inputs, self.attributes(proto), tuple(proto.output))
        try:
            built = OPERATORS[proto.op_type](node)
            functions = (built,) if callable(built) else tuple(built)
            taken = [one for index, one in enumerate(inputs) if one is not None and index not in node.taken]
            made = self.tried(functions, taken)
        except UnreadableError as error:
            raise EdgecnnError(f"its {proto.op_type} {_named(proto)} {error}") from None
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            first = "".join(str(error).strip().splitlines()[:1])
            raise EdgecnnError(f"its {proto.op_type} {_named(proto)} does not go through: {first[:160]}") from None
        for value in made:
            if value.numel() > _MOST_VALUES:
                shape = list(value.shape)
                raise EdgecnnError(f"its {proto.op_type} {_named(proto)} gives {shape}; edgecnn takes {_MOST_VALUES}")
        if all(one.is_constant for one in taken):
            self.fold(functions, taken, proto.output, made)
        else:
            self.add(functions, taken, node, made)

    def tried(self, functions: Sequence[Any], taken: Sequence[Value]) -> tuple[torch.Tensor, ...]:
        """Return what *functions* give, as shapes and types alone."""
        y: Any = tuple(one.tensor.to("meta") for one in taken)
        with torch.no_grad():
            for number, function in enumerate(functions):
                arguments = y if number == 0 else (y,)
                if isinstance(function, nn.Module):
                    states = {name: tensor.to("meta") for name, tensor in function.state_dict().items()}
                    y = torch.func.functional_call(function, states, arguments)
                else:
                    y = _without_values(function, arguments)
        return tuple(y) if isinstance(y, (tuple, list)) else (y,)

    def fold(self, functions: Sequence[Any], taken: Sequence[Value], names: Sequence[str], made: Any) -> None:
        """Compute what does not depend on the input."""
        self.computed += sum(value.numel() for value in made)
        if self.computed > _MOST_VALUES:
            raise EdgecnnError(f"computes constants of more than {_MOST_VALUES} values")
        with torch.no_grad():
            y: Any = functions[0](*(one.tensor for one in taken))
            for function in functions[1:]:
                y = function(y)
        for name, tensor in zip(names, y if isinstance(y, (tuple, list)) else (y,), strict=False):
            self.values[name] = Value(name, tensor, True)

    def add(self, functions: Sequence[Any], taken: Sequence[Value], node: Node, made: Any) -> None:
        """Add a layer."""
        for one in taken:
            if one.is_constant:
                self.constants[one.name] = one.tensor
        weighted = [function for function in functions if isinstance(function, nn.Module)]
        parts = [function if isinstance(function, nn.Module) else Operator([function]) for function in functions]
        layer = parts[0] if len(parts) == 1 else Chain(*parts) if weighted else Operator(functions)
        name = self.name_of(node)
        self.layers[name] = layer
        self.steps.append(Step(name, tuple(one.name for one in taken), tuple(node.outputs)))
        for output, tensor in zip(node.outputs, made, strict=False):
            self.values[output] = Value(output, tensor, False)

    def name_of(self, node: Node) -> str:
        """Return a name for a layer that none has yet: of its weights, else of the operator, else of its kind."""
        stem = (_layer_name(node) if node.is_constant(1) else None) or re.sub(r"\W+", "_", node.name).strip("_")
        stem = stem or node.kind.lower()
        flat = stem.replace(".", "_")  # lies within no other layer
        if any(hasattr(nn.Module, part) or part in _OWN for part in stem.split(".")):
            stem = f"{flat}_1"
        numbered = (f"{flat}_{number}" for number in count(2))
        return next(name for name in chain([stem], numbered) if not self.is_taken(name))

    def is_taken(self, name: str) -> bool:
        """Whether a layer has this name, or one that begins or goes on with it."""
        parts = name.split(".")
        heads = {".".join(parts[: end + 1]) for end in range(len(parts))}
        return any(other in heads or other.startswith(f"{name}.") for other in self.layers)

    def given(self, name: str) -> str:
        """Return the name of the value that is the output *name*; they differ behind an If."""
        value = self.values[name]
        if value.is_constant:
            raise EdgecnnError(f"its output '{name}' does not depend on the input")
        return value.name

    def choose(self, proto: Any, depth: int) -> None:
        """Read the branch of an If whose condition is known."""
        condition = self.values[proto.input[0]]
        if not condition.is_constant or depth >= _MOST_DEPTH:
            raise EdgecnnError(f"its If {_named(proto)} depends on the values of the input; export without conditions")
        wanted = "then_branch" if bool(condition.tensor.any()) else "else_branch"
        branch = next(attribute.g for attribute in proto.attribute if attribute.name == wanted)
        _check_operators(branch.node)
        self.store(branch.initializer)
        for node in branch.node:
            self.read(node, depth + 1)
        for name, inner in zip(proto.output, branch.output, strict=True):
            self.values[name] = self.values[inner.name]


#: Attributes of the module that layers must not hide.
_OWN = ("input_names", "output_names", "channels_last", "takes_batches", "try_batches", "functions")
_KNOWN = {str(dtype).removeprefix("torch.") for dtype in DTYPES.values()} - {"bfloat16"}


def _layer_name(node: Node) -> str | None:
    """Return the name of the layer of torch that a file of torch's exporters was made from; None for other files.

    It is that of the weights, `features.0` of `features.0.weight`; where these were folded, that of the operator,
    `layer1.0.conv1` of `/layer1/layer1.0/conv1/Conv`.
    """
    weights = node.value(1).name
    steps = node.name.strip("/").split("/")[:-1]
    path = ".".join(
        step for step, after in zip_longest(steps, steps[1:], fillvalue="") if not after.startswith(f"{step}.")
    )
    stems = (weights.removesuffix(".weight") if weights.endswith(".weight") else "", path)
    return next((stem for stem in stems if re.fullmatch(r"\w+(\.\w+)*", stem)), None)


def _without_values(function: Any, arguments: Sequence[torch.Tensor]) -> Any:
    """Return what *function* gives for arguments without values; what it makes anew is made without values too."""
    with torch.device("meta"):
        return function(*arguments)


def _check_operators(nodes: Iterable[Any]) -> None:
    """See that there is a row for each operator.

    Raises:
        EdgecnnError: there is none; those without one are named, with the first node of each.
    """
    missing: dict[str, Any] = {}
    for node in nodes:
        own = node.domain in ("", "ai.onnx")
        kind = node.op_type if own else f"{node.domain}.{node.op_type}"
        if not own or (kind not in OPERATORS and kind != "If"):
            missing.setdefault(kind, node)
    if not missing:
        return
    told = [f"{kind} {_named(node)}" for kind, node in list(missing.items())[:_MOST_TOLD]]
    more = f" and {len(missing) - _MOST_TOLD} more" if len(missing) > _MOST_TOLD else ""
    remedy = next((text for kind, text in _INSTEAD.items() if kind in missing), None)
    if any(part in kind for kind in missing for part in _QUANTIZED):
        remedy = "give the float file that it was quantized from"
    remedy = remedy or "export the network without it, or give the torch network that the file was made from"
    raise EdgecnnError(f"edgecnn cannot read the operators {', '.join(told)}{more}; {remedy}")


def _named(node: Any) -> str:
    """Return how a node is called: `(node '/head/Resize')`, else by what it gives."""
    return f"(node '{str(node.name or next(iter(node.output), ''))[:100]}')"


def _with_ends(steps: Sequence[Step], outputs: Iterable[str]) -> list[Step]:
    """Return *steps*, each with the values that are not needed after it."""
    needed, result = set(outputs), []
    for step in reversed(steps):
        last = tuple(name for name in dict.fromkeys((*step.inputs, *step.outputs)) if name not in needed)
        needed.update(step.inputs)
        result.append(Step(step.layer, step.inputs, step.outputs, last))
    return result[::-1]
