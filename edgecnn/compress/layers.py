"""Layers that can go whole: blocks that add to what they are given, and layers whose work the next one can do."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgecnn.checkpoint import load_weights, resize_to
from edgecnn.compress.channels import (
    IN,
    NORMS,
    OUT,
    Convolution,
    Group,
    Run,
    Slice,
    filters_of,
    find_groups,
    runs_of,
)

#: What goes with its layer: applied twice it gives something else than once, and applied to the input it cuts it.
_ACTIVATIONS = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.PReLU),
    *(nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Tanh),
)


@dataclass(frozen=True)
class Link:
    """A layer in a chain: its norm and activation, and the one layer that takes what it gives."""

    layer: str
    removed_layers: tuple[str, ...]  # all that goes with it, itself first
    norm: str | None
    following: Slice  # of the layer that takes its output: the inputs that each filter goes to
    following_norm: str | None


def find_blocks(module: nn.Module, runs: Mapping[str, Run]) -> list[str]:
    """Return the blocks that add to or scale what they are given: shapes agree, and something passes by the weights."""
    found = []
    for name, layer in module.named_modules():
        run = runs.get(name)
        if not name or run is None or run.times != 1 or isinstance(layer, nn.Sequential):
            continue
        shapes = [value.shape for value in (run.given, run.gave) if isinstance(value, torch.Tensor)]
        weighted = any(isinstance(part, (Convolution, nn.Linear)) for part in layer.modules() if part is not layer)
        if weighted and len(shapes) == 2 and shapes[0] == shapes[1] and _passes_by(layer, run.given):
            found.append(name)
    return found


def _passes_by(layer: nn.Module, x: torch.Tensor) -> bool:
    """Return whether *layer* with all its weights 0 still gives something that depends on *x*."""
    empty = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in empty.parameters():
            parameter.zero_()
        return not torch.equal(empty(x.clone() + 1), empty(x.clone()))


def find_links(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, Link]:
    """Return the convolutions and linear layers that the next one can do without.

    Raises:
        EdgecnnError: the network cannot be traced.
    """
    work, example = copy.deepcopy(module).eval().requires_grad_(True), torch.zeros(1, *input_shape)
    return links_of(work, runs_of(work, example), find_groups(work, example))[0]


def links_of(
    module: nn.Module, runs: Mapping[str, Run], groups: tuple[Group, ...]
) -> tuple[dict[str, Link], dict[str, str]]:
    """Return the layers of chains that can go whole, and why the other ones stay."""
    links, reasons = {}, {}
    norms = {
        part.layer: next((p.layer for p in group.slices if isinstance(module.get_submodule(p.layer), NORMS)), None)
        for group in groups
        for part in group.slices
        if part.side == OUT
    }
    for group in groups:
        for name in (part.layer for part in group.slices if part.side == OUT):
            if not isinstance(module.get_submodule(name), (Convolution, nn.Linear)) or name in reasons:
                continue
            reason = _why_it_stays(module, runs, group, name)
            if reason is not None:
                reasons[name] = reason
                continue
            following = next(part for part in group.slices if part.side == IN)
            norm = norms[name]
            removed_layers = [name] if norm is None else [name, norm]
            removed_layers += _activations(module, runs, runs[removed_layers[-1]].gave)
            links[name] = Link(name, tuple(removed_layers), norm, following, norms.get(following.layer))
    return links, reasons


def _why_it_stays(module: nn.Module, runs: Mapping[str, Run], group: Group, name: str) -> str | None:
    """Return why layer *name* cannot go whole; None where it can."""
    layer = module.get_submodule(name)
    if group.reason is not None:
        return group.reason
    others = [part for part in group.slices if part.layer != name]
    coupled = [
        part.layer for part in others if part.side == OUT and not isinstance(_at(module, part), (*NORMS, nn.PReLU))
    ]
    if coupled:
        return f"its filters are tied to those of {coupled[0]}"
    norms = [part.layer for part in others if isinstance(_at(module, part), NORMS)]
    following = [part for part in others if part.side == IN]
    if len(norms) > 1 or len(following) != 1:
        return f"{len(following)} layers use its output" if len(following) != 1 else "two norms use its output"
    if any(runs[used].times != 1 for used in (name, *norms, following[0].layer)):
        return "it runs more than once"
    given, gave = runs[name].given.shape, runs[name].gave.shape
    if given[2:] != gave[2:] or len(given) != len(gave):
        return "it changes the resolution"
    after = _at(module, following[0])
    inputs = sum(len(atom) for atom in following[0].indices)
    if getattr(layer, "groups", 1) > 1 or getattr(after, "groups", 1) > 1:
        return "it is grouped, or the layer behind it is"
    if len(group.slices[0].indices) != filters_of(layer) or inputs != _inputs_of(after):
        return "it is only a part of the next layer's input"
    before = sum(p.numel() for part in (name, *norms) for p in module.get_submodule(part).parameters())
    weight: torch.Tensor = after.weight  # type: ignore[assignment]
    if weight.numel() * _inputs_of(layer) // filters_of(layer) >= weight.numel() + before:
        return "without it the next layer would grow by more than it saves"
    return None


def _at(module: nn.Module, part: Slice) -> nn.Module:
    return module.get_submodule(part.layer)


def _inputs_of(layer: nn.Module) -> int:
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)  # type: ignore[arg-type]


def _activations(module: nn.Module, runs: Mapping[str, Run], value: object) -> Iterator[str]:
    for name, run in runs.items():
        layer = module.get_submodule(name)
        if run.given is value and run.times == 1 and isinstance(layer, _ACTIVATIONS):
            yield name


def without_layer(module: nn.Module, link: Link) -> nn.Module:
    """Return a copy of *module* without a layer of a chain; the weights of the next one do its work as well.

    With A and a the layer's weights and shift, its norm included, and B and b those of the next one: B A x + (B a + b).
    That is the same network where neither an activation nor a spatial kernel stands between; of a spatial kernel the
    centre tap counts.
    """
    small = copy.deepcopy(module)
    matrix, shift = _linear_part(small, link)
    state = dict(small.state_dict())
    name, norm = link.following.layer, link.following_norm
    in_dim = 0 if getattr(small.get_submodule(name), "transposed", False) else 1
    weight = state[f"{name}.weight"].transpose(1, in_dim)
    taken = weight[:, torch.tensor(link.following.indices)]  # [out, filters, places, ...]
    mended = torch.einsum("of...,fi->oi...", taken, matrix).flatten(1, 2)
    state[f"{name}.weight"] = mended.transpose(1, in_dim).contiguous()
    added = torch.einsum("of,f->o", taken.flatten(2).sum(2), shift)
    if f"{name}.bias" in state:
        state[f"{name}.bias"] = state[f"{name}.bias"] + added
    elif f"{norm}.running_mean" in state:
        state[f"{norm}.running_mean"] = state[f"{norm}.running_mean"] - added
    remove_layer_(small, link.removed_layers)
    removed_layers = tuple(f"{part}." for part in link.removed_layers)
    kept = {key: tensor for key, tensor in state.items() if not key.startswith(removed_layers)}
    resize_to(small, kept)
    load_weights(small, kept, "the shorter network")
    return small


def remove_layer_(module: nn.Module, names: tuple[str, ...]) -> None:
    """Put an identity in the place of each named layer, as `Checkpoint.rebuild` does."""
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, nn.Identity())


def _linear_part(module: nn.Module, link: Link) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a layer and its norm do to one place: a matrix [filters, inputs] and a shift [filters]."""
    state = module.state_dict()
    weight: torch.Tensor = state[f"{link.layer}.weight"]
    if getattr(module.get_submodule(link.layer), "transposed", False):
        weight = weight.transpose(0, 1)
    while weight.ndim > 2:
        weight = weight[:, :, weight.shape[2] // 2]
    bias = state.get(f"{link.layer}.bias", torch.zeros_like(weight[:, 0]))
    if link.norm is None:
        return weight, bias
    ones = torch.ones_like(bias)
    scale, variance = (state.get(f"{link.norm}.{name}", ones) for name in ("weight", "running_var"))
    offset, mean = (state.get(f"{link.norm}.{name}", 0 * ones) for name in ("bias", "running_mean"))
    scale = scale / torch.sqrt(variance + float(getattr(module.get_submodule(link.norm), "eps", 0)))
    return weight * scale[:, None], (bias - mean) * scale + offset
