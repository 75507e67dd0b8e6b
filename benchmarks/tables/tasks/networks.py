"""The networks of the table of tasks: small ones of each kind that people bring, trained in minutes by `train.py`.

Each is a factory, so that `edgecnn export benchmarks/tables/tasks/networks.py:tiny_yolo` builds it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name in all examples)

SIDE = 64  # pixels of the scenes
DIGITS = 10
LENGTH = 256  # samples of a beat


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution, its batch normalization and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions around which a shortcut leads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Backbone(nn.Module):
    """Features at strides of 8 and 16: [n, 64, H/8, W/8] and [n, 96, H/16, W/16]."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            conv(3, 16, stride=2), conv(16, 32, stride=2), Residual(32), conv(32, 64, stride=2), Residual(64)
        )
        self.coarse = nn.Sequential(conv(64, 96, stride=2), Residual(96))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(x)
        return fine, self.coarse(fine)


class TinyYolo(nn.Module):
    """One head without anchors at a stride of 8; the output is decoded: [n, 4 + classes, cells], as YOLOv8 has it.

    Boxes are centre x, centre y, width and height in pixels, scores after the sigmoid, in one tensor: their ranges are
    64 and 1, which is what 8 bits make worst of.
    """

    def __init__(self, classes: int = DIGITS, side: int = SIDE) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.up = conv(96, 64, 1)
        self.mix = conv(128, 64)
        self.boxes = nn.Sequential(conv(64, 48), nn.Conv2d(48, 4, 1))
        self.scores = nn.Sequential(conv(64, 64), nn.Conv2d(64, classes, 1))
        nn.init.constant_(self.scores[-1].bias, -4.0)
        self.stride = 8
        cells = side // self.stride
        y, x = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
        self.register_buffer("cells", torch.stack([x, y])[None].float(), persistent=False)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes [n, 4, H/8, W/8] in pixels and logits [n, classes, H/8, W/8]."""
        fine, coarse = self.backbone(x)
        together = self.mix(torch.cat([fine, F.interpolate(self.up(coarse), scale_factor=2.0)], 1))
        raw = torch.sigmoid(self.boxes(together))
        centres = (raw[:, :2] * 2 - 0.5 + self.cells) * self.stride
        sizes = (raw[:, 2:] * 2) ** 2 * (2 * self.stride)
        return torch.cat([centres, sizes], 1), self.scores(together)

    def forward(self, x: Tensor) -> Tensor:
        boxes, logits = self.heads(x)
        return torch.cat([boxes.flatten(2), torch.sigmoid(logits).flatten(2)], 1)


class TinySsd(nn.Module):
    """Two maps of anchors; the outputs are raw, as torchvision's SSD has them: offsets [n, k, 4], logits [n, k, 11]."""

    anchors = 4  # of a cell: two squares, one upright and one lying box
    scales = (0.17, 0.25, 0.36)
    grids = ((8, 8), (4, 4))

    def __init__(self, classes: int = DIGITS) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.classes = classes + 1
        self.boxes = nn.ModuleList(nn.Conv2d(width, self.anchors * 4, 3, padding=1) for width in (64, 96))
        self.scores = nn.ModuleList(nn.Conv2d(width, self.anchors * self.classes, 3, padding=1) for width in (64, 96))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(x)
        offsets = [self._listed(head(one), 4) for head, one in zip(self.boxes, maps, strict=True)]
        logits = [self._listed(head(one), self.classes) for head, one in zip(self.scores, maps, strict=True)]
        return {"bbox_regression": torch.cat(offsets, 1), "cls_logits": torch.cat(logits, 1)}

    def _listed(self, head: Tensor, columns: int) -> Tensor:
        n, _, height, width = head.shape
        return head.view(n, self.anchors, columns, height, width).permute(0, 3, 4, 1, 2).reshape(n, -1, columns)


class TinyUnet(nn.Module):
    """Down to an eighth and up again by transposed convolutions, with shortcuts: logits [n, 11, H, W]."""

    def __init__(self, classes: int = DIGITS + 1) -> None:
        super().__init__()
        self.down1 = nn.Sequential(conv(3, 8), conv(8, 8))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), conv(8, 16), conv(16, 24))
        self.down3 = nn.Sequential(nn.MaxPool2d(2), conv(24, 32), conv(32, 48))
        self.deep = nn.Sequential(nn.MaxPool2d(2), conv(48, 64), Residual(64))
        self.up3, self.join3 = nn.ConvTranspose2d(64, 48, 2, 2), conv(96, 48)
        self.up2, self.join2 = nn.ConvTranspose2d(48, 24, 2, 2), conv(48, 24)
        self.up1, self.join1 = nn.ConvTranspose2d(24, 8, 2, 2), conv(16, 16)
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(first)
        third = self.down3(second)
        x = self.join3(torch.cat([third, self.up3(self.deep(third))], 1))
        x = self.join2(torch.cat([second, self.up2(x)], 1))
        return self.head(self.join1(torch.cat([first, self.up1(x)], 1)))


class Separable(nn.Module):
    """A depthwise and a pointwise convolution, MobileNet's block, with a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, 3 * inputs, 1),
            conv(3 * inputs, 3 * inputs, 3, stride, groups=3 * inputs),
            nn.Conv2d(3 * inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class TinyLraspp(nn.Module):
    """The head of LR-ASPP on separable convolutions (Howard et al. 2019): logits [n, 11, H/2, W/2]."""

    def __init__(self, classes: int = DIGITS + 1) -> None:
        super().__init__()
        self.low = nn.Sequential(conv(3, 16, stride=2), Separable(16, 16))
        self.high = nn.Sequential(
            Separable(16, 24, 2), Separable(24, 24), Separable(24, 40, 2), Separable(40, 40), Separable(40, 40)
        )
        self.branch = conv(40, 64, 1)
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(40, 64, 1, bias=False), nn.Sigmoid())
        self.head_low = nn.Conv2d(16, classes, 3, padding=1)
        self.head_high = nn.Conv2d(64, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low(x)
        high = self.high(low)
        weighed = self.branch(high) * self.scale(high)
        raised = F.interpolate(weighed, size=low.shape[-2:], mode="bilinear", align_corners=False)
        return self.head_low(low) + self.head_high(raised)


class BeatNet(nn.Module):
    """A one-dimensional network for heartbeats [n, 1, 256]: logits [n, 4]."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, 16, 2), (16, 32, 2), (32, 48, 2), (48, 64, 2)):
            layers += [nn.Conv1d(inputs, outputs, 7, stride, 3, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean(2))


class GaugeNet(nn.Module):
    """Reads a round gauge [n, 1, 48, 48]: sine and cosine of the needle's angle [n, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(1, 16, stride=2), conv(16, 32, stride=2), Residual(32), conv(32, 48, stride=2), Residual(48)
        )
        self.reading = nn.Sequential(nn.Flatten(), nn.Linear(48 * 36, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.reading(self.features(x))


class GaugeAndKindNet(GaugeNet):
    """Two outputs: the reading [n, 2] and the logits of the kind of gauge [n, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        features = self.features(x)
        return {"reading": self.reading(features), "kind": self.kind(features)}


def tiny_yolo() -> nn.Module:
    return TinyYolo()


def tiny_ssd() -> nn.Module:
    return TinySsd()


def tiny_unet() -> nn.Module:
    return TinyUnet()


def tiny_lraspp() -> nn.Module:
    return TinyLraspp()


def beats() -> nn.Module:
    return BeatNet()


def gauge() -> nn.Module:
    return GaugeNet()


def gauge_and_kind() -> nn.Module:
    return GaugeAndKindNet()
