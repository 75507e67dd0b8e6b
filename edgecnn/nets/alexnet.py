"""AlexNet for images of 32x32: Krizhevsky et al. 2012, with the strides that small images leave room for."""

from __future__ import annotations

import torch
from torch import nn


class AlexNet(nn.Module):
    """Five convolutions down to 256 features of 2x2, and the classifier 4096-4096-classes."""

    input_shape = (3, 32, 32)

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 192, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * 2 * 2, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, 32, 32] to logits [N, classes]."""
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]


def alexnet(classes: int = 10, channels: int = 3) -> AlexNet:
    """Return AlexNet with fresh weights: 23.3 M parameters, 63 M MACs."""
    return AlexNet(classes, channels)
