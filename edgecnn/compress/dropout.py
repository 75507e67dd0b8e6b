"""Dropout for a network that was cut: where fewer features are left, fewer of them are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

DROPOUT = nn.modules.dropout._DropoutNd


@contextmanager
def dropout_in_proportion(cut: nn.Module, designed: nn.Module, x: npt.NDArray[np.float32]) -> Iterator[None]:
    """While entered, each dropout of *cut* drops less, by the share of the features there that *designed* has.

    A layer of 4096 features that half are dropped of learns to do without any of them; one of 200 that are left of
    those needs each. Han et al. 2015 (arXiv:1506.02626, section 3.3) scale by the root of the connections' share, which
    for layers narrowed alike is the share of the features. What functions drop, and not modules, stays as it is.

    Args:
        cut: dropouts have the names they have in *designed*.
        designed: the network that the dropout was meant for, before any cut.
        x: an input of both [n, ...].
    """
    left, whole = _features(cut, torch.from_numpy(x)), _features(designed, torch.from_numpy(x))
    dropouts = {name: layer for name, layer in _dropouts(cut).items() if name in left and name in whole}
    usual = {name: layer.p for name, layer in dropouts.items()}
    for name, layer in dropouts.items():
        layer.p *= min(1.0, left[name] / whole[name])
    try:
        yield
    finally:
        for name, layer in dropouts.items():
            layer.p = usual[name]


def _dropouts(module: nn.Module) -> dict[str, Any]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, DROPOUT)}


def _features(module: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """Return how many features of a sample each dropout of *module* is given, by name."""
    seen: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(_layer: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen[name] = output[0].numel()  # as many as it was given

        return hook

    was_training = module.training
    hooks = [layer.register_forward_hook(note(name)) for name, layer in _dropouts(module).items()]
    try:
        if hooks:  # without any, there is nothing to run for
            with torch.no_grad():
                module.eval()(x)
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return seen
