"""ResNet-101 and VGG-19 for images of 32x32, each changed block by block: 15 and 13 variants in one table.

A variant is a row of `RESNET101` or `VGG19`: which blocks, how wide, which head; another one is a few lines. They are
those of Sobolewski and Szyc 2023, "Compression of ResNet-101 and VGG-19", whose published parameters and FLOPS they
have to the unit. `faithful` keeps what looks like a slip there and counts or acts all the same:

- the logits of pointwise heads end in ReLU6 (ResNet-101 no. 7 to 9 and 11 to 14) or ReLU (VGG-19 no. 7 to 13);
- dropout acts on the logits while training (VGG-19 no. 2 to 6);
- batch norms and depthwise convolutions that never run (`plain_fire`, `grouped_fire`, `dice_residual`).

Without it, logits are not cut off, dropout stands before the classifier, and layers run or are not there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from edgecnn.errors import unknown_name
from edgecnn.nets import blocks as b


class Shape(NamedTuple):
    """What a residual block is given and brings; *size* is the side of its output in pixels."""

    in_channels: int
    mid: int
    out: int
    stride: int
    project: bool
    size: int


Stages = tuple[tuple[Shape, ...], ...]
Widths = tuple[int, int, int, int]

DEPTH: Widths = (3, 4, 23, 3)
WIDE: Widths = (256, 512, 1024, 2048)
NARROW: Widths = (10, 22, 42, 86)
NARROW_BY_8: Widths = (16, 24, 40, 88)  # multiples of 8, for halves in 4 groups
MID: Widths = (64, 128, 256, 512)
MID_BEFORE: Widths = (64, 64, 128, 512)  # the first block of stages 2 and 3 has the middle width of the stage before


def early_strides(stem: int, out: Widths, first_mid: Widths = MID, depth: Widths = DEPTH) -> Stages:
    """Return the shapes of four stages of which the first block of the last three halves the map."""
    stages = []
    in_channels = stem
    for stage, size in enumerate((32, 16, 8, 4)):
        first = Shape(in_channels, first_mid[stage], out[stage], 1 if stage == 0 else 2, True, size)
        other = Shape(out[stage], MID[stage], out[stage], 1, False, size)
        stages.append((first, *[other] * (depth[stage] - 1)))
        in_channels = out[stage]
    return tuple(stages)


def late_strides(stem: int, last_blocks: int) -> Stages:
    """Return the shapes of four stages of which the last block of the first three halves the map and widens."""
    stages = []
    for stage, size in enumerate((32, 16, 8)):
        width, mid = NARROW[stage], MID[stage]
        same = Shape(width, mid, width, 1, False, size)
        last = Shape(width, mid, NARROW[stage + 1], 2, True, size // 2)
        stages.append((*[same] * (DEPTH[stage] - 1), last))
    stages[0] = (Shape(stem, 64, 10, 1, True, 32), *stages[0][1:])
    return (*stages, (Shape(86, 512, 86, 1, False, 4),) * last_blocks)


@dataclass(frozen=True)
class ResNetVariant:
    """A row of `RESNET101`."""

    stem: Callable[[int, int], nn.Module]  # (in channels, out channels)
    block: Callable[[Shape, bool], nn.Module]  # (shape, faithful)
    stages: Stages
    tail: tuple[int, ...] = ()  # widths of pointwise convolutions with batch norm and ReLU6 behind the last block
    head: str = "linear"  # or "linear without bias", or "pointwise": such a convolution to the classes, then the mean


@dataclass(frozen=True)
class VGGVariant:
    """A row of `VGG19`."""

    unit: Callable[[int, int, int, bool], tuple[nn.Module, ...]]  # (in, out, side of the map, faithful)
    head: str = "linear"  # behind the mean; or "classic", of three linear layers; "pointwise", "pointwise with norm"


def _dense(in_channels: int, out: int) -> nn.Module:
    return b.convolution(in_channels, out, 3)


def _bottleneck(spatial: Callable[[int, int, int], nn.Module]) -> Callable[[Shape, bool], nn.Module]:
    return lambda shape, _: b.bottleneck(*shape[:5], spatial=spatial)


def _depthwise(channels: int, _: int, stride: int) -> nn.Module:
    return b.depthwise(channels, stride)


def _block(make: Callable[..., nn.Module], **settings: Any) -> Callable[[Shape, bool], nn.Module]:
    return lambda shape, _: make(*shape[:5], **settings)


def _dice(shape: Shape, faithful: bool) -> nn.Module:
    return b.dice_residual(*shape[:5], size=(shape.size, shape.size), faithful=faithful)


_WIDENING = (Shape(86, 512, 512, 1, True, 4),)  # the last block of no. 6 and 7
_LATE = late_strides(64, 2)
_LATE_WIDENED = (*_LATE[:3], _LATE[3] + _WIDENING)
_SMALL = early_strides(16, NARROW, MID_BEFORE, (3, 4, 23, 2))
_SMALL_BY_8 = early_strides(16, NARROW_BY_8, MID_BEFORE, (3, 4, 23, 2))

RESNET101: Mapping[int, ResNetVariant] = {
    1: ResNetVariant(_dense, _bottleneck(b.dense), early_strides(64, WIDE)),
    2: ResNetVariant(_dense, _block(b.residual_fire), early_strides(64, WIDE)),
    3: ResNetVariant(b.nx1_1xn, _bottleneck(b.nx1_1xn), early_strides(64, WIDE)),
    4: ResNetVariant(b.depthwise_separable, _bottleneck(_depthwise), early_strides(64, WIDE)),
    5: ResNetVariant(b.depthwise_separable, _block(b.grouped_bottleneck), early_strides(64, WIDE)),
    6: ResNetVariant(b.depthwise_separable, _block(b.inverted_residual), _LATE_WIDENED, tail=(2048,)),
    7: ResNetVariant(b.depthwise_separable, _block(b.inverted_residual), _LATE_WIDENED, head="pointwise"),
    8: ResNetVariant(b.depthwise_separable, _block(b.inverted_residual), _LATE, tail=(512,), head="pointwise"),
    9: ResNetVariant(
        b.depthwise_separable, _block(b.inverted_residual), late_strides(10, 2), tail=(512,), head="pointwise"
    ),
    10: ResNetVariant(
        b.depthwise_separable,
        _block(b.ghost_bottleneck),
        early_strides(64, NARROW, MID_BEFORE),
        head="linear without bias",
    ),
    11: ResNetVariant(b.depthwise_separable, _block(b.ghost_bottleneck), _SMALL, head="pointwise"),
    12: ResNetVariant(b.depthwise_separable, _block(b.ghost_bottleneck, excite=True), _SMALL, head="pointwise"),
    13: ResNetVariant(b.depthwise_separable, _block(b.ghost_bottleneck, groups=4), _SMALL_BY_8, head="pointwise"),
    14: ResNetVariant(
        b.depthwise_separable, _block(b.ghost_bottleneck, groups=4, excite=True), _SMALL_BY_8, head="pointwise"
    ),
    15: ResNetVariant(b.depthwise_separable, _dice, early_strides(64, NARROW, MID_BEFORE), head="linear without bias"),
}


def _normed(make: Callable[[int, int], nn.Module]) -> Callable[[int, int, int, bool], tuple[nn.Module, ...]]:
    return lambda in_channels, out, _, __: (make(in_channels, out), nn.BatchNorm2d(out), nn.ReLU())


def _biased(in_channels: int, out: int) -> nn.Module:
    return b.convolution(in_channels, out, 3, bias=True)


def _fire(
    make: Callable[..., nn.Module], excite: bool = False, **settings: Any
) -> Callable[[int, int, int, bool], tuple[nn.Module, ...]]:
    """Return the unit of a Fire module that squeezes to an eighth and expands to two halves; *excite* behind it."""
    return lambda in_channels, out, _, __: (
        make(in_channels, out // 8, out // 2, **settings),
        *([b.SqueezeExcite(out)] if excite else []),
    )


def _quirky_fire(
    make: Callable[..., nn.Module], excite: bool = False
) -> Callable[[int, int, int, bool], tuple[nn.Module, ...]]:
    return lambda in_channels, out, size, faithful: _fire(make, excite, faithful=faithful)(
        in_channels, out, size, faithful
    )


def _dice_fire(in_channels: int, out: int, size: int, _: bool) -> tuple[nn.Module, ...]:
    return (b.dice_fire(in_channels, out // 8, out // 2, (size, size)),)


VGG19: Mapping[int, VGGVariant] = {
    1: VGGVariant(_normed(_biased), "classic"),
    2: VGGVariant(_normed(_biased)),
    3: VGGVariant(_normed(b.nx1_1xn)),
    4: VGGVariant(_normed(b.depthwise_separable)),
    5: VGGVariant(_quirky_fire(b.plain_fire)),
    6: VGGVariant(_fire(b.depthwise_fire)),
    7: VGGVariant(_fire(b.depthwise_fire), "pointwise with norm"),
    8: VGGVariant(_quirky_fire(b.grouped_fire), "pointwise with norm"),
    9: VGGVariant(_fire(b.ghost_fire), "pointwise"),
    10: VGGVariant(_fire(b.ghost_fire, grouped=True), "pointwise"),
    11: VGGVariant(_fire(b.ghost_fire, excite=True, grouped=True), "pointwise"),
    12: VGGVariant(_quirky_fire(b.grouped_fire, excite=True), "pointwise with norm"),
    13: VGGVariant(_dice_fire, "pointwise with norm"),
}


class ResNet101(nn.Module):
    """A stem, four stages of residual blocks, perhaps pointwise convolutions, the mean, perhaps a linear layer."""

    input_shape = (3, 32, 32)

    def __init__(self, variant: ResNetVariant, classes: int = 10, channels: int = 3, faithful: bool = True) -> None:
        super().__init__()
        width = variant.stages[0][0].in_channels
        self.conv1 = variant.stem(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        stages = [[variant.block(shape, faithful) for shape in shapes] for shapes in variant.stages]
        width = variant.stages[-1][-1].out
        for out in variant.tail:
            stages[-1] += _pointwise(width, out)
            width = out
        if variant.head == "pointwise":
            stages[-1] += _pointwise(width, classes)[: 3 if faithful else 2]
        self.layer1, self.layer2, self.layer3, self.layer4 = (nn.Sequential(*stage) for stage in stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        is_linear = variant.head != "pointwise"
        self.fc = nn.Linear(width, classes, bias=variant.head == "linear") if is_linear else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, 32, 32] to logits [N, classes]."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def _pointwise(in_channels: int, out: int) -> list[nn.Module]:
    return [b.convolution(in_channels, out), nn.BatchNorm2d(out), nn.ReLU6()]


class VGG19Net(nn.Module):
    """Sixteen units in five groups with poolings between, and a head."""

    input_shape = (3, 32, 32)

    def __init__(self, variant: VGGVariant, classes: int = 10, channels: int = 3, faithful: bool = True) -> None:
        super().__init__()
        layers = list(_vgg_layers(variant, channels, faithful))
        # Without the classic head, the mean takes the place of the last pooling.
        self.features = nn.Sequential(*(layers if variant.head == "classic" else layers[:-1]))
        self.reduce, self.gap, self.classifier = _vgg_head(variant, classes, faithful)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, 32, 32] to logits [N, classes]."""
        return self.classifier(self.gap(self.reduce(self.features(x))).flatten(1))  # type: ignore[no-any-return]


def _vgg_layers(variant: VGGVariant, channels: int, faithful: bool) -> Iterator[nn.Module]:
    width, size = channels, 32
    for out, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            yield from variant.unit(width, out, size, faithful)
            width = out
        yield nn.MaxPool2d(2)
        size //= 2


def _vgg_head(variant: VGGVariant, classes: int, faithful: bool) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return what comes before the mean, the mean, and what comes behind it."""
    if variant.head == "classic":
        hidden = (nn.Linear(512, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5))
        return nn.Identity(), nn.Identity(), nn.Sequential(*hidden, nn.Linear(4096, classes))
    mean = nn.AdaptiveAvgPool2d(1)
    if variant.head == "linear":
        linear, dropout = nn.Linear(512, classes), nn.Dropout(0.5)
        return nn.Identity(), mean, nn.Sequential(*((linear, dropout) if faithful else (dropout, linear)))
    norm = [nn.BatchNorm2d(classes)] if variant.head == "pointwise with norm" else []
    reduce = nn.Sequential(b.convolution(512, classes, bias=True), *norm, *([nn.ReLU()] if faithful else []))
    return reduce, mean, nn.Identity()


def resnet101(variant: int, classes: int = 10, channels: int = 3, faithful: bool = True) -> ResNet101:
    """Return a variant of ResNet-101, 1 to 15.

    Args:
        variant: the row of `RESNET101`.
        classes: of the output.
        channels: of the images.
        faithful: whether the quirks that this module's docstring lists are kept.

    Raises:
        EdgecnnError: no such variant.

    Example:
        >>> sum(parameter.numel() for parameter in resnet101(13).parameters())
        150715
    """
    return ResNet101(_row(RESNET101, "ResNet-101", variant), classes, channels, faithful)


def vgg19(variant: int, classes: int = 10, channels: int = 3, faithful: bool = True) -> VGG19Net:
    """Return a variant of VGG-19, 1 to 13; arguments and errors as for `resnet101`, with the rows of `VGG19`.

    Example:
        >>> sum(parameter.numel() for parameter in vgg19(8).parameters())
        151254
    """
    return VGG19Net(_row(VGG19, "VGG-19", variant), classes, channels, faithful)


def _row(table: Mapping[int, Any], family: str, variant: int) -> Any:
    if variant not in table:
        raise unknown_name(f"variant of {family}", str(variant), map(str, table))
    return table[variant]


def __getattr__(name: str) -> Callable[..., nn.Module]:
    """Return the factory of one variant: `resnet101_v13(classes, channels, faithful)`."""
    family, _, number = name.rpartition("_v")
    families: dict[str, tuple[Callable[..., nn.Module], Mapping[int, Any]]] = {
        "resnet101": (resnet101, RESNET101),
        "vgg19": (vgg19, VGG19),
    }
    if family in families and number.isdigit() and int(number) in families[family][1]:
        return functools.partial(families[family][0], int(number))
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
