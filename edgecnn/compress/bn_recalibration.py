"""Batch norm's statistics after a cut: they move as far as what batch norm is given has moved.

A cut changes what the layers behind it are given, and batch norm goes on with the mean and the variance of before. Most
of what a cut seems to cost before any training is that (Li et al. 2020, arXiv:2007.02491). They are not taken anew, as
plain images have others than those that were moved and mirrored for training: they move so that for the same images
each channel has the mean and the spread that it had before the cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from edgecnn.compress.channels import OUT, Removed

Moments = tuple[torch.Tensor, torch.Tensor]  # mean and variance of each channel [C]

_BATCH_NORM = nn.modules.batchnorm._BatchNorm


@contextmanager
def noting_statistics(module: nn.Module) -> Iterator[dict[str, Moments]]:
    """Yield what fills, as *module* runs, with the moments of what each batch norm is given the first time."""
    seen: dict[str, Moments] = {}

    def note(name: str, _layer: nn.Module, moments: Moments) -> None:
        seen[name] = moments

    with _given(module, [name for name, _ in _followers(module)], note):
        yield seen


@contextmanager
def moving_statistics(
    module: nn.Module, before: Mapping[str, Moments], removed_channels: Removed, names: Collection[str]
) -> Iterator[None]:
    """While entered, the batch norms *names* of *module* move their statistics as they run.

    Args:
        module: what a cut has left; its buffers are replaced, not written to, as others may share them.
        before: what the original's batch norms were given, for the same images.
        removed_channels: the filters that were cut.
        names: of the layers that run behind the cut.
    """

    def move(name: str, layer: Any, moments: Moments) -> None:
        mean, var = moments
        lost = set(removed_channels.get((name, OUT), ()))
        kept = [index for index in range(len(before[name][0])) if index not in lost]
        was_mean, was_var = (of_channels[kept] for of_channels in before[name])
        # What it gives has the mean and the spread that it had: both were off those of these images, and stay so.
        wider = (var + layer.eps) / (was_var + layer.eps)
        moved = mean + (layer.running_mean - was_mean) * wider.sqrt()
        widened = ((layer.running_var + layer.eps) * wider - layer.eps).clamp_min(0)
        layer.running_mean, layer.running_var = moved.to(layer.running_mean), widened.to(layer.running_var)

    with _given(module, [name for name, _ in _followers(module) if name in names and name in before], move):
        yield


def _followers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the batch norms that have statistics to go by."""
    for name, layer in module.named_modules():
        if isinstance(layer, _BATCH_NORM) and layer.running_mean is not None and layer.running_var is not None:
            yield name, layer


@contextmanager
def _given(module: nn.Module, names: Collection[str], act: Any) -> Iterator[None]:
    """While entered, call act(name, layer, moments) before the first run of each of the layers *names*."""
    done: set[str] = set()

    def hook(name: str) -> Any:
        def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if name in done:
                return
            done.add(name)
            # A pass that is being recorded does not count these calls.
            with torch._C.DisableTorchFunction(), torch.no_grad():
                x = inputs[0].float()
                var, mean = torch.var_mean(x, [dim for dim in range(x.ndim) if dim != 1], correction=0)
                act(name, layer, (mean, var))

        return note

    hooks = [module.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()
