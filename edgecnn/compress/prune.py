"""Structured pruning: whole filters go, and with them the input channels of what follows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgecnn.compress import CRITERIA
from edgecnn.errors import EdgecnnError, require

Criterion = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class PruneConfig:
    """How much to prune, and by what."""

    pruning_ratio: float = 0.5  # of the channels of every prunable layer, in [0, 1)
    criterion: str | Criterion = "l2"
    round_to: int = 1  # channel counts become multiples of it

    def __post_init__(self) -> None:
        if not 0 <= self.pruning_ratio < 1:
            raise EdgecnnError(f"a pruning ratio is at least 0 and less than 1, not {self.pruning_ratio:g}")
        if self.round_to < 1:
            raise EdgecnnError(f"round_to is at least 1, not {self.round_to}")


@dataclass(frozen=True)
class Size:
    """What a network costs: parameters, and MACs of one sample."""

    params: int
    macs: int


def prune(module: nn.Module, input_shape: tuple[int, ...], config: PruneConfig) -> nn.Module:
    """Return a smaller copy of *module*, pruned along the dependency graph of torch-pruning; the output stays whole.

    Args:
        module: a network with one input (C, H, W).
        input_shape: (C, H, W).
        config: ratio, criterion, rounding.

    Raises:
        EdgecnnError: the network cannot be traced.
    """
    pruning = require("torch_pruning", "torch")
    small = copy.deepcopy(module).eval()
    if config.pruning_ratio == 0:
        return small
    criterion = CRITERIA.load(config.criterion) if isinstance(config.criterion, str) else config.criterion
    example = torch.zeros(1, *input_shape)
    try:
        pruner = pruning.pruner.BasePruner(
            small,
            example,
            importance=_GroupImportance(criterion),
            pruning_ratio=config.pruning_ratio,
            ignored_layers=[_last_weighted_layer(small, example)],
            round_to=config.round_to,
        )
        pruner.step()
    except Exception as error:
        # torch-pruning meets a network it cannot follow with whatever its own code happens to raise.
        raise EdgecnnError(f"torch-pruning cannot follow this network: {type(error).__name__}: {error}") from error
    return small


class _GroupImportance:
    """The mean over all layers that lose the same filters of the criterion's score, each layer's mean being 1."""

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion

    def __call__(self, group: Any) -> torch.Tensor | None:
        scores = []
        for dependency, indices in group:
            layer = dependency.target.module
            drops_filters = dependency.handler.__name__ == "prune_out_channels"
            if drops_filters and isinstance(layer, (nn.Conv2d, nn.Linear)):
                score = self.criterion(layer.weight.detach())[indices]
                scores.append(score / score.mean().clamp_min(1e-12))
        return torch.stack(scores).mean(0) if scores else None


def _last_weighted_layer(module: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return the layer that gives the output: the last one with weights to run."""
    ran: list[nn.Module] = []
    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(lambda layer, _inputs, _output: ran.append(layer)) for layer in layers]
    with torch.no_grad():
        module(example)
    for hook in hooks:
        hook.remove()
    if not ran:
        raise EdgecnnError("the network has no convolution and no linear layer to prune")
    return ran[-1]


def size_of(module: nn.Module, input_shape: tuple[int, ...]) -> Size:
    """Return parameters and MACs, counted on the physical network."""
    macs, params = require("torch_pruning", "torch").utils.count_ops_and_params(module, torch.zeros(1, *input_shape))
    return Size(int(params), int(macs))
