"""Counting what a network costs: its parameters, and the MACs and the activations of one run.

torch-pruning's counter goes by layers: it sums over those it knows, elements of activations and norms too. Of recurrent
layers it takes the features for the steps, of transposed convolutions the outputs for the inputs, and attention it
counts only where query, key and value are of one width and given by position: those are counted here. So are
multiplications outside of the layers it knows: of a module's own `forward`, of a class of one's own of a known kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgecnn.errors import require


@dataclass(frozen=True)
class RanOperator:
    """An operator as torch ran it for one sample, where the exported file has one too: what its time depends on.

    Batch norms and activation functions that a file has as a part of the operator before are none.
    """

    kind: str  # "convolution", or one of the other kinds of `edgecnn.device.LATENCY_KINDS`
    activations: int  # elements read and written
    macs: int = 0
    weights: int = 0  # elements read
    inputs: int = 1  # channels that come in; of a linear layer, features
    outputs: int = 1  # channels that come out, likewise
    groups: int = 1
    kernel: tuple[int, ...] = ()
    stride: int = 1  # the largest of stride and dilation


#: The MACs of a layer that ran, from it, its arguments by position and by name, and its output.
LayerMacs = Callable[[Any, tuple[Any, ...], dict[str, Any], Any], int]

#: Of the norm that stands for the peak of the activations: see `_OperatorCounter.activations`.
_NORM = 8


@dataclass(frozen=True)
class Size:
    """What a network costs: parameters, and MACs and activations of one sample."""

    params: int
    macs: int
    activations: int = 0  # about the most elements that one operator reads and writes
    operators: tuple[RanOperator, ...] = field(default=(), repr=False, compare=False)


def counted(module: nn.Module, x: torch.Tensor) -> Size:
    """Return what *module* has, and what one run on *x*, a batch of one, takes.

    Outside of layers, products of matrices and convolutions are counted (`torch.nn.functional`, `@`, `einsum`,
    attention), without their bias; what goes element by element is not. A layer that is reached by two names is
    counted as often as it runs, once for each name: so the counter sums.
    """
    counter: Any = require("torch_pruning.utils.op_counter", "torch")
    operators, of_ours = _OperatorCounter(), [0]

    # The counter runs a deep copy, hooks included, and a copied method would have a copied object: so these are plain
    # functions.
    def enter(*_: object) -> None:
        operators.depth += 1

    def leave(layer: nn.Module, args: tuple[Any, ...], given: dict[str, Any], output: object) -> None:
        operators.depth -= 1
        if (macs := _counted_here(layer)) is not None:
            of_ours[0] += macs(layer, args, given, output)

    handles = []
    for layer in module.modules():
        if type(layer) in counter.MODULES_MAPPING or _counted_here(layer):
            handles.append(layer.register_forward_pre_hook(enter))
            handles.append(layer.register_forward_hook(leave, with_kwargs=True))
    # What the counter offers for this; it forgets it after each count that does not fail.
    counter.CUSTOM_MODULES_MAPPING = dict.fromkeys(chain(*_LAYERS), counter.empty_flops_counter_hook)
    try:
        with operators:
            macs, params = counter.count_ops_and_params(module, x)
    finally:
        counter.CUSTOM_MODULES_MAPPING = {}
        for handle in handles:
            handle.remove()
    return Size(int(params), int(macs) + of_ours[0] + operators.macs, operators.activations, tuple(operators.operators))


def _recurrent(layer: Any, args: tuple[Any, ...], given: dict[str, Any], _: object) -> int:
    """Return the MACs of a recurrent layer or cell: each weight has one a step, and each bias, as in a convolution."""
    weights = (
        chain(*layer.all_weights)
        if isinstance(layer, nn.RNNBase)
        else (layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
    )
    x = (args[0] if args else given["input"]).data  # of a packed sequence too, which has the steps of all samples there
    return int(prod(x.shape[:-1]) * sum(weight.numel() for weight in weights if weight is not None))


def _transposed(layer: Any, args: tuple[Any, ...], given: dict[str, Any], output: Any) -> int:
    """Return the MACs of a transposed convolution: each input goes to a kernel of each output of its group."""
    x = args[0] if args else given["input"]
    macs = x.numel() * layer.out_channels // layer.groups * prod(layer.kernel_size)
    return int(macs + (0 if layer.bias is None else output.numel()))


def _attention(layer: Any, args: tuple[Any, ...], given: dict[str, Any], _: object) -> int:
    """Return the MACs of attention as the counter has them where all is of one width."""
    named = dict(zip(("query", "key", "value"), args, strict=False)) | given
    query, key, value = (named[name] for name in ("query", "key", "value"))
    steps = 1 if layer.batch_first and query.dim() == 3 else 0
    batch = query.shape[1 - steps] if query.dim() == 3 else 1
    queries, keys, width = query.shape[steps], key.shape[steps], layer.embed_dim
    projected = queries * width + keys * (key.shape[-1] + value.shape[-1])
    biases = 0 if layer.in_proj_bias is None else queries + 2 * keys
    seen = keys + (layer.bias_k is not None) + layer.add_zero_attn
    # Scaled queries; what each head makes of keys and values, softmax between; and the last projection.
    heads = queries * seen * (2 * width + layer.num_heads)
    last = queries * width * (width + (layer.out_proj.bias is not None))
    return int(batch * (queries * width + (projected + biases) * width + heads + last))


#: What is counted here in the counter's place.
_LAYERS: Mapping[tuple[type[nn.Module], ...], LayerMacs] = {
    (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell): _recurrent,
    (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d): _transposed,
    (nn.MultiheadAttention,): _attention,
}


def _counted_here(layer: nn.Module) -> LayerMacs | None:
    """Return what counts *layer*, of a class of `_LAYERS` or one made from it; None: not for us."""
    return next((macs for kinds, macs in _LAYERS.items() if isinstance(layer, kinds)), None)


def _matrices(_: object, a: torch.Tensor, b: torch.Tensor) -> int:
    return a.numel() * b.shape[-1]


def _convolution(out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *settings: Any) -> int:
    """Return the MACs of a convolution; *settings*: bias, stride, padding, dilation, transposed, and two more."""
    transposed = settings[4]
    return (x if transposed else out).numel() * weight[0].numel()  # the first axis is its inputs or its outputs


def _scores(_: object, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *settings: object) -> int:
    return prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


_ATEN = torch.ops.aten

#: The MACs of an operator, from its output and its arguments: what is left of all products of matrices and convolutions
#: where torch hands them to the processor.
_MACS: Mapping[Any, Callable[..., int]] = {
    _ATEN.mm: _matrices,
    _ATEN.bmm: _matrices,
    _ATEN.addmm: lambda out, _, a, b: _matrices(out, a, b),
    _ATEN.baddbmm: lambda out, _, a, b: _matrices(out, a, b),
    _ATEN.mv: lambda _, a, __: a.numel(),
    _ATEN.addmv: lambda _, __, a, ___: a.numel(),
    _ATEN.dot: lambda _, a, __: a.numel(),
    _ATEN.convolution: _convolution,
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _scores,
}


def _ran_convolution(out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *settings: Any) -> RanOperator:
    """Return a convolution that ran; *settings*: bias, stride, padding, dilation, transposed, and two more."""
    stride, dilation, transposed, groups = settings[1], settings[3], settings[4], settings[6]
    return RanOperator(
        "convolution",
        x.numel() + out.numel(),
        _convolution(out, x, weight, *settings),
        weight.numel(),
        inputs=x.shape[1],
        outputs=out.shape[1],
        groups=groups,
        kernel=tuple(weight.shape[2:]),
        stride=1 if transposed else max(*stride, *dilation),
    )


def _ran_linear(out: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> RanOperator:
    moved = a.numel() + out.numel()
    return RanOperator("linear", moved, _matrices(out, a, b), b.numel(), inputs=b.shape[0], outputs=b.shape[1])


def _ran(kind: str) -> Callable[..., RanOperator]:
    """Return what makes an operator of that *kind* of its output and its arguments."""

    def ran(out: Any, *args: Any) -> RanOperator:
        read = chain(*(arg if isinstance(arg, (list, tuple)) else (arg,) for arg in args))
        written = out if isinstance(out, torch.Tensor) else out[0]  # a pooling returns the places of its maxima too
        elements = written.numel() + sum(x.numel() for x in read if isinstance(x, torch.Tensor))
        return RanOperator(kind, elements)

    return ran


#: What an operator is, likewise.
_OPERATORS: Mapping[Any, Callable[..., RanOperator]] = {
    _ATEN.convolution: _ran_convolution,
    _ATEN.mm: _ran_linear,
    _ATEN.addmm: lambda out, _, a, b: _ran_linear(out, a, b),
    _ATEN.cat: _ran("concatenation"),
    _ATEN.max_pool2d_with_indices: _ran("max_pooling"),
    _ATEN.avg_pool2d: _ran("average_pooling"),
    _ATEN.mean: _ran("mean"),
    _ATEN._adaptive_avg_pool2d: _ran("mean"),
    **dict.fromkeys((_ATEN.add, _ATEN.add_, _ATEN.sub, _ATEN.mul, _ATEN.mul_, _ATEN.div), _ran("elementwise")),
    **dict.fromkeys((_ATEN.sigmoid, _ATEN.tanh, _ATEN.silu, _ATEN.silu_, _ATEN.gelu, _ATEN.elu), _ran("sigmoid")),
    **dict.fromkeys((_ATEN.hardswish, _ATEN.hardswish_), _ran("hard_swish")),
    _ATEN.constant_pad_nd: _ran("padding"),
}

#: Those whose elements are weighed for the peak of the activations.
_WEIGHED = frozenset({"convolution", "linear", "concatenation", "max_pooling", "average_pooling"})


class _OperatorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operator by operator: the MACs outside of layers that are counted as a whole, and all activations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.depth = 0  # of the layers, counted as a whole, that run now
        self.macs = 0
        self.operators: list[RanOperator] = []

    @property
    def activations(self) -> int:
        """About the most elements that an operator reads and writes: the 8-norm of those of all.

        The largest alone would not do to weigh cuts by: where two operators need as much, no cut of one lowers it.
        """
        elements = [one.activations for one in self.operators if one.kind in _WEIGHED]
        return round(float(np.linalg.norm(elements, _NORM)))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        ran = _OPERATORS.get(func.overloadpacket)
        if ran is not None:
            self.operators.append(ran(out, *args))
        macs = _MACS.get(func.overloadpacket)
        if macs is not None and not self.depth:
            self.macs += macs(out, *args)
        return out
