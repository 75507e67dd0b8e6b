"""Work of the networks whose latencies others published, by kind of operator, from their definitions.

`python benchmarks/reference_networks.py` writes benchmarks/tables/reference_networks.csv. The networks are those of
ncnn's benchmark: SqueezeNet 1.1 at 227 px (https://github.com/forresti/SqueezeNet), MobileNet v1 at 224 px (Howard et
al. 2017, table 1), ShuffleNet v1 1x with 3 groups at 224 px (Zhang et al. 2018, table 1), ResNet-18 at 224 px (He et
al. 2016, table 1), and the Caffe AlexNet at 227 px with 2 groups (Krizhevsky et al. 2012); and of XNNPACK's, at 224 px:
MobileNet v2 (Sandler et al. 2018, table 2), MobileNet v3 Large and Small (Howard et al. 2019, tables 1 and 2); and of
MLPerf Tiny (Banbury et al. 2021, https://github.com/mlcommons/tiny): ResNet-8 (ic), MobileNet v1 0.25x at 96 px (vww),
DS-CNN (kws) and a dense autoencoder (ad). Batch norm is folded and an activation fused into the operator before it, as
all these runtimes do.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from edgecnn.device import COARSER_KINDS
from edgecnn.estimate.fitting import COARSE_KINDS
from edgecnn.estimate.work import Work, kind_of_convolution

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
        self.works.append(Work(kind, macs, inputs, made, activations=prod(x) + prod(y), weights=weights))
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

    def pool(self, x: Shape, kernel: int, stride: int, pad: int = 0) -> Shape:
        """Add a pooling whose windows may stand out at the end (Caffe's rounding up)."""
        side = -(-(x[1] + 2 * pad - kernel) // stride) + 1
        return self.other(x, (x[0], side, side))


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
    x = net.conv(net.pool(net.other(x, x), 3, 2), 256, 5, 1, 2, groups=2)
    x = net.conv(net.pool(net.other(x, x), 3, 2), 384, 3, 1, 1)
    x = net.pool(net.conv(net.conv(x, 384, 3, 1, 1, groups=2), 256, 3, 1, 1, groups=2), 3, 2)
    for outputs in (4096, 4096, 1000):
        x = net.linear(prod(x), outputs)
    net.other(x, x)


def inverted_residual(
    net: Net, x: Shape, wide: int, channels: int, kernel: int, stride: int, squeeze: int = 0
) -> Shape:
    """Add pointwise to *wide* channels, depthwise, squeeze-and-excite over *squeeze* channels if any, pointwise."""
    y = x if wide == x[0] else net.conv(x, wide, 1)
    y = net.conv(y, wide, kernel, stride, kernel // 2, groups=wide)
    if squeeze:
        mean = net.other(y, (wide, 1, 1))
        gate = net.conv(net.conv(mean, squeeze, 1), wide, 1)
        y = net.other(y, gate, y)
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
    """Add a MobileNet v3; each word of *blocks* is kernel,wide,channels,squeeze and, before the word, s for stride 2.

    Hard swish is an operator of its own where it follows a convolution; that of the stem and the ends is counted.
    """
    x = net.conv((3, 224, 224), 16, 3, 2, 1)
    x = net.other(x, x)
    for word in blocks.split():
        kernel, wide, channels, squeeze = map(int, word.lstrip("s").split(","))
        x = inverted_residual(net, x, wide, channels, kernel, 2 if word.startswith("s") else 1, squeeze)
    x = net.conv(x, last, 1)
    x = net.other(net.other(x, x), (last, 1, 1))
    net.linear(net.linear(last, head)[0], 1000)


def mobilenet_v3_large(net: Net) -> None:
    """MobileNet v3 Large."""
    early = "3,16,16,0 s3,64,24,0 3,72,24,0 s5,72,40,24 5,120,40,32 5,120,40,32 s3,240,80,0 3,200,80,0 3,184,80,0"
    late = "3,184,80,0 3,480,112,120 3,672,112,168 s5,672,160,168 5,960,160,240 5,960,160,240"
    _mobilenet_v3(net, f"{early} {late}", 960, 1280)


def mobilenet_v3_small(net: Net) -> None:
    """MobileNet v3 Small."""
    early = "s3,16,16,8 s3,72,24,0 3,88,24,0 s5,96,40,24 5,240,40,64 5,240,40,64 5,120,48,32 5,144,48,40"
    _mobilenet_v3(net, f"{early} s5,288,96,72 5,576,96,144 5,576,96,144", 576, 1024)


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
        *(mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small),
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
