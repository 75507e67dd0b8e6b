"""Cross-layer equalization: give the channels of an activation, which share one scale, the same range.

Between two layers, with nothing but a ReLU between them, a channel may be divided by any s > 0 in the first and
multiplied by it in the second: Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.1. There s levels the
ranges of the weights. Here every filter has a scale of its own, so what is left to level are the activations: s is
chosen by the noise that the second layer's output gets from both its rounded inputs and its rounded weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.export.int8.linear import LinearLayer
from edgecnn.export.int8.program import Array, Program, TensorId, linear_layers
from edgecnn.progress import Progress, silent

Floats = npt.NDArray[np.float64]

#: What lets each channel pass by itself, times any positive number.
_PASSING = frozenset(
    [
        "PAD",
        "MAX_POOL_2D",
        "AVERAGE_POOL_2D",
        "MEAN",
        "RESHAPE",
        "SQUEEZE",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "Flatten",
        "ReduceMean",
        "Reshape",
        "Squeeze",
    ]
)
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # how far ranges are levelled: 0 not at all, 1 until they are the same
_MOST = 2.0**12  # that a channel is multiplied by
_ROUNDING = 1e-4  # share of the largest output that float32 sums in another order may differ by


@dataclass(frozen=True)
class Channels:
    """What the channels of an activation hold over all samples: [C] each."""

    smallest: Floats
    largest: Floats
    power: Floats  # the mean square


@dataclass(frozen=True)
class Pair:
    """Two layers, one after the other, with nothing between them but an activation and what passes channels on."""

    first: LinearLayer
    second: LinearLayer
    between: TensorId  # the activation: what the first gives, after its ReLU
    limit: float  # of the activation: 6 for ReLU6, infinite for ReLU
    is_rectified: bool  # nothing negative passes


def equalize(program: Program, samples: Sequence[Array], progress: Progress = silent) -> dict[str, Any]:
    """Equalize the float *program* in place; return what was done, `{}` where nothing could be.

    A channel that reaches the limit of a ReLU6 stays as it is; others pass as through a ReLU. The outputs over the
    samples are compared with those before: where they differ beyond rounding, everything is as it was.

    Args:
        program: the network in float.
        samples: calibration samples, [1, C, H, W] float32 as the network wants them.
        progress: told how many samples are done.
    """
    pairs = find_pairs(program)
    if not pairs:
        return {}
    before = {tensor: program.constant(tensor) for pair in pairs for tensor in _constants(pair)}
    seen, expected = _observed(program, samples, pairs, progress)
    changed = absorbed = 0
    gains = []
    for pair in pairs:
        channels, biases = _absorb(program, pair, seen[pair.between])
        absorbed += biases
        scale, gain = _best_scale(program, pair, channels)
        if gain > 0:
            _divide(program, pair, scale)
            changed += int((scale != 1).sum())
            gains.append(gain)
    outputs = program.observer(program.outputs)
    worst = max(_difference(a, outputs(x)) for x, a in zip(samples, expected, strict=True))
    if worst > _ROUNDING:
        for tensor, values in before.items():
            if values is not None:
                program.set_constant(tensor, values)
        return {"pairs": 0, "undone": f"the outputs differed by {worst:.1e} of the largest"}
    return {
        "pairs": len(gains),
        "channels": changed,
        "biases_absorbed": absorbed,
        "gain_db": round(float(np.mean(gains)), 2) if gains else 0.0,
        "float_difference": float(f"{worst:.1e}"),
    }


def find_pairs(program: Program) -> list[Pair]:
    """Return the pairs of layers that can be equalized, in the order they run."""
    layers = {layer.step: layer for layer in linear_layers(program)}
    readers: dict[TensorId, list[int]] = {}
    for step, operator in enumerate(program.steps):
        for tensor in operator.inputs:
            readers.setdefault(tensor, []).append(step)
    found = []
    for layer in layers.values():
        limits = program.activation(layer.step)
        if limits is not None and limits[0] not in (0, -np.inf):
            continue
        tensor, between = layer.output, layer.output
        while limits is not None and len(readers.get(tensor, ())) == 1 and tensor not in program.outputs:
            step = readers[tensor][0]
            second = layers.get(step)
            if second is not None:
                if second.input == tensor and _inputs_of(program, second) == _filters_of(program, layer):
                    found.append(Pair(layer, second, between, limits[1], limits[0] == 0))
                break
            bounds = program.activation(step)
            is_open = limits == (-np.inf, np.inf) and tensor == between
            if is_open and bounds is not None and bounds[0] == 0:
                limits, between = bounds, program.steps[step].outputs[0]
            elif program.steps[step].kind not in _PASSING or bounds != (-np.inf, np.inf):
                break
            tensor = program.steps[step].outputs[0]
    return found


def _constants(pair: Pair) -> list[TensorId]:
    tensors = (pair.first.weights, pair.first.bias, pair.second.weights, pair.second.bias)
    return [tensor for tensor in tensors if tensor is not None]


def _filters_of(program: Program, layer: LinearLayer) -> int:
    return len(_weights(program, layer))


def _inputs_of(program: Program, layer: LinearLayer) -> int:
    return int(_weights(program, layer).shape[1]) * layer.geometry.groups


def _weights(program: Program, layer: LinearLayer) -> Floats:
    """Return the weights [O, I / groups, kh, kw]."""
    stored = program.constant(layer.weights)
    assert stored is not None  # a linear layer's weights are constant
    return layer.canonical(stored).astype(np.float64)


def _observed(
    program: Program, samples: Sequence[Array], pairs: Sequence[Pair], progress: Progress
) -> tuple[dict[TensorId, Channels], list[list[Array]]]:
    """Return what each activation between two layers holds, and the outputs of each sample."""
    wanted = list(dict.fromkeys(pair.between for pair in pairs))
    axes = {
        pair.between: -1 if pair.first.geometry.channels_last or pair.first.geometry.is_flat else 1 for pair in pairs
    }
    run = program.observer([*wanted, *program.outputs])
    sums: dict[TensorId, list[Floats]] = {}
    outputs = []
    for number, x in enumerate(samples):
        values = run(x)
        outputs.append(values[len(wanted) :])
        for tensor, value in zip(wanted, values, strict=False):
            rows = np.moveaxis(value, axes[tensor], -1).reshape(-1, value.shape[axes[tensor]])
            low, high, power = rows.min(0), rows.max(0), np.square(rows, dtype=np.float64).mean(0)
            known = sums.get(tensor)
            sums[tensor] = (
                [low, high, power]
                if known is None
                else [np.minimum(known[0], low), np.maximum(known[1], high), known[2] + power]
            )
        progress("equalizing", number + 1, len(samples))
    count = len(samples)
    return {
        t: Channels(low.astype(np.float64), high.astype(np.float64), power / count)
        for t, (low, high, power) in sums.items()
    }, outputs


def _absorb(program: Program, pair: Pair, channels: Channels) -> tuple[Channels, int]:
    """Move what a channel always gives at least to the second layer's bias (Nagel et al. 2019, section 4.1.3).

    Its range gets shorter by that. Not where the second layer pads with zeros, for those would have to be moved too.
    """
    least = np.maximum(channels.smallest, 0.0)
    movable = pair.is_rectified and pair.first.bias is not None and pair.second.bias is not None
    is_wide = least.max(initial=0.0) > 0.1 * channels.largest.max(initial=0.0)
    exact = pair.between == pair.second.input and not any(pair.second.geometry.pads) and not np.isfinite(pair.limit)
    if not (movable and is_wide and exact):
        return channels, 0
    weights = _weights(program, pair.second)
    groups = pair.second.geometry.groups
    by_group = weights.sum((2, 3)).reshape(groups, -1, weights.shape[1])
    moved = np.einsum("goi,gi->go", by_group, least.reshape(groups, -1)).reshape(-1)
    _add(program, pair.first.bias, -least)
    _add(program, pair.second.bias, moved)
    power = channels.power - 2 * least * np.sqrt(channels.power) + least**2  # about: the mean is near the root
    return Channels(channels.smallest - least, channels.largest - least, np.maximum(power, 0)), int((least > 0).sum())


def _add(program: Program, bias: Any, change: Floats) -> None:
    stored = program.constant(bias)
    assert stored is not None
    program.set_constant(bias, (stored + change.reshape(stored.shape)).astype(stored.dtype))


def _best_scale(program: Program, pair: Pair, channels: Channels) -> tuple[Floats, float]:
    """Return what each channel is divided by, [C], and by how many decibels the noise of the second layer falls."""
    reach = np.maximum(channels.largest, -channels.smallest)
    alive = reach > 1e-6 * reach.max(initial=0.0)
    clips = channels.largest >= pair.limit * (1 - 1e-6)
    if not alive.any() or reach.max() <= 0:
        return np.ones_like(reach), 0.0
    level = np.where(alive, reach / reach.max(), 1.0)
    weights = _weights(program, pair.second)
    noises, scales = [], []
    for exponent in _EXPONENTS:
        scale = np.where(alive & ~clips, np.maximum(level**exponent, 1 / _MOST), 1.0)
        scales.append(scale)
        noises.append(_noise(weights, pair.second.geometry.groups, channels, scale))
    best = int(np.argmin(noises))
    gain = 10 * np.log10(noises[0] / max(noises[best], 1e-300)) if noises[0] > 0 else 0.0
    return scales[best], float(gain)


def _noise(weights: Floats, groups: int, channels: Channels, scale: Floats) -> float:
    """Return the noise power of the second layer's outputs where its inputs are divided by *scale*, weights multiplied.

    A value rounded in steps of d is off by d^2 / 12 in the mean square. The step of the inputs, one for all, is their
    range / 255; that of a filter's weights is its largest weight / 127.
    """
    shaped = weights.reshape(groups, -1, weights.shape[1], weights.shape[2] * weights.shape[3])
    by_group = scale.reshape(groups, 1, -1, 1)
    scaled = shaped * by_group
    low, high = min((channels.smallest / scale).min(), 0.0), max((channels.largest / scale).max(), 0.0)
    input_step = (high - low) / 255
    weight_step = np.abs(scaled).max(axis=(2, 3)) / 127  # [G, O]
    of_inputs = np.square(scaled).sum() * input_step**2
    power = (channels.power / scale**2).reshape(groups, 1, -1) * shaped.shape[3]
    of_weights = (np.square(weight_step)[:, :, None] * power).sum()
    return float(of_inputs + of_weights) / 12


def _divide(program: Program, pair: Pair, scale: Floats) -> None:
    """Divide the first layer's filters by *scale* [C], and multiply the second's inputs by it."""
    first, second = _weights(program, pair.first), _weights(program, pair.second)
    _write(program, pair.first, first / scale[:, None, None, None])
    if pair.first.bias is not None:
        stored = program.constant(pair.first.bias)
        assert stored is not None
        program.set_constant(pair.first.bias, (stored / scale.reshape(stored.shape)).astype(stored.dtype))
    groups = pair.second.geometry.groups
    grouped = second.reshape(groups, -1, *second.shape[1:]) * scale.reshape(groups, 1, -1, 1, 1)
    _write(program, pair.second, grouped.reshape(second.shape))


def _write(program: Program, layer: LinearLayer, weights: Floats) -> None:
    program.set_constant(layer.weights, layer.as_stored(weights.astype(np.float32)))


def _difference(expected: Sequence[Array], given: Sequence[Array]) -> float:
    """Return the largest difference of two lists of outputs, as a share of the largest value of each."""
    pairs = zip(expected, given, strict=True)
    return max(float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-30)) for a, b in pairs)


__all__ = ["Channels", "Pair", "equalize", "find_pairs"]
