"""Pruning criteria: how much each filter of a layer matters.

A criterion is a function of a layer's weights [out, ...] that gives a score a filter [out]; filters of the least score
go first. Where gradients were taken (`with_gradients`), they are the weights' own: `weight.grad`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from edgecnn.compress import CRITERIA
from edgecnn.compress.channels import OUT, Convolution
from edgecnn.compress.units import Unit
from edgecnn.errors import EdgecnnError

Criterion = Callable[[torch.Tensor], torch.Tensor]


def l1(weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of absolute weights of each filter: [out, ...] → [out] (Li et al. 2017, arXiv:1608.08710)."""
    return torch.sum(weight.flatten(1).abs(), dim=1)


def l2(weight: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean norm of each filter: [out, ...] → [out]."""
    return torch.sqrt(torch.sum(weight.flatten(1).square(), dim=1))


def scores_of(module: nn.Module, unit: Unit, criterion: str | Criterion) -> torch.Tensor:
    """Return the score of each atom of *unit* [atoms]: the mean over its layers, each layer's own mean being 1.

    Raises:
        EdgecnnError: the criterion is not known, or gives something other than a finite score a filter.
    """
    name = criterion if isinstance(criterion, str) else getattr(criterion, "__name__", "criterion")
    function: Criterion = CRITERIA.load(criterion) if isinstance(criterion, str) else criterion
    scores = []
    for part in unit.slices:
        layer = module.get_submodule(part.layer)
        if part.side == OUT and isinstance(layer, (Convolution, nn.Linear)):
            score = _scored(function, name, part.layer, layer)
            share = torch.stack([score[list(atom)].sum() for atom in part.indices])
            scores.append(share / share.mean().clamp_min(1e-12))
    return torch.stack(scores).mean(0)


def _scored(function: Criterion, name: str, layer: str, module: nn.Module) -> torch.Tensor:
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    rows = weight.detach().transpose(0, 1) if getattr(module, "transposed", False) else weight.detach()
    score = function(rows)
    if not isinstance(score, torch.Tensor) or score.shape != (len(rows),):
        given = list(score.shape) if isinstance(score, torch.Tensor) else type(score).__name__
        raise EdgecnnError(
            f"criterion {name} gave {given} for the weights {list(rows.shape)} of {layer}, not [{len(rows)}]"
        )
    score = score.detach().float()
    if not torch.isfinite(score).all():
        raise EdgecnnError(f"criterion {name} gave scores for {layer} that are NaN or infinite")
    return score
