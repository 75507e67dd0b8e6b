"""Operators of ONNX with weights: the layers of torch, whose parameters they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgecnn.nets.onnx.node import Built, Node, UnreadableError
from edgecnn.nets.onnx.padding import ends_of, sizes_of, torch_pads

_CONVOLUTIONS: Mapping[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: Mapping[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORMS: Mapping[int, Any] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE_NORMS: Mapping[int, Any] = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def _of(kinds: Mapping[int, Any], axes: int) -> Any:
    if axes not in kinds:
        raise UnreadableError(f"works over {axes} axes")
    return kinds[axes]


def _with(layer: Any, **tensors: torch.Tensor | None) -> Any:
    """Return *layer*, made without memory, with these tensors as its parameters and buffers."""
    for name, tensor in tensors.items():
        if tensor is not None:
            parameter = name in layer._parameters
            own = tensor.float().contiguous() if tensor.is_floating_point() else tensor
            setattr(layer, name, nn.Parameter(own, own.is_floating_point()) if parameter else own)
    return layer.eval()


def _channels(tensor: torch.Tensor | None, count: int, what: str) -> torch.Tensor | None:
    if tensor is not None and tuple(tensor.shape) != (count,):
        raise UnreadableError(f"has {what} {list(tensor.shape)} for {count} channels")
    return tensor


def conv(node: Node) -> Built:
    """Read Conv; weights [O, I / groups, kernel...]."""
    weight, bias = node.constant(1), node.optional(2)
    axes, groups = weight.ndim - 2, int(node.attribute("group", 1))
    kernel = list(weight.shape[2:])
    stride, dilation = sizes_of(node, "strides", axes), sizes_of(node, "dilations", axes)
    begin, end = ends_of(node, kernel, stride, dilation)
    inputs = node.shape()[1]
    if groups < 1 or inputs != weight.shape[1] * groups or weight.shape[0] % groups:
        raise UnreadableError(f"has weights {list(weight.shape)} in {groups} groups for {inputs} channels")
    same = begin == end
    make = _of(_CONVOLUTIONS, axes)
    layer = make(
        inputs, weight.shape[0], kernel, stride, begin if same else 0, dilation, groups, bias is not None, device="meta"
    )
    layer = _with(layer, weight=weight, bias=_channels(bias, weight.shape[0], "a bias"))
    pads = torch_pads(begin, end)
    return layer if same else [lambda x: functional.pad(x, pads), layer]


def conv_transpose(node: Node) -> Built:
    """Read ConvTranspose; weights [I, O / groups, kernel...]. Pads that differ are cut off after it."""
    weight, bias = node.constant(1), node.optional(2)
    axes, groups = weight.ndim - 2, int(node.attribute("group", 1))
    kernel, lengths = list(weight.shape[2:]), node.shape()[2:]
    stride, dilation = sizes_of(node, "strides", axes), sizes_of(node, "dilations", axes)
    more = [int(size) for size in node.attribute("output_padding", [0] * axes)]
    begin, end = _transposed_ends(node, lengths, kernel, stride, dilation, more)
    outputs = weight.shape[1] * groups
    plain = begin == end and min(begin) >= 0
    make = _of(_TRANSPOSED, axes)
    layer = make(
        weight.shape[0], outputs, kernel, stride, begin if plain else 0, more, groups, bias is not None, dilation,
        device="meta",
    )  # fmt: skip
    layer = _with(layer, weight=weight, bias=_channels(bias, outputs, "a bias"))
    less = [-side for side in torch_pads(begin, end)]
    return layer if plain else [layer, lambda y: functional.pad(y, less)]


def _transposed_ends(
    node: Node, lengths: Any, kernel: list[int], stride: list[int], dilation: list[int], more: list[int]
) -> tuple[list[int], list[int]]:
    """Return by how much each end of the output is less than that of a transposed convolution without pads."""
    wanted = node.attribute("output_shape", None)
    rule = node.attribute("auto_pad", "NOTSET")
    if wanted is None and rule in ("NOTSET", "", "VALID"):
        return ends_of(node, kernel, stride, dilation)
    sizes = list(wanted)[-len(kernel) :] if wanted else [n * s for n, s in zip(lengths, stride, strict=True)]
    begin, end = [], []
    for n, s, k, d, extra, size in zip(lengths, stride, kernel, dilation, more, sizes, strict=True):
        total = s * (n - 1) + extra + d * (k - 1) + 1 - size
        half = total // 2
        begin.append(half if rule == "SAME_UPPER" else total - half)
        end.append(total - begin[-1])
    return begin, end


def gemm(node: Node) -> Built:
    """Read Gemm, alpha · A · B + beta · C, as a linear layer where B and C are weights."""
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    turned = (bool(node.attribute("transA", 0)), bool(node.attribute("transB", 0)))
    rows = node.shape(2)[:-1] if node.has(2) else ()
    biased = not node.has(2) or (node.is_constant(2) and set(rows) <= {1})
    if node.is_constant(1) and biased and not turned[0]:
        weight = node.constant(1)
        weight = weight if turned[1] else weight.T
        bias = node.optional(2)
        if bias is not None:
            bias = (bias.flatten() * beta).expand(weight.shape[0])
        return _linear(weight * alpha, bias)

    def product(a: torch.Tensor, b: torch.Tensor, *c: torch.Tensor) -> torch.Tensor:
        y = (a.T if turned[0] else a) @ (b.T if turned[1] else b) * alpha
        return y + c[0] * beta if c else y

    return product


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    return _with(layer, weight=weight, bias=bias)  # type: ignore[no-any-return]


def matmul(node: Node) -> Built:
    """Read MatMul, as a linear layer where the right-hand side is a matrix of weights."""
    if node.is_constant(1) and not node.is_constant(0) and len(node.shape(1)) == 2 and len(node.shape(0)) >= 2:
        return _linear(node.constant(1).T, None)
    return torch.matmul


def batch_norm(node: Node) -> Built:
    """Read BatchNormalization, as it is in inference."""
    if node.attribute("training_mode", 0):
        raise UnreadableError("was exported in training mode; export the network after .eval()")
    scale, bias, mean, variance = (node.constant(index) for index in (1, 2, 3, 4))
    channels = node.shape()[1]
    for tensor in (scale, bias, mean, variance):
        _channels(tensor, channels, "statistics")
    layer = _of(_BATCH_NORMS, len(node.shape()) - 2)(channels, float(node.attribute("epsilon", 1e-5)), device="meta")
    counter = torch.zeros((), dtype=torch.int64)
    return _with(  # type: ignore[no-any-return]
        layer, weight=scale, bias=bias, running_mean=mean, running_var=variance, num_batches_tracked=counter
    )


def instance_norm(node: Node) -> Built:
    """Read InstanceNormalization."""
    scale, bias = node.constant(1), node.constant(2)
    make, epsilon = _of(_INSTANCE_NORMS, len(node.shape()) - 2), float(node.attribute("epsilon", 1e-5))
    return _with(make(node.shape()[1], epsilon, affine=True, device="meta"), weight=scale, bias=bias)  # type: ignore[no-any-return]


def layer_norm(node: Node) -> Built:
    """Read LayerNormalization over the last axes."""
    if len(node.outputs) > 1:
        raise UnreadableError("gives mean and deviation as well")
    shape = list(node.shape()[node.axis(-1) :])
    scale, bias = node.constant(1).expand(shape), node.optional(2)
    bias = torch.zeros(shape) if bias is None else bias.expand(shape)
    layer = nn.LayerNorm(shape, float(node.attribute("epsilon", 1e-5)), device="meta")
    return _with(layer, weight=scale, bias=bias)  # type: ignore[no-any-return]


def group_norm(node: Node) -> Built:
    """Read GroupNormalization; scale and bias are of groups before opset 21, of channels since."""
    channels, groups = node.shape()[1], int(node.attribute("num_groups", 1))
    scale, bias = (
        tensor.repeat_interleave(channels // groups) if tensor.numel() == groups != channels else tensor
        for tensor in (node.constant(1), node.constant(2))
    )
    layer = nn.GroupNorm(groups, channels, float(node.attribute("epsilon", 1e-5)), device="meta")
    return _with(layer, weight=scale, bias=bias)  # type: ignore[no-any-return]


def prelu(node: Node) -> Built:
    """Read PRelu, with a slope for all or for each channel."""
    slope = node.constant(1)
    channels = node.shape()[1] if len(node.shape()) > 1 else 1
    of_channels = slope.numel() == channels and slope.shape[-len(node.shape()) + 1 :][:1] == (channels,)
    if slope.numel() == 1 or of_channels:
        return _with(nn.PReLU(slope.numel(), device="meta"), weight=slope.flatten())  # type: ignore[no-any-return]
    return lambda x: torch.where(x < 0, x * slope.to(x), x)


def local_response_norm(node: Node) -> Built:
    """Read LRN."""
    alpha, beta, bias = (float(node.attribute(*one)) for one in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    return nn.LocalResponseNorm(int(node.attribute("size", 1)), alpha, beta, bias)
