"""A network is run over samples: what it gives has the same form for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.run import run_network
from edgecnn.nets.network import Network
from edgecnn.samples import Samples

#: The n-th sample has the value n in every pixel.
RAMP = Samples.of(np.broadcast_to(np.arange(1, 7, dtype=np.float32).reshape(6, 1, 1, 1), (6, 1, 4, 4)).copy())


class Function(nn.Module):
    """A network that is a function of its input."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        """Map [N, 1, 4, 4] to what the function gives."""
        return self.function(x)


def listed(x: torch.Tensor) -> list[torch.Tensor]:
    """As many outputs as the largest value."""
    return [x] * int(x.max())


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda x: x[x > 3], r"net gives \[0\] for 1 sample: outputs are \[samples, \.\.\.\]"),
        (lambda x: torch.nonzero(x), r"net gives \[16, 4\] for 1 sample:"),
        (lambda x: x.mean(), r"net gives \[\] for 1 sample:"),
        (lambda x: x.flatten(1)[:, : int(x.max())], r"net gives \[1, 6\] for 1 sample, not \[1, 1\] as for others:"),
        (listed, r"net gives (\[1, 1, 4, 4\], ){5}\[1, 1, 4, 4\] for 1 sample, not \[1, 1, 4, 4\] as for others:"),
        (lambda x: x.flatten()[:8].reshape(1, 8), r"net gives \[1, 8\] for 6 samples, not \[6, 8\] as for others:"),
    ],
)
def test_outputs_that_change_with_the_values_are_one_line(function: Any, told: str) -> None:
    """Another number or size for other samples, or no axis of samples: what is wrong, and what to do."""
    network = Network("net", Function(function).eval())
    with pytest.raises(EdgecnnError, match=told) as caught:
        list(run_network(network, RAMP, None))
    assert "choose from them (by NMS, a threshold, nonzero) in the application" in str(caught.value)


def test_batches_of_any_size_have_the_same_outputs() -> None:
    """Two outputs, of which one has no further axis; the last batch is smaller."""
    network = Network("net", Function(lambda x: (x.flatten(1), x.amax((1, 2, 3)))).eval())
    found = list(run_network(network, RAMP.batched(4), None))
    assert [[one.shape for one in answered.outputs] for answered in found] == [[(4, 16), (4,)], [(2, 16), (2,)]]
