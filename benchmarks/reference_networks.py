"""Work of the networks whose latencies others published, by kind of operator, from their definitions.

`python benchmarks/reference_networks.py` writes benchmarks/tables/reference_networks.csv. The networks are those of
ncnn's benchmark: SqueezeNet 1.1 at 227 px (https://github.com/forresti/SqueezeNet), MobileNet v1 at 224 px (Howard et
al. 2017, table 1), ShuffleNet v1 1x with 3 groups at 224 px (Zhang et al. 2018, table 1), ResNet-18 at 224 px (He et
al. 2016, table 1), the Caffe AlexNet at 227 px with 2 groups (Krizhevsky et al. 2012) and, at 224 px, ShuffleNet v2 1x
(Ma et al. 2018, table 5), EfficientNet B0 (Tan and Le 2019, table 1), RegNetY 400MF (Radosavovic et al. 2020, table 3),
GoogLeNet (Szegedy et al. 2015, table 1), VGG-16 (Simonyan and Zisserman 2015, table 1), ResNet-50 and a MobileNet v3
of its own; and of XNNPACK's, at 224 px: MobileNet v2 (Sandler et al. 2018, table 2), MobileNet v3 Large and Small
(Howard et al. 2019, tables 1 and 2); and of MLPerf Tiny (Banbury et al. 2021, https://github.com/mlcommons/tiny):
ResNet-8 (ic), MobileNet v1 0.25x at 96 px (vww), DS-CNN (kws) and a dense autoencoder (ad). Batch norm is folded and an
activation fused into the operator before it, as all these runtimes do.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from edgecnn.device import COARSER_KINDS
from edgecnn.estimate.fitting import COARSE_KINDS
from edgecnn.estimate.work import POWER_MACS, Work, kind_of_convolution, winograd_applies

TABLE = Path(__file__).parent / "tables/reference_networks.csv"
COLUMNS = ("network", "kind", "operators", "macs", "activations", "weights")

Shape = tuple[int, int, int]  # channels, height, width
Sides = tuple[int, int]  # height, width


def _sides(size: int | Sides) -> Sides:
    return (size, size) if isinstance(size, int) else size


@dataclass
class Net:
    """A network written down operator by operator; each method adds one and returns the shape of its output."""

    works: list[Work] = field(default_factory=list)

    def conv(
        self, x: Shape, channels: int, kernel: int | Sides, stride: int = 1, pad: int | Sides = 0, groups: int = 1
    ) -> Shape:
        """Add a convolution, its bias and activation fused; *kernel* and *pad* of both sides, or (height, width)."""
        kernels, pads = _sides(kernel), _sides(pad)
        height, width = ((x[1 + i] + 2 * pads[i] - kernels[i]) // stride + 1 for i in (0, 1))
        taps, y = prod(kernels), (channels, height, width)
        kind, inputs, outputs = kind_of_convolution(taps, x[0], groups), x[0] // groups, channels // groups
        macs, made = prod(y) * taps * inputs, channels if kind == "depthwise" else outputs
        weights = channels * inputs * taps
        fast = kind == "conv" and winograd_applies(kernels, stride, inputs, outputs)
        self.works.append(Work(kind, macs, inputs, made, prod(x) + prod(y), weights, fast))
        return y

    def linear(self, inputs: int, outputs: int) -> Shape:
        """Add a fully connected operator."""
        macs = inputs * outputs
        self.works.append(Work("linear", macs, inputs, outputs, activations=inputs + outputs, weights=macs))
        return (outputs, 1, 1)

    def other(self, *shapes: Shape) -> Shape:
        """Add an operator that moves and computes nothing to speak of, from and to *shapes*; the last is its output."""
        self.works.append(Work("other", activations=sum(map(prod, shapes))))
        return shapes[-1]

    def activation(self, x: Shape, alone: bool) -> Shape:
        """Add an activation that is an operator of its own where *alone*, else one fused."""
        return self.other(x, x) if alone else x

    def squeeze_and_excite(self, x: Shape, squeeze: int) -> Shape:
        """Add mean, two pointwise convolutions over *squeeze* channels, the gate and the product with it."""
        mean = self.other(x, (x[0], 1, 1))
        gate = self.conv(self.conv(mean, squeeze, 1), x[0], 1)
        return self.other(x, self.other(gate, gate), x)

    def pool(self, x: Shape, kernel: int, stride: int, pad: int = 0) -> Shape:
        """Add a pooling whose windows may stand out at the end (Caffe's rounding up)."""
        side = -(-(x[1] + 2 * pad - kernel) // stride) + 1
        self.works.append(Work("max_pooling", activations=prod(x) + x[0] * side**2))
        return (x[0], side, side)

    def normalize(self, x: Shape) -> Shape:
        """Add a local response normalization."""
        self.works.append(Work("other", POWER_MACS * prod(x), activations=2 * prod(x)))
        return x


def squeezenet(net: Net) -> None:
    """SqueezeNet 1.1."""
    x = net.pool(net.conv((3, 227, 227), 64, 3, 2), 3, 2)
    for squeezed, expanded, pooled in (
        *((16, 64, False), (16, 64, True), (32, 128, False), (32, 128, True)),
        *((48, 192, False), (48, 192, False), (64, 256, False), (64, 256, False)),
    ):
        s = net.conv(x, squeezed, 1)
        halves = net.conv(s, expanded, 1), net.conv(s, expanded, 3, pad=1)
        x = net.other(*halves, (2 * expanded, x[1], x[2]))
        x = net.pool(x, 3, 2) if pooled else x
    x = net.conv(x, 1000, 1)
    net.other(net.other(x, (1000, 1, 1)), (1000, 1, 1))


def mobilenet(net: Net) -> None:
    """MobileNet v1."""
    x = net.conv((3, 224, 224), 32, 3, 2, 1)
    for channels, stride in (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *((512, 1),) * 5,
        *((1024, 2), (1024, 1)),
    ):
        x = net.conv(net.conv(x, x[0], 3, stride, 1, groups=x[0]), channels, 1)
    net.other(net.linear(prod(net.other(x, (1024, 1, 1))), 1000), (1000, 1, 1))


def shufflenet(net: Net) -> None:
    """ShuffleNet v1, 3 groups."""
    x = net.pool(net.conv((3, 224, 224), 24, 3, 2, 1), 3, 2)
    for channels, repeats in ((240, 4), (480, 8), (960, 4)):
        for index in range(repeats):
            stride = 2 if index == 0 else 1
            made = channels - x[0] if stride == 2 else channels
            y = net.conv(x, channels // 4, 1, groups=1 if x[0] == 24 else 3)
            y = net.other(y, y)  # channel shuffle
            y = net.conv(net.conv(y, y[0], 3, stride, 1, groups=y[0]), made, 1, groups=3)
            shortcut = net.pool(x, 3, 2, 1) if stride == 2 else x
            x = net.other(shortcut, y, (channels, y[1], y[2]))
    net.other(net.linear(prod(net.other(x, (960, 1, 1))), 1000), (1000, 1, 1))


def resnet18(net: Net) -> None:
    """ResNet-18."""
    x = net.pool(net.conv((3, 224, 224), 64, 7, 2, 3), 3, 2, 0)
    for channels, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            y = net.conv(net.conv(x, channels, 3, stride, 1), channels, 3, 1, 1)
            if (stride, x[0]) != (1, channels):
                x = net.conv(x, channels, 1, stride)
            x = net.other(x, y, y)
    net.other(net.linear(prod(net.other(x, (512, 1, 1))), 1000), (1000, 1, 1))


def alexnet(net: Net) -> None:
    """AlexNet as Caffe has it, with its two local response normalizations."""
    x = net.conv((3, 227, 227), 96, 11, 4)
    x = net.conv(net.pool(net.normalize(x), 3, 2), 256, 5, 1, 2, groups=2)
    x = net.conv(net.pool(net.normalize(x), 3, 2), 384, 3, 1, 1)
    x = net.pool(net.conv(net.conv(x, 384, 3, 1, 1, groups=2), 256, 3, 1, 1, groups=2), 3, 2)
    for outputs in (4096, 4096, 1000):
        x = net.linear(prod(x), outputs)
    net.other(x, x)


def inverted_residual(
    net: Net, x: Shape, wide: int, channels: int, kernel: int, stride: int, squeeze: int = 0, swish: bool = False
) -> Shape:
    """Add pointwise to *wide* channels, depthwise, squeeze-and-excite over *squeeze* channels if any, pointwise.

    A ReLU is part of the convolution before it, a *swish* an operator of its own.
    """
    y = x if wide == x[0] else net.activation(net.conv(x, wide, 1), swish)
    y = net.activation(net.conv(y, wide, kernel, stride, kernel // 2, groups=wide), swish)
    y = net.squeeze_and_excite(y, squeeze) if squeeze else y
    y = net.conv(y, channels, 1)
    return net.other(x, y, y) if y == x else y


def mobilenet_v2(net: Net) -> None:
    """MobileNet v2."""
    x = net.conv((3, 224, 224), 32, 3, 2, 1)
    for expansion, channels, repeats, first in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for index in range(repeats):
            x = inverted_residual(net, x, expansion * x[0], channels, 3, first if index == 0 else 1)
    x = net.conv(x, 1280, 1)
    net.linear(prod(net.other(x, (1280, 1, 1))), 1000)


def _mobilenet_v3(net: Net, blocks: str, last: int, head: int) -> None:
    """Add a MobileNet v3; each word of *blocks* is kernel,wide,channels,squeeze.

    Before the word, s stands for stride 2 and h for hard swish in the place of ReLU.
    """
    x = net.activation(net.conv((3, 224, 224), 16, 3, 2, 1), True)
    for word in blocks.split():
        kernel, wide, channels, squeeze = map(int, word.lstrip("sh").split(","))
        x = inverted_residual(net, x, wide, channels, kernel, 2 if "s" in word else 1, squeeze, "h" in word)
    x = net.activation(net.conv(x, last, 1), True)
    y = net.activation(net.linear(prod(net.other(x, (last, 1, 1))), head), True)
    net.linear(prod(y), 1000)


_V3_LARGE = (
    "3,16,16,0 s3,64,24,0 3,72,24,0 s5,72,40,{} 5,120,40,{} 5,120,40,{} sh3,240,80,0 h3,200,80,0 h3,184,80,0"
    " h3,184,80,0 h3,480,112,120 h3,672,112,168"
)


def mobilenet_v3_large(net: Net) -> None:
    """MobileNet v3 Large."""
    _mobilenet_v3(net, f"{_V3_LARGE.format(24, 32, 32)} sh5,672,160,168 h5,960,160,240 h5,960,160,240", 960, 1280)


def mobilenet_v3(net: Net) -> None:
    """Large with another end: ncnn's file (benchmark/mobilenet_v3.param) goes to 160 channels before it halves."""
    _mobilenet_v3(net, f"{_V3_LARGE.format(18, 30, 30)} h5,672,160,168 sh5,672,160,168 h5,960,160,240", 960, 1280)


def mobilenet_v3_small(net: Net) -> None:
    """MobileNet v3 Small."""
    early = "s3,16,16,8 s3,72,24,0 3,88,24,0 sh5,96,40,24 h5,240,40,64 h5,240,40,64 h5,120,48,32 h5,144,48,40"
    _mobilenet_v3(net, f"{early} sh5,288,96,72 h5,576,96,144 h5,576,96,144", 576, 1024)


def efficientnet_b0(net: Net) -> None:
    """EfficientNet B0; swish is one operator, as ncnn has it."""
    x = net.activation(net.conv((3, 224, 224), 32, 3, 2, 1), True)
    for expansion, channels, repeats, first, kernel in (
        *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
        *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
    ):
        for index in range(repeats):
            stride = first if index == 0 else 1
            x = inverted_residual(net, x, expansion * x[0], channels, kernel, stride, x[0] // 4, True)
    x = net.activation(net.conv(x, 1280, 1), True)
    net.other(net.linear(prod(net.other(x, (1280, 1, 1))), 1000), (1000, 1, 1))


def shufflenet_v2(net: Net) -> None:
    """ShuffleNet v2 1x; a split of channels copies them."""
    x = net.pool(net.conv((3, 224, 224), 24, 3, 2, 1), 3, 2)
    for channels, repeats in ((116, 4), (232, 8), (464, 4)):
        half = channels // 2
        for index in range(repeats):
            if index == 0:
                left = net.conv(net.conv(x, x[0], 3, 2, 1, groups=x[0]), half, 1)
                y = net.conv(net.conv(x, half, 1), half, 3, 2, 1, groups=half)
            else:
                left = (half, x[1], x[2])
                y = net.conv(net.conv(net.other(x, left, left), half, 1), half, 3, 1, 1, groups=half)
            x = net.other(left, net.conv(y, half, 1), (channels, y[1], y[2]))
            x = net.other(x, x)
    x = net.conv(x, 1024, 1)
    net.other(net.linear(prod(net.other(x, (1024, 1, 1))), 1000), (1000, 1, 1))


def regnety_400m(net: Net) -> None:
    """RegNetY 400MF: groups of 8 channels."""
    x = net.conv((3, 224, 224), 32, 3, 2, 1)
    for channels, repeats in ((48, 1), (104, 3), (208, 6), (440, 6)):
        for index in range(repeats):
            stride = 2 if index == 0 else 1
            y = net.conv(net.conv(x, channels, 1), channels, 3, stride, 1, groups=channels // 8)
            y = net.conv(net.squeeze_and_excite(y, x[0] // 4), channels, 1)
            x = net.other(net.conv(x, channels, 1, stride) if stride == 2 else x, y, y)
    net.other(net.linear(prod(net.other(x, (440, 1, 1))), 1000), (1000, 1, 1))


def googlenet(net: Net) -> None:
    """GoogLeNet as Caffe has it, with its two local response normalizations."""
    x = net.pool(net.conv((3, 224, 224), 64, 7, 2, 3), 3, 2)
    x = net.conv(net.conv(net.normalize(x), 64, 1), 192, 3, 1, 1)
    x = net.pool(net.normalize(x), 3, 2)
    for one, less3, three, less5, five, pooled, halved in (
        *((64, 96, 128, 16, 32, 32, False), (128, 128, 192, 32, 96, 64, True), (192, 96, 208, 16, 48, 64, False)),
        *((160, 112, 224, 24, 64, 64, False), (128, 128, 256, 24, 64, 64, False), (112, 144, 288, 32, 64, 64, False)),
        *((256, 160, 320, 32, 128, 128, True), (256, 160, 320, 32, 128, 128, False)),
        (384, 192, 384, 48, 128, 128, False),
    ):
        branches = (
            net.conv(x, one, 1),
            net.conv(net.conv(x, less3, 1), three, 3, 1, 1),
            net.conv(net.conv(x, less5, 1), five, 5, 1, 2),
            net.conv(net.pool(x, 3, 1, 1), pooled, 1),
        )
        x = net.other(*branches, (sum(branch[0] for branch in branches), x[1], x[2]))
        x = net.pool(x, 3, 2) if halved else x
    net.other(net.linear(prod(net.other(x, (1024, 1, 1))), 1000), (1000, 1, 1))


def vgg16(net: Net) -> None:
    """VGG-16."""
    x = (3, 224, 224)
    for channels, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            x = net.conv(x, channels, 3, 1, 1)
        x = net.pool(x, 2, 2)
    for outputs in (4096, 4096, 1000):
        x = net.linear(prod(x), outputs)
    net.other(x, x)


def resnet50(net: Net) -> None:
    """ResNet-50 of He et al. and Caffe: the first convolution of a block has the stride."""
    x = net.pool(net.conv((3, 224, 224), 64, 7, 2, 3), 3, 2)
    for channels, repeats, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for index in range(repeats):
            stride = first if index == 0 else 1
            y = net.conv(net.conv(net.conv(x, channels, 1, stride), channels, 3, 1, 1), 4 * channels, 1)
            x = net.other(net.conv(x, 4 * channels, 1, stride) if index == 0 else x, y, y)
    net.other(net.linear(prod(net.other(x, (2048, 1, 1))), 1000), (1000, 1, 1))


def tiny_ic(net: Net) -> None:
    """MLPerf Tiny's image classification: ResNet-8 at 32 px."""
    x = net.conv((3, 32, 32), 16, 3, 1, 1)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = net.conv(net.conv(x, channels, 3, stride, 1), channels, 3, 1, 1)
        x = x if stride == 1 else net.conv(x, channels, 1, stride)
        x = net.other(x, y, y)
    net.other(net.linear(prod(net.other(x, (64, 1, 1))), 10), (10, 1, 1))


def tiny_vww(net: Net) -> None:
    """MLPerf Tiny's visual wake words: MobileNet v1 of a quarter of the channels, at 96 px."""
    x = net.conv((3, 96, 96), 8, 3, 2, 1)
    for channels, stride in (
        *((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)),
        *((128, 1),) * 5,
        *((256, 2), (256, 1)),
    ):
        x = net.conv(net.conv(x, x[0], 3, stride, 1, groups=x[0]), channels, 1)
    net.other(net.linear(prod(net.other(x, (256, 1, 1))), 2), (2, 1, 1))


def tiny_kws(net: Net) -> None:
    """MLPerf Tiny's keyword spotting: DS-CNN over 49 x 10 coefficients; the first kernel is 10 x 4 with stride 2."""
    x = net.conv((1, 49, 10), 64, (10, 4), 2, (5, 1))
    for _ in range(4):
        x = net.conv(net.conv(x, 64, 3, 1, 1, groups=64), 64, 1)
    net.other(net.linear(prod(net.other(x, (64, 1, 1))), 12), (12, 1, 1))


def tiny_ad(net: Net) -> None:
    """MLPerf Tiny's anomaly detection: a dense autoencoder of 640 values."""
    values = 640
    for outputs in (*(128,) * 4, 8, *(128,) * 4, 640):
        values = net.linear(values, outputs)[0]


NETWORKS: dict[str, Callable[[Net], None]] = {
    network.__name__: network
    for network in (
        *(squeezenet, mobilenet, shufflenet, resnet18, alexnet),
        *(mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small, mobilenet_v3, shufflenet_v2, efficientnet_b0),
        *(regnety_400m, googlenet, vgg16, resnet50),
        *(tiny_ic, tiny_vww, tiny_kws, tiny_ad),
    )
}


def works_of(name: str) -> list[Work]:
    """Return the work of each operator of the network *name*."""
    net = Net()
    NETWORKS[name](net)
    return net.works


def main() -> None:
    """Write the table."""
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name in NETWORKS:
            for kind in COARSE_KINDS:
                works = [work for work in works_of(name) if COARSER_KINDS[work.kind] == kind]
                sums = [sum(getattr(work, column) for work in works) for column in COLUMNS[3:]]
                writer.writerow((name, kind, len(works), *sums))


if __name__ == "__main__":
    main()
