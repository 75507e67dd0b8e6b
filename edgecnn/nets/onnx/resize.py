"""Resize and Upsample of ONNX: by torch's interpolate where it computes the same, else by matrices, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from edgecnn.nets.onnx.node import Built, Node, UnreadableError

Places = npt.NDArray[np.floating[Any]]  # [out]: where in the input each value of the output lies
_INTERPOLATE = {
    "nearest": {1: "nearest", 2: "nearest", 3: "nearest"},
    "linear": {1: "linear", 2: "bilinear", 3: "trilinear"},
    "cubic": {2: "bicubic"},
}


def resize(node: Node) -> Built:
    """Read Resize or Upsample."""
    shape = node.shape()
    sizes, scales = _wanted(node, shape)
    mode = "linear" if node.attribute("mode", "nearest") == "bilinear" else node.attribute("mode", "nearest")
    if mode not in _INTERPOLATE:
        raise UnreadableError(f"has the mode {mode!r}")
    if node.attribute("antialias", 0) or node.attribute("exclude_outside", 0):
        raise UnreadableError("smooths before it makes images smaller (antialias, exclude_outside)")
    if len(shape) < 3 or sizes[:2] != list(shape[:2]):
        raise UnreadableError(f"resizes {list(shape)} to {sizes}: other axes than those of an image")
    old = node.kind == "Upsample" or node.opset < 11
    rule = "asymmetric" if old else node.attribute("coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else node.attribute("nearest_mode", "round_prefer_floor")
    axes = list(zip(shape[2:], sizes[2:], scales[2:], strict=True))
    places = [_places(rule, *axis) for axis in axes]
    if mode == "nearest":
        return _nearest(axes, [_rounded(one, nearest, axis[0]) for one, axis in zip(places, axes, strict=True)])
    if mode == "linear" or mode == "cubic":
        aligned = _same(places, [_places("align_corners", *axis) for axis in axes])
        plain = _same(places, [_places("half_pixel", old, new, new / old) for old, new, _ in axes])
        name = _INTERPOLATE[mode].get(len(axes))
        cubic = float(node.attribute("cubic_coeff_a", -0.75))
        if name is not None and (aligned or plain) and (mode == "linear" or cubic == -0.75):
            size = sizes[2:]
            return lambda x: functional.interpolate(x, size, mode=name, align_corners=not plain)
        weights = _linear if mode == "linear" else _cubic(cubic)
        return _by_matrices([weights(one, axis[0]) for one, axis in zip(places, axes, strict=True)])
    raise AssertionError(mode)


def _wanted(node: Node, shape: tuple[int, ...]) -> tuple[list[int], list[float]]:
    """Return the shape of the output, and how many times as large each axis becomes."""
    if node.kind == "Upsample" or node.opset < 11:
        scales, sizes = node.numbers(1, "scales"), None
    else:
        if node.has(1):
            node.take(1)  # a region, which only tf_crop_and_resize looks at
        scales, sizes = node.numbers(2) or None, node.numbers(3) or None
    axes = node.attribute("axes", None)
    chosen = list(range(len(shape))) if axes is None else [axis % len(shape) for axis in axes]
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnreadableError("keeps the aspect ratio by a rule of its own")
    if (sizes is None) == (scales is None) or len(sizes or scales or ()) != len(chosen):
        raise UnreadableError("has neither sizes nor scales for its axes, or both")
    wanted, factors = list(shape), [1.0] * len(shape)
    for place, axis in enumerate(chosen):
        if sizes is not None:
            wanted[axis] = int(sizes[place])
            factors[axis] = wanted[axis] / shape[axis]
        elif scales is not None:
            factors[axis] = float(scales[place])
            wanted[axis] = int(np.floor(np.float32(shape[axis]) * np.float32(factors[axis])))
    if min(wanted) < 1:
        raise UnreadableError(f"resizes {list(shape)} to {wanted}")
    return wanted, factors


def _places(rule: str, old: int, new: int, scale: float) -> Places:
    """Return where in an axis of *old* values each of *new* values lies, as ONNX's coordinate_transformation_mode."""
    at, scale = np.arange(new, dtype=np.float32), float(np.float32(scale))
    if rule == "half_pixel" or (rule == "pytorch_half_pixel" and new > 1):
        return (at + 0.5) / scale - 0.5
    if rule == "pytorch_half_pixel":
        return np.zeros(1)
    if rule == "align_corners":
        return at * ((old - 1) / (new - 1)) if new > 1 else np.zeros(1)
    if rule == "asymmetric":
        return at / scale
    if rule == "tf_half_pixel_for_nn":
        return (at + 0.5) / scale
    if rule == "half_pixel_symmetric":
        whole = scale * old
        return old / 2 * (1 - new / whole) + (at + 0.5) / scale - 0.5
    raise UnreadableError(f"has the coordinate_transformation_mode {rule!r}")


def _same(places: list[Places], others: list[Places]) -> bool:
    return all(np.allclose(one, other, rtol=0, atol=1e-6) for one, other in zip(places, others, strict=True))


_ROUNDING: dict[str, Callable[[Places], Places]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _rounded(places: Places, rule: str, length: int) -> npt.NDArray[np.int64]:
    if rule not in _ROUNDING:
        raise UnreadableError(f"has the nearest_mode {rule!r}")
    return np.clip(_ROUNDING[rule](places), 0, length - 1).astype(np.int64)


def _nearest(axes: list[tuple[int, int, float]], chosen: list[npt.NDArray[np.int64]]) -> Built:
    size = [new for _, new, _ in axes]
    if len(axes) <= 3:
        for mode in ("nearest", "nearest-exact"):
            if all(
                np.array_equal(_by_torch(mode, old, new), one) for (old, new, _), one in zip(axes, chosen, strict=True)
            ):
                return lambda x, mode=mode: functional.interpolate(x, size, mode=mode)
    indices = [torch.from_numpy(one) for one in chosen]

    def gathered(x: torch.Tensor) -> torch.Tensor:
        for axis, index in enumerate(indices, start=2):
            x = x.index_select(axis, index.to(x.device))
        return x

    return gathered


def _by_torch(mode: str, old: int, new: int) -> npt.NDArray[Any]:
    """Return which values of an axis torch's interpolate takes."""
    line = torch.arange(old, dtype=torch.float32).reshape(1, 1, old)
    return functional.interpolate(line, [new], mode=mode).flatten().numpy().astype(np.int64)


def _linear(places: Places, length: int) -> npt.NDArray[np.float32]:
    """Return the matrix [out, in] of a linear interpolation."""
    at = np.clip(places, 0, length - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    share = at - low
    matrix = np.zeros((len(places), length))
    rows = np.arange(len(places))
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, high), share)
    return matrix.astype(np.float32)


def _cubic(a: float) -> Callable[[Places, int], npt.NDArray[np.float32]]:
    """Return what gives the matrix [out, in] of a cubic convolution (Keys, 1981) of the coefficient *a*."""

    def kernel(x: Places) -> Places:
        x = np.abs(x)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    def weights(places: Places, length: int) -> npt.NDArray[np.float32]:
        matrix = np.zeros((len(places), length))
        rows, low = np.arange(len(places)), np.floor(places).astype(np.int64)
        for step in (-1, 0, 1, 2):
            column = np.clip(low + step, 0, length - 1)
            np.add.at(matrix, (rows, column), kernel(places - (low + step)))
        return matrix.astype(np.float32)

    return weights


def _by_matrices(matrices: list[npt.NDArray[np.float32]]) -> Built:
    tensors = [torch.from_numpy(one) for one in matrices]

    def product(x: torch.Tensor) -> torch.Tensor:
        for axis, matrix in enumerate(tensors, start=2):
            x = (x.transpose(axis, -1) @ matrix.T.to(x)).transpose(axis, -1)
        return x

    return product
