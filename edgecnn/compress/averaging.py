"""The moving average of a training's weights, which is often better than the last ones (arXiv:1803.05407)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

#: In the optimizer's state of each parameter, where a training that is stopped keeps them.
_KEY, _UPDATES = "average", "averaged"


def update_average(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Move the average of each trained parameter towards its value: a share of 1 - *decay* of the way.

    At first it goes further, as the weights of the beginning are not worth keeping: with n updates before, the decay is
    at most (1 + n) / (10 + n).
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = optimizer.state[parameter]
            updates = state.get(_UPDATES, 0)
            state[_UPDATES] = updates + 1
            if _KEY in state:
                state[_KEY].lerp_(parameter.detach(), 1 - min(decay, (1 + updates) / (10 + updates)))
            else:
                state[_KEY] = parameter.detach().clone()


def take_average(module: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[torch.Tensor]) -> None:
    """Set the weights of *module* to their averages, and batch norm's statistics to those of *batches* with them.

    Args:
        module: in training mode, the one that *optimizer* trains.
        optimizer: keeps the averages.
        batches: inputs [n, ...].
    """
    with torch.no_grad():
        for parameter in module.parameters():
            average = optimizer.state[parameter].get(_KEY) if parameter in optimizer.state else None
            if average is not None:
                parameter.copy_(average)
        norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        momenta = [layer.momentum for layer in norms]
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
        for x in batches:
            module(x)
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
