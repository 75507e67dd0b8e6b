"""Histograms that stream, and ranges that leave out rare extremes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgecnn.errors import EdgecnnError
from edgecnn.export import CalibrationInputs, quantize
from edgecnn.export.int8.onnx_program import OnnxProgram
from edgecnn.export.int8.ranges import (
    Histogram,
    chosen_ranges,
    clipped_ranges,
    entropy_range,
    mse_range,
    percentile_range,
    range_divergence,
    range_error,
)
from edgecnn.export.int8.tflite_program import TfliteProgram
from edgecnn.export.onnx import to_onnx
from edgecnn.export.tflite import to_tflite
from edgecnn.formats.tflite import read_tflite
from edgecnn.recipe import Recipe, int8_steps
from edgecnn.samples import Samples


def filled(values: npt.NDArray[np.float64], parts: int = 1) -> Histogram:
    """Return the histogram of *values*, given in so many parts."""
    histogram = Histogram()
    for part in np.array_split(values.astype(np.float32), parts):
        histogram.add(part)
    return histogram


@pytest.mark.parametrize("seed", range(3))
def test_the_order_and_the_parts_do_not_matter(seed: int) -> None:
    """One value at a time, in batches, small ones first or large ones first: the same counts."""
    values = np.random.default_rng(seed).standard_normal(500) * np.logspace(-6, 3, 500)
    whole = filled(values)
    for other in (filled(values, 500), filled(values, 7), filled(values[::-1], 11), filled(np.sort(values), 3)):
        assert np.array_equal(other.counts, whole.counts)
        assert (other.exponent, other.low, other.high) == (whole.exponent, whole.low, whole.high)
    assert whole.counts.sum() == 500


def test_each_value_is_counted_where_it_lies() -> None:
    """The bin of a value contains it; zeros lie in the middle."""
    histogram = filled(np.array([-3.0, 0.0, 0.0, 1.7]))
    assert histogram.exponent == 2
    for value, count in ((-3.0, 1), (0.0, 2), (1.7, 1)):
        place = int(np.argmin(np.abs(histogram.centres - histogram.width / 4 - value)))
        assert histogram.counts[place] == count
        assert abs(histogram.centres[place] - value) <= histogram.width / 2


def test_a_percentile_leaves_out_one_of_ten_thousand() -> None:
    """Of 100 000 values from 0 to 1 and five of 50, the range ends at 1; nothing is added below 0."""
    values = np.concatenate([np.linspace(0, 1, 100_000), np.full(5, 50.0)])
    low, high = percentile_range(filled(values))
    assert low == 0
    assert high == pytest.approx(1.0, abs=2 * 64 / 4096)


@pytest.mark.parametrize("outlier", [2.0, 20.0, 200.0])
def test_the_least_error_is_found(outlier: float) -> None:
    """No range of a fine grid has a smaller error than 1.02 times that of the range found, measured by rounding."""
    draw = np.random.default_rng(0)
    values = np.concatenate([draw.standard_normal(100_000), [outlier]])
    histogram = filled(values)
    low, high = mse_range(histogram)
    assert histogram.low <= low <= 0 <= high <= histogram.high

    def measured(a: float, b: float) -> float:
        step = (b - a) / 255
        return float(np.square(values - (np.rint((np.clip(values, a, b) - a) / step) * step + a)).mean())

    grid = [(a, b) for a in np.linspace(histogram.low, -1, 12) for b in np.linspace(1, histogram.high, 60)]
    assert measured(low, high) <= 1.02 * min(measured(a, b) for a, b in grid)
    assert range_error(histogram, low, high) == pytest.approx(measured(low, high), rel=0.05)


def test_entropy_leaves_out_a_far_outlier_and_keeps_what_is_spread() -> None:
    """Of a bell and one value far away the range is the bell's; of evenly spread values it is all of them."""
    draw = np.random.default_rng(0)
    bell = filled(np.concatenate([draw.standard_normal(100_000), [60.0]]))
    low, high = entropy_range(bell)
    assert low == pytest.approx(bell.low, rel=0.5)
    assert 2.5 < high < 20
    assert range_divergence(bell, low, high) < range_divergence(bell, bell.low, bell.high)
    even = filled(np.linspace(-1, 1, 100_000))
    assert entropy_range(even) == pytest.approx((-1, 1), abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_each_tensor_gets_the_range_that_suits_its_reader(name: str, tmp_path: Path) -> None:
    """Rare large values that the next layer needs are kept; the same that it gives no weight are left out."""
    first, keeps, drops = nn.Conv2d(2, 2, 1, bias=False), nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        first.weight.copy_(torch.eye(2)[:, :, None, None])
        keeps.weight[:, 0], drops.weight[:, 0] = 1.0, 0.0
        keeps.weight[:, 1], drops.weight[:, 1] = 0.1, 1.0
    draw = np.random.default_rng(0)
    x = draw.random((32, 2, 16, 16)).astype(np.float32)
    x[:, 0, 3, 3] = 40.0  # in every sample, in the channel that one of the readers leaves out
    calibration = CalibrationInputs(Samples.of(x), None)
    found = {}
    for kind, reader in (("keeps", keeps), ("drops", drops)):
        network = nn.Sequential(first, nn.ReLU(), reader).eval()
        plain = (to_onnx if name == "onnx" else to_tflite)(network, tmp_path / f"{kind}.fp32.{name}", (2, 16, 16))
        program = TfliteProgram(plain.path.read_bytes(), plain.layout) if name == "tflite" else None
        if program is None:
            found[kind] = chosen_ranges(OnnxProgram(pytest.importorskip("onnx").load(plain.path)), calibration)
        else:
            found[kind] = chosen_ranges(program, calibration)
    assert found["keeps"] == {}
    assert found["drops"]
    assert all(low == 0 and high < 20 for low, high in found["drops"].values())


def test_ranges_without_rare_extremes_stay() -> None:
    """Of evenly spread values there is nothing to leave out."""
    assert clipped_ranges({"a": filled(np.linspace(-1, 1, 10_000))}, "mse") == {}


def test_two_ways_to_choose_ranges_are_refused() -> None:
    """One or the other."""
    assert int8_steps("bias,mse") == ("mse", "bias")
    with pytest.raises(EdgecnnError, match="mse and percentile both choose the ranges; take one"):
        int8_steps("mse,percentile")
    with pytest.raises(EdgecnnError, match="ranges and entropy both"):
        int8_steps("ranges,entropy")


def steps_of(path: Path) -> list[float]:
    """Return the scales of the activations of a file."""
    if path.suffix == ".tflite":
        tensors = read_tflite(path).tensors
        return [t.quant.scale[0] for t in tensors if t.quant and not t.constant]
    onnx = pytest.importorskip("onnx")
    scales = [t for t in onnx.load(path).graph.initializer if t.name.endswith("_scale")]
    return [float(onnx.numpy_helper.to_array(t)) for t in scales if onnx.numpy_helper.to_array(t).size == 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_a_rare_extreme_makes_no_scale_coarser(name: str, tmp_path: Path) -> None:
    """A filter adds up nine pixels, of which few are bright but in one place: that sum of 9 is left out, not the 6."""
    first = nn.Conv2d(1, 8, 3, bias=False)
    torch.nn.init.ones_(first.weight)
    network = nn.Sequential(first, nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    x = (np.random.default_rng(0).random((16, 1, 40, 40)) < 0.05).astype(np.float32)
    x[5, 0, 20:23, 20:23] = 1.0
    plain = (to_onnx if name == "onnx" else to_tflite)(network, tmp_path / f"a.fp32.{name}", (1, 40, 40))
    calibration = CalibrationInputs(Samples.of(x), None)
    found = {}
    for steps in ("minmax", "percentile"):
        recipe = replace(Recipe("own", "", {}), quantize=steps)
        file = quantize(plain, tmp_path / f"{steps}.{name}", "w8a8", recipe=recipe, calibration=calibration)
        found[steps] = 255 * np.array(steps_of(file.path))
    assert np.isclose(found["minmax"], 9.0, atol=0.01).any()
    assert not np.isclose(found["percentile"], 9.0, atol=0.01).any()
    assert ((found["percentile"] > 4.9) & (found["percentile"] < 6.3)).any()
