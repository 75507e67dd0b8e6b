"""The small network of the demo."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgecnn.normalization import Normalization


class DigitsCNN(nn.Module):
    """Three convolutions with batch norm and one linear layer for images of 8x8: 57 k parameters, 0.47 M MACs."""

    input_shape = (1, 8, 8)
    normalization = Normalization()

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        widths = (channels, 32, 64, 64)
        layers: list[nn.Module] = []
        for index in range(3):
            layers += [
                nn.Conv2d(widths[index], widths[index + 1], 3, padding=1, bias=False),
                nn.BatchNorm2d(widths[index + 1]),
                nn.ReLU(),
            ]
            if index < 2:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, 8, 8] to logits [N, classes]."""
        return self.classifier(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))  # type: ignore[no-any-return]


def digits_cnn(classes: int = 10, channels: int = 1) -> DigitsCNN:
    """Return the network with fresh weights."""
    return DigitsCNN(classes, channels)
