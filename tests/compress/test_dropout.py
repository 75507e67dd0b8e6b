"""A network that was cut drops fewer of its fewer features, while it is trained and no longer."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from edgecnn.compress.dropout import dropout_in_proportion
from edgecnn.compress.prune import cut


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(32, 40), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(40, 10),
    )  # fmt: skip


def test_dropout_goes_with_the_features_that_are_left() -> None:
    """A quarter of the features, a quarter of the dropout; afterwards it is what it was, as is the mode."""
    original = _network()
    small = cut(original, (3, 4, 4), {"0": 0.5, "4": 0.75}).module.train()
    with dropout_in_proportion(small, original, np.zeros((1, 3, 4, 4), np.float32)):
        assert (small[2].p, small[6].p) == (0.1, 0.125)
        assert small.training
        assert small[6].training
    assert (small[2].p, small[6].p) == (0.2, 0.5)


class ByKeyword(nn.Module):
    """Calls its dropout in the other way."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.drop, self.last = nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 4] to [N, 2]."""
        return self.last(self.drop(input=self.wide(x)))  # type: ignore[no-any-return]


def test_a_dropout_called_by_keyword_is_followed() -> None:
    """However it is given its features, they are counted."""
    original = ByKeyword()
    small = ByKeyword()
    small.wide, small.last = nn.Linear(4, 2), nn.Linear(2, 2)
    with dropout_in_proportion(small, original, np.zeros((1, 4), np.float32)):
        assert small.drop.p == 0.125


def test_a_layer_taken_out_whole_takes_its_dropout_along() -> None:
    """The dropout behind it is given what the layer before gives."""
    original = _network()
    small = _network()
    small[4], small[5], small[7] = nn.Identity(), nn.Identity(), nn.Linear(32, 10)
    with dropout_in_proportion(small, original, np.zeros((1, 3, 4, 4), np.float32)):
        assert small[6].p == 0.5 * 32 / 40
