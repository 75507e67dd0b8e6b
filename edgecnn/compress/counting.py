"""Counting what a network costs: its parameters, and the MACs and the activations of one run.

torch-pruning's counter goes by layers: it sums over those it knows, elements of activations and norms too. Of recurrent
layers it takes the features for the steps, of transposed convolutions the outputs for the inputs, and attention it
counts only where query, key and value are of one width and given by position: those are counted here. So are
multiplications outside of the layers it knows: of a module's own `forward`, of a class of one's own of a known kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgecnn.errors import require

#: The MACs of a layer that ran, from it, its arguments by position and by name, and its output.
LayerMacs = Callable[[Any, tuple[Any, ...], dict[str, Any], Any], int]

#: Of the norm that stands for the peak of the activations: see `_OperatorCounter.activations`.
_NORM = 8


def params_macs_and_activations(module: nn.Module, x: torch.Tensor) -> tuple[int, int, int]:
    """Return parameters of *module*, and MACs and activations of one run on *x*, a batch of one.

    Activations are about the most elements that one operator reads and writes.

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
    return int(params), int(macs) + of_ours[0] + operators.macs, operators.activations


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

#: The elements that an operator reads and writes, likewise. Batch norms and activation functions are none of a file's
#: own, but a part of the one before; sums and global averages are left out.
_ELEMENTS: Mapping[Any, Callable[..., int]] = {
    _ATEN.mm: lambda out, a, _: a.numel() + out.numel(),
    _ATEN.addmm: lambda out, _, a, __: a.numel() + out.numel(),
    _ATEN.convolution: lambda out, x, *_: x.numel() + out.numel(),
    _ATEN.cat: lambda out, *_: 2 * out.numel(),
    _ATEN.max_pool2d_with_indices: lambda out, x, *_: x.numel() + out[0].numel(),
    _ATEN.avg_pool2d: lambda out, x, *_: x.numel() + out.numel(),
}


class _OperatorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operator by operator: the MACs outside of layers that are counted as a whole, and all activations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.depth = 0  # of the layers, counted as a whole, that run now
        self.macs = 0
        self.elements: list[int] = []  # that each operator reads and writes

    @property
    def activations(self) -> int:
        """About the most elements that an operator reads and writes: the 8-norm of those of all.

        The largest alone would not do to weigh cuts by: where two operators need as much, no cut of one lowers it.
        """
        return round(float(np.linalg.norm(self.elements, _NORM)))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        elements = _ELEMENTS.get(func.overloadpacket)
        if elements is not None:
            self.elements.append(elements(out, *args))
        macs = _MACS.get(func.overloadpacket)
        if macs is not None and not self.depth:
            self.macs += macs(out, *args)
        return out
