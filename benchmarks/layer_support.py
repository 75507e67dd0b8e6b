"""Which layers of torch come out right in each format, layer by layer.

    python benchmarks/layer_support.py          # writes docs/layers.md
    python benchmarks/layer_support.py decoders # one group; the others stay as they are

Each layer stands in a small network between two convolutions. The networks of a group are one module with an output
each, so that a group is converted once. Each output is compared with torch in the runtime of each format, on 16 samples
of noise: float files to 1e-4 of the largest value, int8 files to 20 dB (a tenth of the signal). Their ranges come from
128 other samples: a layer of 5 values a sample has not shown its extremes in a few, and clips those of others.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgecnn.artifact import Artifact
from edgecnn.datasets.noise import noise
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.inputs import plan_for
from edgecnn.evaluate.run import run_artifact
from edgecnn.export import CalibrationInputs, quantize
from edgecnn.export.onnx import to_onnx
from edgecnn.export.tflite import to_tflite
from edgecnn.files import write_whole
from edgecnn.fit.call import Call
from edgecnn.fit.micro_support import why_unsupported
from edgecnn.formats import Graph, Operator

RESULT = Path(__file__).parents[1] / "docs" / "layers.md"
SAMPLES, CALIBRATION = 16, 128
EXACT, LEAST_DB = 1e-4, 20.0
CHANNELS = 8
FORMATS = (("tflite", "fp32"), ("onnx", "fp32"), ("tflite", "w8a8"), ("onnx", "w8a8"))

Layer = Callable[[], nn.Module]


class Function(nn.Module):
    """A layer that is a function of one tensor."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        """Map [N, 8, ...] to what the function gives."""
        return self.function(x)


def f(function: Callable[[torch.Tensor], Any]) -> Layer:
    return lambda: Function(function)


class Attention(nn.Module):
    """Squeeze and excite."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(CHANNELS, 4, 1), nn.Conv2d(4, CHANNELS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 8, H, W] to the same."""
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Pyramid(nn.Module):
    """A coarse branch, enlarged and added to a fine one."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.side = nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1), nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 8, H, W] to the same."""
        return self.side(x) + functional.interpolate(self.down(x), size=x.shape[2:])


class Skip(nn.Module):
    """A U-Net of one level: down, up by a transposed convolution, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(CHANNELS, 16, 3, padding=1), nn.ReLU())
        self.up, self.out = nn.ConvTranspose2d(16, CHANNELS, 2, 2), nn.Conv2d(16, CHANNELS, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 8, H, W], even, to the same."""
        return self.out(torch.cat([x, self.up(self.down(x))], 1))


class Dilated(nn.Module):
    """Causal convolutions of growing dilation, each with a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, 3, dilation=2**step) for step in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, 8, W] to the same."""
        for step, layer in enumerate(self.layers):
            x = torch.relu(x + layer(functional.pad(x, (2 * 2**step, 0))))
        return x


def deconv(*sizes: int, **rest: Any) -> Layer:
    return lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, *sizes, **rest)


@dataclass(frozen=True)
class Group:
    """Layers over inputs of one shape."""

    shape: tuple[int, ...]
    layers: Mapping[str, Layer]


def conv(shape: Sequence[int], channels: int) -> nn.Module:
    return {2: nn.Conv1d, 3: nn.Conv2d, 4: nn.Conv3d}[len(shape)](channels, CHANNELS, 3, padding=1)


class Branches(nn.Module):
    """Each layer between a convolution and another: the outputs by name."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.names = list(group.layers)
        self.before = nn.ModuleList(conv(group.shape, group.shape[0]) for _ in self.names)
        self.layers = nn.ModuleList(layer() for layer in group.layers.values())

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map an input to one output a layer."""
        pairs = zip(self.names, self.before, self.layers, strict=True)
        return {f"y{number}": layer(first(x)) for number, (_, first, layer) in enumerate(pairs)}


GROUPS: Mapping[str, Group] = {
    "decoders": Group(
        (3, 9, 11),
        {
            "ConvTranspose2d(3, stride=2, padding=1, output_padding=1)": deconv(3, 2, 1, 1),
            "ConvTranspose2d(4, stride=2, padding=1)": deconv(4, 2, 1),
            "ConvTranspose2d(2, stride=2)": deconv(2, 2),
            "ConvTranspose2d(3, stride=1, padding=1)": deconv(3, 1, 1),
            "ConvTranspose2d(6, stride=3, padding=2, output_padding=1)": deconv(6, 3, 2, 1),
            "ConvTranspose2d(5, stride=2, padding=4)": deconv(5, 2, 4),
            "ConvTranspose2d(3, stride=2, dilation=2)": deconv(3, 2, 2, 1, dilation=2),
            "ConvTranspose2d(4, stride=2, groups=2)": deconv(4, 2, 1, groups=2),
            "ConvTranspose2d(4, stride=2, depthwise)": deconv(4, 2, 1, groups=CHANNELS),
            "ConvTranspose2d((1, 5), stride=(1, 2))": lambda: nn.ConvTranspose2d(8, 8, (1, 5), (1, 2), (0, 2)),
            "Upsample(nearest)": lambda: nn.Upsample(scale_factor=2),
            "Upsample(bilinear)": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
            "Upsample(bilinear, align_corners)": lambda: nn.Upsample((18, 23), mode="bilinear", align_corners=True),
            "PixelShuffle": lambda: nn.PixelShuffle(2),
            "PixelUnshuffle": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.PixelUnshuffle(2)),
            "Upsample(nearest) to other than whole multiples": lambda: nn.Upsample((14, 20)),
        },
    ),
    "pools": Group(
        (3, 15, 13),
        {
            "MaxPool2d(2)": lambda: nn.MaxPool2d(2),
            "MaxPool2d(3, stride=2, padding=1)": lambda: nn.MaxPool2d(3, 2, 1),
            "MaxPool2d(3, stride=2, ceil_mode)": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
            "MaxPool2d(5, stride=1, padding=2)": lambda: nn.MaxPool2d(5, 1, 2),
            "AvgPool2d(2, ceil_mode)": lambda: nn.AvgPool2d(2, 2, ceil_mode=True),
            "AvgPool2d(3, stride=2, padding=1)": lambda: nn.AvgPool2d(3, 2, 1),
            "AvgPool2d(3, padding=1, count_include_pad=False)": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
            "AvgPool2d(2, divisor_override)": lambda: nn.AvgPool2d(2, divisor_override=3),
            "AdaptiveAvgPool2d(1)": lambda: nn.AdaptiveAvgPool2d(1),
            "AdaptiveAvgPool2d((2, 4))": lambda: nn.AdaptiveAvgPool2d((2, 4)),
            "AdaptiveMaxPool2d((3, 3))": lambda: nn.AdaptiveMaxPool2d((3, 3)),
            "amax over height and width": f(lambda x: x.amax((2, 3))),
            "mean over channels": f(lambda x: x.mean(1, keepdim=True)),
            "LPPool2d(2, 2)": lambda: nn.LPPool2d(2, 2),
        },
    ),
    "activations": Group(
        (3, 8, 8),
        {
            "ReLU": nn.ReLU,
            "ReLU6": nn.ReLU6,
            "LeakyReLU": nn.LeakyReLU,
            "PReLU": lambda: nn.PReLU(CHANNELS),
            "ELU": nn.ELU,
            "CELU": nn.CELU,
            "SELU": nn.SELU,
            "GELU": nn.GELU,
            "GELU(tanh)": lambda: nn.GELU("tanh"),
            "SiLU": nn.SiLU,
            "Mish": nn.Mish,
            "Softplus": nn.Softplus,
            "Softsign": nn.Softsign,
            "Hardswish": nn.Hardswish,
            "Hardsigmoid": nn.Hardsigmoid,
            "Hardtanh": nn.Hardtanh,
            "Sigmoid": nn.Sigmoid,
            "Tanh": nn.Tanh,
            "Softmax": lambda: nn.Softmax(1),
            "LogSoftmax": lambda: nn.LogSoftmax(1),
            "LogSigmoid": nn.LogSigmoid,
            "Tanhshrink": nn.Tanhshrink,
            "clamp": f(lambda x: x.clamp(-0.2, 0.7)),
            "abs": f(torch.abs),
        },
    ),
    "layers": Group(
        (3, 12, 10),
        {
            "Conv2d(3, stride=2, padding=1)": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1),
            "Conv2d(3, dilation=2)": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, dilation=2, padding=2),
            "Conv2d(4, padding=same)": lambda: nn.Conv2d(CHANNELS, CHANNELS, 4, padding="same"),
            "Conv2d(padding_mode=reflect)": lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
            "Conv2d(groups=2)": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, groups=2),
            "Conv2d(depthwise)": lambda: nn.Conv2d(CHANNELS, 16, 3, groups=CHANNELS),
            "Conv2d((1, 7))": lambda: nn.Conv2d(CHANNELS, CHANNELS, (1, 7), padding=(0, 3)),
            "Linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * 120, 5)),
            "BatchNorm2d": lambda: nn.BatchNorm2d(CHANNELS),
            "GroupNorm": lambda: nn.GroupNorm(2, CHANNELS),
            "InstanceNorm2d": lambda: nn.InstanceNorm2d(CHANNELS),
            "LayerNorm over channels": f(lambda x: functional.layer_norm(x.permute(0, 2, 3, 1), (CHANNELS,))),
            "LocalResponseNorm": lambda: nn.LocalResponseNorm(3),
            "ZeroPad2d": lambda: nn.ZeroPad2d((1, 2, 3, 0)),
            "ReflectionPad2d": lambda: nn.ReflectionPad2d(2),
            "ReplicationPad2d": lambda: nn.ReplicationPad2d(2),
            "ConstantPad2d(1.5)": lambda: nn.ConstantPad2d(1, 1.5),
            "ChannelShuffle": lambda: nn.ChannelShuffle(2),
            "squeeze-excite": Attention,
            "feature pyramid": Pyramid,
            "U-Net skip": Skip,
            "split and concat": f(lambda x: torch.cat(x.split(4, 1)[::-1], 1)),
            "slices with steps (Focus)": f(lambda x: torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1)),
            "flip": f(lambda x: x.flip(3)),
            "roll": f(lambda x: x.roll(1, 2)),
            "argmax": f(lambda x: x.argmax(1)),
            "L2 normalisation": f(lambda x: functional.normalize(x, dim=1)),
            "flatten and concat": f(lambda x: torch.cat([x[:, :4].flatten(1), x.mean((2, 3))], 1)),
        },
    ),
    "over time": Group(
        (3, 32),
        {
            "Conv1d(3, padding=1)": lambda: nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1),
            "Conv1d(5, stride=2, dilation=2)": lambda: nn.Conv1d(CHANNELS, CHANNELS, 5, 2, dilation=2),
            "Conv1d(depthwise)": lambda: nn.Conv1d(CHANNELS, CHANNELS, 3, groups=CHANNELS),
            "ConvTranspose1d(4, stride=2, padding=1)": lambda: nn.ConvTranspose1d(CHANNELS, CHANNELS, 4, 2, 1),
            "BatchNorm1d": lambda: nn.BatchNorm1d(CHANNELS),
            "MaxPool1d(2)": lambda: nn.MaxPool1d(2),
            "AvgPool1d(3, stride=2, padding=1)": lambda: nn.AvgPool1d(3, 2, 1),
            "AdaptiveAvgPool1d(4)": lambda: nn.AdaptiveAvgPool1d(4),
            "Upsample(nearest) over time": lambda: nn.Upsample(scale_factor=2),
            "dilated causal convolutions": Dilated,
            "mean over time": f(lambda x: x.mean(-1)),
            "last value": f(lambda x: x[:, :, -1]),
        },
    ),
    "volumes": Group(
        (1, 6, 8, 8),
        {
            "Conv3d(3, padding=1)": lambda: nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1),
            "MaxPool3d(2)": lambda: nn.MaxPool3d(2),
            "AvgPool3d(2)": lambda: nn.AvgPool3d(2),
            "AdaptiveAvgPool3d(1)": lambda: nn.AdaptiveAvgPool3d(1),
        },
    ),
}


@dataclass(frozen=True)
class Row:
    """What became of one layer: `yes`, `float only` or `no` for each format, and why where it failed."""

    name: str
    tflite: str
    onnx: str
    tflite_int8: str
    onnx_int8: str
    micro: str
    reason: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        return (f"`{self.name}`", self.tflite, self.onnx, self.tflite_int8, self.onnx_int8, self.micro)


def rows_of(group: Group, folder: Path) -> list[Row]:
    """Return the rows of a group's layers; where the group cannot be converted, each layer by itself."""
    torch.manual_seed(0)
    names = list(group.layers)
    module = Branches(group).eval()
    found: dict[tuple[str, str], list[str]] = {}
    reasons: dict[str, str] = {}
    micro = ["no"] * len(names)
    for format_name, precision in FORMATS:
        try:
            artifact = _written(module, group, format_name, precision, folder)
            found[format_name, precision] = list(_judged(artifact, module, group, precision))
        except EdgecnnError as error:
            if len(names) > 1:
                return [
                    row for name in names for row in rows_of(Group(group.shape, {name: group.layers[name]}), folder)
                ]
            found[format_name, precision] = ["no"]
            reasons[format_name] = str(error)
            continue
        if (format_name, precision) == ("tflite", "w8a8"):
            micro = [_on_micro(artifact.graph, number) for number in range(len(names))]
    columns = [found[key] for key in FORMATS]
    reason = "; ".join(dict.fromkeys(reasons.values()))
    return [Row(name, *(column[i] for column in columns), micro[i], reason) for i, name in enumerate(names)]


def _written(module: nn.Module, group: Group, format_name: str, precision: str, folder: Path) -> Artifact:
    path = folder / f"layers.fp32.{format_name}"
    if precision == "fp32":
        return {"onnx": to_onnx, "tflite": to_tflite}[format_name](module, path, group.shape)
    calibration = CalibrationInputs(noise(group.shape, CALIBRATION).calibration(CALIBRATION), None)
    return quantize(Artifact.open(path), folder / f"layers.w8a8.{format_name}", precision, calibration=calibration)


def _judged(artifact: Artifact, module: nn.Module, group: Group, precision: str) -> Iterator[str]:
    """Yield `yes`, `float only` or `no` for each output."""
    samples = noise(group.shape, SAMPLES).evaluation.take(SAMPLES)
    expected: list[list[Any]] = [[] for _ in group.layers]
    given: list[list[Any]] = [[] for _ in group.layers]
    for batch in samples:
        with torch.no_grad():
            for index, tensor in enumerate(module(torch.from_numpy(batch.x)).values()):
                expected[index].append(tensor.numpy())
    for answered in run_artifact(artifact, samples, plan_for(artifact, samples, None, None)):
        for index, output in enumerate(answered.outputs):
            given[index].append(output)
    floats = {name for _, name in artifact.graph.float_operators()} if precision == "w8a8" else set()
    for index, (a, b) in enumerate(zip(map(np.concatenate, expected), map(np.concatenate, given), strict=True)):
        if a.shape != b.shape:
            yield "no"
            continue
        error = np.abs(a.astype(np.float64) - b)
        if precision == "fp32":
            yield "yes" if error.max() <= EXACT * max(np.abs(a).max(), 1e-6) else "no"
        elif not np.issubdtype(b.dtype, np.floating):
            yield "yes" if (error > 0).mean() < 0.2 else "no"
        elif 10 * np.log10(np.square(a.astype(np.float64)).sum() / max(np.square(error).sum(), 1e-30)) < LEAST_DB:
            yield "no"
        else:
            names = {artifact.graph.tensors[o].name for op in _cone(artifact.graph, index) for o in op.outputs}
            yield "float only" if floats & names else "yes"


def _cone(graph: Graph, number: int) -> list[Operator]:
    """Return the operators that an output is computed by."""
    needed, found = {graph.outputs[number]}, []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            found.append(operator)
            needed.update(operator.inputs)
    return found


def _on_micro(graph: Graph, number: int) -> str:
    """Return whether TFLite Micro has int8 kernels for all that an output is computed by, but for the ends."""
    ends = set(graph.inputs) | set(graph.outputs)
    for operator in _cone(graph, number):
        if operator.kind in ("QUANTIZE", "DEQUANTIZE") and ends.intersection((*operator.inputs, *operator.outputs)):
            continue
        if why_unsupported(Call.of(graph, operator)) is not None:
            return "no"
        if any(graph.tensors[index].dtype == "float32" for index in operator.outputs):
            return "float only"
    return "yes"


def page(tables: Mapping[str, str]) -> str:
    """Return docs/layers.md of a table for each group."""
    parts = [f"## {name.capitalize()}\n\n{HEAD}\n{tables[name]}" for name in GROUPS if name in tables]
    return TEXT + "\n\n".join(parts) + "\n"


def written() -> dict[str, str]:
    """Return the lines of each group that stand in docs/layers.md."""
    sections = RESULT.read_text(encoding="utf-8").split("\n## ")[1:] if RESULT.exists() else []
    return {
        section.partition("\n")[0].lower(): "\n".join(line for line in section.splitlines() if line.startswith("| `"))
        for section in sections
    }


def line(row: Row) -> str:
    """Return the line of the table."""
    return f"| {' | '.join(row.cells())} |"


HEAD = "| layer | TFLite | ONNX | int8 TFLite | int8 ONNX | TFLite Micro |\n| --- | --- | --- | --- | --- | --- |"
TEXT = """# Layers

Which layers of torch edgecnn exports. Each was exported between two convolutions, and its values were compared with
torch's on noise in the runtime of each format.

- **yes**: the values are torch's. In int8 all of it is computed in integers.
- **float only**: the file is right, and this layer computes in float in it. edgecnn lists such operators.
- **no**: edgecnn refuses it in one line, or verification rejects the file.

`python benchmarks/layer_support.py` writes this page.

"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or list(GROUPS):
            rows = rows_of(GROUPS[name], Path(folder))
            print(f"{name}\n" + "\n".join(f"{line(row)} {row.reason}" for row in rows), flush=True)
            write_whole(RESULT, page({**written(), name: "\n".join(map(line, rows))}).encode())


if __name__ == "__main__":
    main()
