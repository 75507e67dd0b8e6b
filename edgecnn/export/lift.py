"""Networks over time written as networks over images of height 1, which TFLite's kernels are made for.

TFLite has no convolution over one axis. The converter turns each into one over two, with a RESHAPE and a TRANSPOSE
before and after it. Here whatever stands between two of them, such as a padding or an activation, is lifted as well.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

aten = torch.ops.aten
Lifting = Callable[["_Lift", fx.Node], "fx.Node | None"]


def lifted(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> nn.Module:
    """Return *module* with its layers over [N, C, W] over [N, C, 1, W]; as it is, where it has no convolution of such.

    Args:
        module: the network.
        inputs: tensors of the shapes that it takes.
    """
    if not any(isinstance(part, (nn.Conv1d, nn.ConvTranspose1d)) for part in module.modules()):
        return module
    program = torch.export.export(module, inputs, strict=False).run_decompositions({})
    graph = program.module(check_guards=False)
    assert isinstance(graph, fx.GraphModule)
    lift = _Lift(graph.graph)
    for node in list(graph.graph.nodes):
        lift.node(node)
    graph.graph.eliminate_dead_code()
    return fx.GraphModule(graph, graph.graph)  # one that takes `eval()`


@dataclass
class _Lift:
    """A graph, and the nodes of it that have a twin of one axis more: [N, C, W] → [N, C, 1, W]."""

    graph: fx.Graph
    twins: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def node(self, node: fx.Node) -> None:
        """Give *node* a twin where it can have one; else let it read what its inputs' twins give."""
        rule = _RULES.get(node.target) if node.op == "call_function" else None
        if rule is not None and (_dimensions(node) == 3 or node.target in _REDUCTIONS):
            with self.graph.inserting_before(node):
                twin = rule(self, node)
            if twin is not None:
                return
        for source in node.all_input_nodes:
            if source in self.twins and node is not self.twins[source]:
                with self.graph.inserting_before(node):
                    node.replace_input_with(source, self.add(node, aten.squeeze.dim, self.twins[source], 2))

    def add(self, like: fx.Node, target: Any, *arguments: Any) -> fx.Node:
        """Add a node that belongs to the layer of *like*."""
        made = self.graph.call_function(target, arguments)
        made.meta = {key: like.meta[key] for key in ("nn_module_stack", "stack_trace") if key in like.meta}
        return made

    def twin(self, node: fx.Node, source: Any) -> Any:
        """Return the twin of an input of *node*; what is no tensor of three axes stays as it is."""
        if not isinstance(source, fx.Node) or _dimensions(source) != 3:
            return source
        return self.twins.get(source) or self.add(node, aten.unsqueeze.default, source, 2)

    def made(self, node: fx.Node, target: Any, *arguments: Any) -> fx.Node:
        """Make *node*'s twin."""
        self.twins[node] = self.add(node, target, *arguments)
        return self.twins[node]


def _dimensions(node: fx.Node) -> int:
    value = node.meta.get("val")
    value = value[0] if isinstance(value, (tuple, list)) and value else value
    return value.ndim if isinstance(value, torch.Tensor) else 0


def _arguments(node: fx.Node) -> list[Any]:
    """Return all arguments of *node*, with the defaults of its operator."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = list(node.args)
    return given + [node.kwargs.get(one.name, one.default_value) for one in schema[len(given) :]]


def _pair(values: Any, first: int) -> Any:
    """Return *values* of one axis for two, of which the first gets *first*; `same` and `valid` stand for any."""
    if isinstance(values, str):
        return values
    return [first, *([values] if isinstance(values, int) else values)]


def _convolution(target: Any) -> Lifting:
    def rule(lift: _Lift, node: fx.Node) -> fx.Node:
        x, weight, bias, stride, padding, *rest = _arguments(node)
        *output_padding, groups, dilation = rest if len(rest) == 3 else (rest[1], rest[0])
        ends = (groups, _pair(dilation, 1)) if output_padding else (_pair(dilation, 1), groups)
        wide = lift.add(node, aten.unsqueeze.default, weight, 2)
        pads = [_pair(values, 0) for values in (padding, *output_padding)]
        return lift.made(node, target, lift.twin(node, x), wide, bias, _pair(stride, 1), *pads, *ends)

    return rule


def _pool(target: Any) -> Lifting:
    def rule(lift: _Lift, node: fx.Node) -> fx.Node:
        x, kernel, stride, padding, *rest = _arguments(node)
        if target is aten.max_pool2d.default:
            rest[0] = _pair(rest[0], 1)
        sizes = (_pair(kernel, 1), _pair(stride or kernel, 1), _pair(padding, 0))
        return lift.made(node, target, lift.twin(node, x), *sizes, *rest)

    return rule


def _adaptive(target: Any) -> Lifting:
    def rule(lift: _Lift, node: fx.Node) -> fx.Node:
        x, size = _arguments(node)
        return lift.made(node, target, lift.twin(node, x), _pair(size, 1))

    return rule


def _as_it_is(lift: _Lift, node: fx.Node) -> fx.Node | None:
    """Lift an operator that looks at each value or each channel by itself, where one of its inputs is lifted."""
    sources = node.all_input_nodes
    if not any(source in lift.twins for source in sources) or any(_dimensions(source) == 2 for source in sources):
        return None
    arguments = [lift.twin(node, argument) for argument in node.args]
    made = lift.made(node, node.target, *arguments)
    made.kwargs = node.kwargs
    return made


def _pad(lift: _Lift, node: fx.Node) -> fx.Node | None:
    x, pads, *rest = _arguments(node)
    if len(pads) != 2:
        return None
    constant = node.target is aten.constant_pad_nd.default or rest[0] == "constant"
    return lift.made(node, node.target, lift.twin(node, x), [*pads, *([] if constant else [0, 0])], *rest)


def _sliced(lift: _Lift, node: fx.Node) -> fx.Node | None:
    x, axis, *rest = _arguments(node)
    return lift.made(node, node.target, lift.twins[x], _axis(axis), *rest) if x in lift.twins else None


def _axis(axis: int) -> int:
    axis = axis % 3
    return 3 if axis == 2 else axis


def _concatenated(lift: _Lift, node: fx.Node) -> fx.Node | None:
    parts, axis = _arguments(node)
    if not any(part in lift.twins for part in parts):
        return None
    return lift.made(node, node.target, [lift.twin(node, part) for part in parts], _axis(axis))


def _reduced(lift: _Lift, node: fx.Node) -> fx.Node | None:
    """Lift a mean or maximum over time; without that axis it is [N, C] at once."""
    x, axes, keep = _arguments(node)[:3]
    if x not in lift.twins or [axis % 3 for axis in axes or ()] != [2]:
        return None
    if keep:
        return lift.made(node, node.target, lift.twins[x], [3], True)
    node.replace_all_uses_with(made := lift.add(node, node.target, lift.twins[x], [2, 3]))
    made.meta["val"] = node.meta["val"]
    return made


def _item(lift: _Lift, node: fx.Node) -> fx.Node | None:
    source, number = node.args
    assert isinstance(source, fx.Node)
    return lift.made(node, operator.getitem, lift.twins[source], number) if source in lift.twins else None


def _resized(target: Any) -> Lifting:
    def rule(lift: _Lift, node: fx.Node) -> fx.Node | None:
        x, size, *rest, scales = _arguments(node)
        wide = (size and _pair(size, 1), *rest, scales and [1.0, *scales])
        return lift.made(node, target, lift.twins[x], *wide) if x in lift.twins else None

    return rule


_REDUCTIONS = (aten.mean.dim, aten.amax.default)

_ELEMENTWISE = (
    aten._native_batch_norm_legit_no_training.default, aten.add.Tensor, aten.batch_norm.default, aten.celu.default,
    aten.clamp.default, aten.clone.default, aten.contiguous.default, aten.div.Tensor, aten.dropout.default,
    aten.elu.default, aten.exp.default, aten.gelu.default, aten.hardsigmoid.default, aten.hardswish.default,
    aten.hardtanh.default, aten.leaky_relu.default, aten.log.default, aten.mish.default, aten.mul.Tensor,
    aten.neg.default, aten.prelu.default, aten.relu.default, aten.relu6.default, aten.selu.default,
    aten.sigmoid.default, aten.silu.default, aten.softplus.default, aten.sub.Tensor, aten.tanh.default,
)  # fmt: skip

#: Operator of torch → how it is lifted.
_RULES: Mapping[Any, Lifting] = {
    **dict.fromkeys(_ELEMENTWISE, _as_it_is),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    operator.getitem: _item,
    aten.adaptive_avg_pool1d.default: _adaptive(aten.adaptive_avg_pool2d.default),
    aten.avg_pool1d.default: _pool(aten.avg_pool2d.default),
    aten.cat.default: _concatenated,
    aten.constant_pad_nd.default: _pad,
    aten.conv1d.default: _convolution(aten.conv2d.default),
    aten.conv1d.padding: _convolution(aten.conv2d.padding),
    aten.conv_transpose1d.default: _convolution(aten.conv_transpose2d.input),
    aten.max_pool1d.default: _pool(aten.max_pool2d.default),
    aten.pad.default: _pad,
    aten.slice.Tensor: _sliced,
    aten.upsample_linear1d.vec: _resized(aten.upsample_bilinear2d.vec),
    aten.upsample_nearest1d.vec: _resized(aten.upsample_nearest2d.vec),
}
