"""Equalization levels the channels that share a scale, and changes nothing of what the float network computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgecnn.export import CalibrationInputs, quantize
from edgecnn.export.int8.equalize import equalize, find_pairs
from edgecnn.export.int8.onnx_program import OnnxProgram
from edgecnn.export.int8.program import Program
from edgecnn.export.int8.tflite_program import TfliteProgram
from edgecnn.export.onnx import to_onnx
from edgecnn.export.tflite import to_tflite
from edgecnn.recipe import Recipe
from edgecnn.runtimes.litert import open_content
from edgecnn.runtimes.onnxruntime import open_content as open_onnx
from edgecnn.samples import Samples

pytestmark = pytest.mark.slow
FORMATS = ("onnx", "tflite")
SHAPE = (3, 12, 12)


def uneven(activation: type[nn.Module]) -> nn.Module:
    """A convolution, depthwise, pointwise chain whose channels have ranges from 1 to 1/1000, and a branch around one.

    The depthwise filters make up for the ranges, so every channel counts.
    """
    torch.manual_seed(0)
    first, depthwise = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
    factor = torch.logspace(-3, 0, 16)
    with torch.no_grad():
        first.weight.mul_(factor[:, None, None, None])
        first.bias.mul_(factor)  # type: ignore[union-attr]
        depthwise.weight.div_(factor[:, None, None, None])
    head = [nn.Conv2d(16, 24, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)]
    return nn.Sequential(first, activation(), depthwise, nn.ReLU(), *head).eval()


def images(seed: int, count: int = 32) -> npt.NDArray[np.float32]:
    """Return noise that varies slowly over the image."""
    coarse = np.random.default_rng(seed).standard_normal((count, 3, 3, 3))
    return np.repeat(np.repeat(coarse, 4, 2), 4, 3).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network in float in both formats, with ReLU and with ReLU6."""
    folder = tmp_path_factory.mktemp("uneven")
    for name, activation in (("relu", nn.ReLU), ("relu6", nn.ReLU6)):
        to_onnx(uneven(activation), folder / f"{name}.onnx", SHAPE)
        to_tflite(uneven(activation), folder / f"{name}.tflite", SHAPE)
    return folder


def open_program(path: Path) -> Program:
    """Return the file as a program."""
    if path.suffix == ".tflite":
        return TfliteProgram(path.read_bytes())
    return OnnxProgram(pytest.importorskip("onnx").load(path))


def outputs(content: bytes, name: str, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what a file gives for each image, [n, 10]."""
    if name == "tflite":
        run = open_content(content)
        return np.concatenate([run([np.ascontiguousarray(i[None].transpose(0, 2, 3, 1))])[0] for i in x])
    run_onnx = open_onnx(content)
    return np.concatenate([run_onnx({"input": i[None]})[0] for i in x])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_the_float_network_computes_the_same(name: str, activation: str, folder: Path) -> None:
    """On images it has not seen too, to rounding; three of its layers' ends are levelled."""
    path = folder / f"{activation}.{name}"
    program = open_program(path)
    assert len(find_pairs(program)) == 3
    done = equalize(program, [x[None] for x in images(0)])
    assert done["pairs"] >= 1
    assert done["channels"] >= 12
    x = images(1)
    before, after = outputs(path.read_bytes(), name, x), outputs(program.pack(), name, x)
    assert not np.array_equal(before, after)
    assert np.abs(before - after).max() < 1e-4 * np.abs(before).max()


@pytest.mark.parametrize("name", FORMATS)
def test_equalization_repairs_channels_of_uneven_ranges(name: str, folder: Path, tmp_path: Path) -> None:
    """Where one scale for channels of 1 and of 1/1000 loses the small ones, equalized ones are kept: 15 dB and more."""
    path = folder / f"relu.{name}"
    from edgecnn.artifact import Artifact

    calibration = CalibrationInputs(Samples.of(images(0)), None)
    x = images(1)
    expected = outputs(path.read_bytes(), name, x)
    levels = {}
    for method in ("minmax", "cle"):
        recipe = replace(Recipe("own", "", {}), quantize=method)
        file = quantize(
            Artifact.open(path), tmp_path / f"{method}.{name}", "w8a8", recipe=recipe, calibration=calibration
        )
        rest = expected - outputs(file.path.read_bytes(), name, x)
        levels[method] = 10 * np.log10(np.square(expected - expected.mean(0)).sum() / np.square(rest).sum())
    assert file.metadata["equalization"]["pairs"] >= 1
    assert levels["cle"] > levels["minmax"] + 15


def test_channels_that_reach_the_limit_of_relu6_stay(folder: Path) -> None:
    """Divided, such a channel would be cut elsewhere: its filter keeps its weights."""
    program = open_program(folder / "relu6.onnx")
    loud = [100 * x[None] for x in images(0)]
    first = find_pairs(program)[0].first
    weights = program.constant(first.weights)
    run = program.observer([find_pairs(program)[0].between])
    reaches = np.stack([run(x)[0].max((0, 2, 3)) for x in loud]).max(0) >= 6
    assert reaches.any()
    assert not reaches.all()
    equalize(program, loud)
    changed = program.constant(first.weights)
    assert weights is not None
    assert changed is not None
    assert np.array_equal(weights[reaches], changed[reaches])
    assert not np.array_equal(weights, changed)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("padding", [0, 1])
def test_a_high_bias_is_absorbed_by_the_next_layer(name: str, padding: int, tmp_path: Path) -> None:
    """What a channel gives at least goes to the next layer's bias: values from 16 to 23 become 0 to 6, outputs stay.

    Where the next layer pads with zeros, which would have to be moved too, the values stay.
    """
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 10, 3, padding=padding)
    nn.init.constant_(first.bias, 20.0)  # type: ignore[arg-type]
    network = nn.Sequential(first, nn.ReLU(), second, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    path = tmp_path / f"a.{name}"
    (to_tflite if name == "tflite" else to_onnx)(network, path, SHAPE)
    program, x = open_program(path), images(0)
    between = find_pairs(program)[0].between

    def ends() -> tuple[float, float]:
        run = program.observer([between])
        values = np.stack([run(one[None])[0] for one in x])
        return float(values.min()), float(values.max())

    assert 16 < ends()[0] < 20 < ends()[1] < 23
    done = equalize(program, [one[None] for one in x])
    assert done["biases_absorbed"] == (0 if padding else 8)
    assert ends()[0] > 16 if padding else ends()[1] < 6
    before, after = outputs(path.read_bytes(), name, x), outputs(program.pack(), name, x)
    assert np.abs(before - after).max() < 1e-5 * np.abs(before).max()
