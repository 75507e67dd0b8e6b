"""Torchvision's architectures with few and narrow blocks: their wiring, in a tenth of the time."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torchvision.models import DenseNet, EfficientNet, GoogLeNet, MobileNetV2, MobileNetV3, ShuffleNetV2
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig

from edgecnn.nets.network import build

CLASSES = 10


def densenet() -> nn.Module:
    """Concatenations, with a transition between three blocks of two layers."""
    return DenseNet(8, (2, 2, 2), num_init_features=16, bn_size=2, num_classes=CLASSES).eval()


def efficientnet() -> nn.Module:
    """Inverted residuals with squeeze-excite and SiLU."""
    blocks = [(1, 3, 1, 16, 8, 1), (6, 3, 2, 8, 12, 2), (6, 5, 2, 12, 16, 2)]
    return EfficientNet([MBConvConfig(*block) for block in blocks], 0.2, num_classes=CLASSES, last_channel=64).eval()


def googlenet() -> nn.Module:
    """Four branches concatenated, six times."""
    net = GoogLeNet(num_classes=CLASSES, aux_logits=False, init_weights=False)
    for name in ("inception4b", "inception4c", "inception5a"):  # as many channels go in as come out
        setattr(net, name, nn.Identity())
    return net.eval()


def mobilenet_v2() -> nn.Module:
    """Inverted residuals with ReLU6."""
    blocks = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]]
    return MobileNetV2(CLASSES, 0.5, inverted_residual_setting=blocks).eval()


def mobilenet_v3() -> nn.Module:
    """Inverted residuals, some with squeeze-excite and hard swish."""
    blocks = [(16, 3, 16, 16, True, "RE", 2), (16, 3, 72, 24, False, "RE", 2), (24, 3, 88, 24, False, "RE", 1),
              (24, 5, 96, 40, True, "HS", 2), (40, 5, 120, 40, True, "HS", 1)]  # fmt: skip
    return MobileNetV3([InvertedResidualConfig(*block, 1, 1.0) for block in blocks], 64, num_classes=CLASSES).eval()


def shufflenet() -> nn.Module:
    """Channels split, shuffled and concatenated."""
    return ShuffleNetV2([2, 2, 2], [24, 48, 96, 192, 256], num_classes=CLASSES).eval()


def built(model: str) -> Callable[[], nn.Module]:
    """Return what builds *model* as `edgecnn.build` does."""
    return lambda: build(model, classes=CLASSES).module
