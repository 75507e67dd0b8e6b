"""Unstructured magnitude pruning: single weights become 0, the shapes stay, and dense files do not shrink by it."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from edgecnn.compress.channels import Convolution
from edgecnn.errors import EdgecnnError

Masks = Mapping[str, torch.Tensor]  # weight → True where it is kept


def magnitude_masks(module: nn.Module, sparsity: float) -> dict[str, torch.Tensor]:
    """Return which weights to keep: those of the greatest size in all convolutions and linear layers together.

    Biases and norms are never touched. A weight that is 0 already goes first, so that masks for a greater sparsity
    lie within those for a lesser one.

    Args:
        module: a network.
        sparsity: the share of zeros, in [0, 1).

    Raises:
        EdgecnnError: a sparsity outside [0, 1), or weights that are NaN.
    """
    if not 0 <= sparsity < 1:
        raise EdgecnnError(f"a sparsity is at least 0 and less than 1, not {sparsity:g}")
    weights = _weights(module)
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    if torch.isnan(sizes).any():
        raise EdgecnnError("the network has NaN weights, which have no magnitude")
    kept = torch.ones_like(sizes, dtype=torch.bool)
    kept[sizes.argsort(stable=True)[: int(sparsity * len(sizes) + 1e-9)]] = False
    parts = torch.split(kept, [weight.numel() for weight in weights.values()])
    return {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}


def convolution_masks(module: nn.Module, zeros: int) -> dict[str, torch.Tensor]:
    """Return which weights of convolutions to keep where *zeros* of them go, those of the least size in all together.

    Linear layers, biases and norms are never touched. A weight that is 0 already goes first.

    Raises:
        EdgecnnError: there are fewer weights, or some are NaN.
    """
    linear = {f"{name}.weight" for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    weights = {name: weight for name, weight in _weights(module).items() if name not in linear}
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    if not 0 <= zeros < len(sizes):
        raise EdgecnnError(f"{zeros} of {len(sizes)} weights of convolutions cannot be 0")
    if torch.isnan(sizes).any():
        raise EdgecnnError("the network has NaN weights, which have no magnitude")
    kept = torch.ones_like(sizes, dtype=torch.bool)
    kept[sizes.argsort(stable=True)[:zeros]] = False
    parts = torch.split(kept, [weight.numel() for weight in weights.values()])
    return {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}


def sparsify(module: nn.Module, sparsity: float) -> nn.Module:
    """Return a copy of *module* with that share of its weights 0, those of the least size (global L1).

    Raises:
        EdgecnnError: as `magnitude_masks`.
    """
    sparse = copy.deepcopy(module)
    apply_masks(sparse, magnitude_masks(sparse, sparsity))
    return sparse


def sparsity_steps(sparsity: float, steps: int) -> tuple[float, ...]:
    """Return the sparsities on the way to one, training between them: fast at first, slowly at the end.

    By the cubic schedule of Zhu and Gupta 2017, arXiv:1710.01878.

    Raises:
        EdgecnnError: fewer than one step.
    """
    if steps < 1:
        raise EdgecnnError(f"the number of sparsity steps is at least 1, not {steps}")
    return tuple(sparsity * (1 - (1 - step / steps) ** 3) for step in range(1, steps + 1))


def nonzero_masks(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return which weights of convolutions and linear layers are not 0."""
    return {name: weight.detach() != 0 for name, weight in _weights(module).items()}


def apply_masks(module: nn.Module, masks: Masks) -> None:
    """Set the weights of *module* that *masks* do not keep to 0."""
    with torch.no_grad():
        for name, mask in masks.items():
            parameter = module.get_parameter(name)
            parameter.mul_(mask.to(parameter.device))


def sparsity_of(module: nn.Module) -> float:
    """Return the share of zeros among the weights of all convolutions and linear layers."""
    weights = _weights(module).values()
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def zip_size_bytes(path: Path) -> int:
    """Return the size of a file compressed by zip (deflate, level 9): what zeros save where files are compressed."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(path, path.name)
    return packed.tell()


def _weights(module: nn.Module) -> dict[str, torch.Tensor]:
    found = {
        f"{name}.weight" if name else "weight": layer.weight
        for name, layer in module.named_modules()
        if isinstance(layer, (Convolution, nn.Linear))
    }
    computed = [name for name, weight in found.items() if not isinstance(weight, nn.Parameter)]
    if computed:
        raise EdgecnnError(
            f"{computed[0]} is computed from other weights; remove the parametrization "
            f"(torch.nn.utils.parametrize.remove_parametrizations) to set single weights to 0"
        )
    if not found:
        raise EdgecnnError("the network has no convolution and no linear layer to make sparse")
    return found
