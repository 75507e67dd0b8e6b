"""VGG16 with batch norm for images of 32x32, after Simonyan and Zisserman 2015, configuration D."""

from __future__ import annotations

import torch
from torch import nn

_WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool")


class VGG(nn.Module):
    """Thirteen 3x3 convolutions in five stages down to 512 features, and a classifier of one or of three layers."""

    input_shape = (3, 32, 32)

    def __init__(self, hidden: int | None, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = channels
        for entry in _WIDTHS:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(width, entry, 3, padding=1, bias=False), nn.BatchNorm2d(entry), nn.ReLU()]
                width = entry
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(width, classes)) if hidden is None else _head(width, hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, 32, 32] to logits [N, classes]."""
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]


def _head(width: int, hidden: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, classes),
    )


def vgg16(classes: int = 10, channels: int = 3) -> VGG:
    """Return VGG16-BN with the classic head, 512 features into 4096-4096-classes: 33.6 M parameters, 333 M MACs."""
    return VGG(4096, classes, channels)


def vgg16_compact(classes: int = 10, channels: int = 3) -> VGG:
    """Return VGG16-BN with one linear layer behind its 512 features: 14.7 M parameters, 314 M MACs."""
    return VGG(None, classes, channels)
