"""`edgecnn debug` names the layer in which an int8 file loses its signal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.cli import cli
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.layers import _level, _Span
from edgecnn.export import CalibrationInputs, quantize
from edgecnn.export.tflite import to_tflite
from edgecnn.formats import QuantParams
from edgecnn.pipeline.debug import debug_int8
from edgecnn.recipe import Recipe
from edgecnn.samples import Samples


def test_a_span_counts_what_is_cut_off() -> None:
    """Values at -128 that stand for 0 are a ReLU's; at 127 they are cut off. The range used is that of all runs."""
    span = _Span()
    quant = QuantParams((0.1,), (-128,))
    span.add(np.array([-128, -128, 0, 127], np.int8), quant)
    span.add(np.array([-100, -28, 0, 20], np.int8), quant)
    assert span.range_used == 1.0
    assert span.saturated == 1 / 8
    half = _Span()
    half.add(np.array([-64, 0, 63], np.int8), QuantParams((0.1,), (0,)))
    assert (half.range_used, half.saturated) == (127 / 255, 0.0)
    none = _Span()
    none.add(np.array([1.0], np.float32), None)
    assert (none.range_used, none.saturated) == (None, None)


def test_the_level_of_equalized_channels_leaves_their_factors_out() -> None:
    """Channels that are the network's times a number, and noise of a hundredth of the power: 20 dB either way."""
    draw = np.random.default_rng(0)
    real = draw.standard_normal((100_000, 2))
    given = real + 0.1 * draw.standard_normal((100_000, 2))
    for factors, is_scaled in ((np.ones(2), False), (np.array([0.1, 30.0]), True)):
        scaled = given * factors
        sums = (np.square(real).sum(0), (real * scaled).sum(0), np.square(scaled).sum(0))
        assert _level(*sums, is_scaled=is_scaled) == pytest.approx(20, abs=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose second layer int8 ruins, in float and in int8, and data for it."""
    torch.manual_seed(0)
    first, lossy, last = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 12, 1, bias=False), nn.Conv2d(12, 4, 3)
    factor = torch.logspace(-2, 0, 12)  # of its filters, which equalization makes the same again
    with torch.no_grad():
        first.bias[0] = -100.0  # type: ignore[index]
        lossy.weight.uniform_(0.2, 0.45).mul_(1 / 127)
        lossy.weight[:, 0] = 1.0  # of the channel that is always 0: the others lose their digits to it
        lossy.weight.mul_(factor[:, None, None, None])
        last.weight.div_(factor[:, None, None])
    network = nn.Sequential(first, nn.ReLU(), lossy, nn.ReLU(), last, nn.ReLU()).eval()
    folder = tmp_path_factory.mktemp("debug")
    plain = to_tflite(network, folder / "a.fp32.tflite", (1, 10, 10))
    x = np.random.default_rng(0).random((20, 1, 10, 10)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    calibration = CalibrationInputs(Samples.of(x), None)
    for steps in ("minmax", "cle"):
        recipe = replace(Recipe("own", "", {}), quantize=steps)
        quantize(plain, folder / f"a.{steps}.tflite", "w8a8", recipe=recipe, calibration=calibration)
    return folder


@pytest.mark.slow
def test_the_worst_layer_comes_first(folder: Path) -> None:
    """It has more than half of the noise; the command line prints the same."""
    arguments = [str(folder / "a.minmax.tflite"), "--against", str(folder / "a.fp32.tflite")]
    data = f"npz:{folder / 'x.npz'}"
    found = debug_int8(folder / "a.minmax.tflite", folder / "a.fp32.tflite", data, samples=4)
    graph = Artifact.open(folder / "a.minmax.tflite").graph
    convolutions = [step for step, operator in enumerate(graph.operators) if operator.kind == "CONV_2D"]
    assert found.layers[0].step == convolutions[-2]
    assert found.share(found.layers[0]) > 0.5
    assert sum(map(found.share, found.layers)) == pytest.approx(1)
    assert found.layers[0].range_used == 0.0  # it gives nothing but 0
    assert max(layer.range_used or 0.0 for layer in found.layers) > 0.5
    result = CliRunner().invoke(cli, ["debug", *arguments, "--data", data, "--samples", "4", "--json"])
    assert json.loads(result.stdout) == json.loads(json.dumps(found.to_json()))


@pytest.mark.slow
def test_an_equalized_file_is_compared_by_its_own_scales(folder: Path) -> None:
    """No layer of it seems lost because its channels have other scales than the network's."""
    data = f"npz:{folder / 'x.npz'}"
    plain, equalized = (
        debug_int8(folder / f"a.{steps}.tflite", folder / "a.fp32.tflite", data, samples=4).layers
        for steps in ("minmax", "cle")
    )
    assert Artifact.open(folder / "a.cle.tflite").metadata["equalization"]["channels"] > 0
    before = {layer.step: layer.output_db for layer in plain}
    assert all(layer.output_db > before[layer.step] - 3 for layer in equalized)


@pytest.mark.slow
def test_other_files_are_refused(folder: Path) -> None:
    """A float file has no noise to show."""
    with pytest.raises(EdgecnnError, match="debug reads quantized"):
        debug_int8(folder / "a.fp32.tflite", folder / "a.fp32.tflite", f"npz:{folder / 'x.npz'}")
