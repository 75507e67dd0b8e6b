"""Correct an int8 file layer by layer against its float file, with the inputs that each layer really gets.

Both files run side by side over the samples, operator by operator, in their own runtime. At each convolution and linear
layer the int8 weights and biases are chosen anew before the int8 file goes on, so that each layer sees what the earlier
ones, corrected already, pass on to it. Nothing but the numbers of weights and biases changes: scales, operators and the
size of the file stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError, require
from edgecnn.export.int8.linear import LinearLayer
from edgecnn.export.int8.program import Array, Execution, Program, linear_layers
from edgecnn.export.int8.rounding import rounded
from edgecnn.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

_POSITIONS = 65536  # of each layer's input, over all samples, that its covariance is taken from
_MOST_INPUTS = 4608  # under one filter (3 x 3 of 512 channels): the covariance of more would take over 170 MB
_DAMPING = 0.01


@dataclass(frozen=True)
class Correction:
    """What was done to one layer, and its mean squared error before its activation, as a share of the signal's power.

    Both errors are of the corrected layers before it, so they show what this layer's own correction brought.
    """

    layer: str
    error_before: float
    error_after: float
    weights_moved: int = 0
    biases_moved: int = 0


def refine(
    floats: Program,
    integers: Program,
    samples: Sequence[Array],
    *,
    rounding: bool,
    bias: bool,
    damping: float = _DAMPING,
    progress: Progress = silent,
) -> tuple[Correction, ...]:
    """Correct the weights and biases of *integers*, in place, and return what was done, a layer each.

    Args:
        floats: the network in float.
        integers: the same network in int8.
        samples: calibration samples, [1, C, H, W] float32 as the network wants them.
        rounding: whether each weight is rounded anew, up or down, so that the layer's output changes least.
        bias: whether each bias takes up the mean error of its filter's output: empirical bias correction, Nagel et al.
            2019 (https://arxiv.org/abs/1906.04721, section 4.2), before the activation.
        damping: see `rounded`.
        progress: told how many layers are done.

    Raises:
        EdgecnnError: the two files have not the same layers.
    """
    pairs = _pairs(floats, integers)
    real, given = Execution(floats, samples), Execution(integers, samples)
    done = []
    for number, (mine, its) in enumerate(pairs):
        progress("correcting int8", number, len(pairs))
        x, received = real.real(mine.input), given.real(its.input)
        done.append(_corrected(_Layer(floats, mine, x), _Layer(integers, its, received), rounding, bias, damping))
    progress("correcting int8", len(pairs), len(pairs))
    return tuple(done)


def _pairs(floats: Program, integers: Program) -> list[tuple[LinearLayer, LinearLayer]]:
    """Return each quantized layer with the float one that it was made from, in the order they run.

    Layers that stay in float in both files are left out.

    Raises:
        EdgecnnError: they are not the same in number or shape.
    """
    ours, theirs = linear_layers(floats), linear_layers(integers)
    shapes = [
        [layer.canonical(_known(program, layer.weights)).shape for layer in layers]
        for program, layers in ((floats, ours), (integers, theirs))
    ]
    if shapes[0] != shapes[1]:
        raise EdgecnnError("the int8 file has other layers than the float one, so it cannot be corrected by it")
    return [pair for pair in zip(ours, theirs, strict=True) if pair[1].weight_scale is not None]


def _known(program: Program, tensor: Any) -> Array:
    values = program.constant(tensor)
    assert values is not None  # a linear layer's weights are constant
    return values


@dataclass(frozen=True)
class _Layer:
    """A layer of a program, and the values of its input."""

    program: Program
    layer: LinearLayer
    inputs: list[npt.NDArray[np.float32]]

    @property
    def stored(self) -> Array:
        """The weights [O, I / groups, kh, kw] as the file has them, integers perhaps."""
        return self.layer.canonical(_known(self.program, self.layer.weights))

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """The weights' real values."""
        values = self.stored.astype(np.float64)
        scale = self.layer.weight_scale
        return values if scale is None else values * scale[:, None, None, None]

    @property
    def bias(self) -> npt.NDArray[np.float64]:
        """The biases' real values [O]; zeros where there are none."""
        if self.layer.bias is None:
            return np.zeros(len(self.stored))
        values = _known(self.program, self.layer.bias).astype(np.float64)
        scale = self.layer.bias_scale
        return values if scale is None else values * scale

    def write(self, weights: npt.NDArray[np.int8]) -> None:
        """Exchange the weights for integers [O, I / groups, kh, kw]."""
        self.program.set_constant(self.layer.weights, self.layer.as_stored(weights))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return the weights and biases for torch."""
        torch = require("torch", "torch")
        weights, bias = (torch.from_numpy(v.astype(np.float32)) for v in (self.weights, self.bias))
        return weights, bias


def _corrected(reference: _Layer, layer: _Layer, rounding: bool, bias: bool, damping: float) -> Correction:
    before, shift = _difference(reference, layer)
    moved = 0
    if rounding and layer.stored[0].size <= _MOST_INPUTS:
        moved = _round_anew(reference, layer, damping, centred=bias)
        if moved:
            _, shift = _difference(reference, layer)
    biases = _shift_bias(layer, shift) if bias else 0
    after = _difference(reference, layer)[0] if moved or biases else before
    name = layer.layer.output if isinstance(layer.layer.output, str) else f"operator {layer.layer.step}"
    return Correction(name, before, after, moved, biases)


def _difference(reference: _Layer, layer: _Layer) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the mean squared error before the activation as a share of the power, and the mean of each filter's [O].

    The mean is what the float layer gives less what the int8 layer gives, each for its own input.
    """
    weights, quantized = reference.tensors(), layer.tensors()
    error = power = 0.0
    total = np.zeros(len(layer.stored))
    count = 0
    pairs = zip(reference.layer.images(reference.inputs), layer.layer.images(layer.inputs), strict=True)
    for mine, its in pairs:
        expected = reference.layer.sums(mine, *weights)
        rest = expected - layer.layer.sums(its, *quantized)
        error += float(rest.square().sum())
        power += float(expected.square().sum())
        total += rest.sum((0, 2, 3)).double().numpy()
        count += rest.shape[0] * rest.shape[2] * rest.shape[3]
    return error / max(power, 1e-30), total / count


def _shift_bias(layer: _Layer, shift: npt.NDArray[np.float64]) -> int:
    """Add *shift* [O] to the biases; return how many changed.

    A bias that would leave half of its type (int32; int64 beside int16 activations) stays: the other half is for the
    products that are added to it.
    """
    scale = layer.layer.bias_scale
    if layer.layer.bias is None or scale is None:
        return 0
    old = _known(layer.program, layer.layer.bias)
    new = np.rint(old.astype(np.float64).reshape(-1) + shift / scale)
    new = (
        np.where(np.abs(new) <= np.iinfo(old.dtype).max / 2, new, old.reshape(-1)).astype(old.dtype).reshape(old.shape)
    )
    layer.program.set_constant(layer.layer.bias, new)
    return int((new != old).sum())


def _round_anew(reference: _Layer, layer: _Layer, damping: float, *, centred: bool) -> int:
    """Choose the integers of the weights by the layer's output, *centred* where the bias takes up its mean error.

    Returns how many moved.
    """
    stored, scale = layer.stored, layer.layer.weight_scale
    assert scale is not None
    groups = layer.layer.geometry.groups
    filters, inputs = len(stored), stored[0].size
    moments = _moments(layer, inputs, centred)
    target = reference.weights.reshape(groups, filters // groups, inputs)
    new = rounded(target, scale.reshape(groups, filters // groups), moments, damping).reshape(stored.shape)
    moved = int((new != stored).sum())
    if moved:
        layer.write(new)
    return moved


def _moments(layer: _Layer, inputs: int, centred: bool) -> npt.NDArray[np.float64]:
    """Return the covariance of what lies under a filter (second moments where not *centred*), [groups, J, J]."""
    torch = require("torch", "torch")
    geometry = layer.layer.geometry
    kernel = layer.stored.shape[2:]
    each = -(-_POSITIONS // len(layer.inputs))
    draw = torch.Generator().manual_seed(0)
    second = torch.zeros(geometry.groups, inputs, inputs, dtype=torch.float64)
    first = torch.zeros(geometry.groups, inputs, dtype=torch.float64)
    count, near = 0, None
    for images in layer.layer.images(layer.inputs):
        patches = torch.nn.functional.unfold(images, kernel, geometry.dilation, 0, geometry.stride)
        positions = patches.shape[2]
        if positions > each:
            patches = patches[:, :, torch.randperm(positions, generator=draw)[:each]]
        grouped = patches.reshape(len(patches), geometry.groups, inputs, -1).permute(1, 0, 3, 2)
        rows = grouped.reshape(geometry.groups, -1, inputs)  # [groups, positions, inputs]
        if centred:
            # A mean far larger than the deviations would leave nothing of them in the difference of float32 squares.
            near = rows.mean(1, keepdim=True) if near is None else near
            rows = rows - near
        second += (rows.transpose(1, 2) @ rows).double()
        first += rows.sum(1).double()
        count += rows.shape[1]
    mean = first / count if centred else torch.zeros_like(first)
    moments: npt.NDArray[np.float64] = (second / count - mean[:, :, None] * mean[:, None, :]).numpy()
    return moments


__all__ = ["Correction", "refine"]
