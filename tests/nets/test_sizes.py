"""The networks have the sizes that they are known by."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.nets.alexnet import alexnet
from edgecnn.nets.vgg import vgg16, vgg16_compact


@pytest.mark.parametrize(
    ("factory", "convolutions", "linear", "millions"),
    [
        (alexnet, [64, 192, 384, 256, 256], [4096, 4096, 10], 23.3),
        (vgg16, [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6, [4096, 4096, 10], 33.6),
        (vgg16_compact, [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6, [10], 14.7),
    ],
)
def test_layers_and_parameters(
    factory: type[nn.Module], convolutions: list[int], linear: list[int], millions: float
) -> None:
    """Filters of each convolution, outputs of each linear layer, parameters; and ten scores come out."""
    with torch.device("meta"):
        network = factory().eval()
        scores = network(torch.zeros(1, 3, 32, 32))
    assert scores.shape == (1, 10)
    layers = list(network.modules())
    assert [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)] == convolutions
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == linear
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
