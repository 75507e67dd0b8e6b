"""Pruning criteria: how much each filter of a layer matters."""

from __future__ import annotations

import torch


def l1(weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of absolute weights of each filter: [out, ...] → [out] (Li et al. 2017, arXiv:1608.08710)."""
    return torch.sum(weight.flatten(1).abs(), dim=1)


def l2(weight: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean norm of each filter: [out, ...] → [out]."""
    return torch.sqrt(torch.sum(weight.flatten(1).square(), dim=1))
