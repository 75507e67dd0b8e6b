"""The CIFAR ResNets of He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgecnn.normalization import Normalization


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters: subsampling and zero-padded channels (option A)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, in, H, W] to [N, channels, H / stride, W / stride]."""
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        missing = out.shape[1] - x.shape[1]
        if self.stride > 1 or missing:
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, missing // 2, missing - missing // 2))
        return torch.relu(out + x)


class ResNet(nn.Module):
    """A stem of 16 channels, three stages of *blocks* blocks with 16, 32 and 64 channels, mean, linear layer."""

    input_shape = (3, 32, 32)
    normalization = Normalization.parse("imagenet")  # what the weights in circulation were trained with

    def __init__(self, blocks: int, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, 32, 32] to logits [N, classes]."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def resnet20(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-20: 0.27 M parameters, 41 M MACs."""
    return ResNet(3, classes, channels)


def resnet32(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-32: 0.46 M parameters, 69 M MACs."""
    return ResNet(5, classes, channels)


def resnet44(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-44: 0.66 M parameters, 98 M MACs."""
    return ResNet(7, classes, channels)


def resnet56(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-56: 0.85 M parameters, 126 M MACs."""
    return ResNet(9, classes, channels)


def resnet110(classes: int = 10, channels: int = 3) -> ResNet:
    """Return ResNet-110: 1.73 M parameters, 254 M MACs."""
    return ResNet(18, classes, channels)
