"""Networks that teach another: several as one, and with inputs of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgecnn.nets.outputs import tensors_of
from edgecnn.normalization import Normalization


class Renormalised(nn.Module):
    """A network that is given inputs by one normalization and expects another: x * scale + shift, a channel each."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, module: nn.Module, given: Normalization, expected: Normalization) -> None:
        super().__init__()
        self.module = module
        (mean, std), (own_mean, own_std) = (
            (torch.tensor(one.mean, dtype=torch.float64), torch.tensor(one.std, dtype=torch.float64))
            for one in (given, expected)
        )
        self.register_buffer("scale", (std / own_std).float().view(-1, 1, 1))
        self.register_buffer("shift", ((mean - own_mean) / own_std).float().view(-1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs [N, C, H, W] to scores [N, classes]."""
        return self.module(x * self.scale + self.shift)  # type: ignore[no-any-return]


class Ensemble(nn.Module):
    """Networks for the same inputs as one: the mean of their outputs."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Map inputs [N, ...] to the outputs of its members, [N, ...] each."""
        # Copies, as one may write over its input.
        given = [tensors_of(member(x.clone()), "that teaches") for member in self.members]
        means = [torch.stack([one.float() for one in column]).mean(0) for column in zip(*given, strict=True)]
        return means[0] if len(means) == 1 else tuple(means)


def ensemble(modules: Sequence[nn.Module]) -> nn.Module:
    """Return *modules*, one or more, as one that teaches."""
    return modules[0] if len(modules) == 1 else Ensemble(modules)
