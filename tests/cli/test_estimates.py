"""`edgecnn bench` for a device that is not at hand, as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecnn.cli.bench import command

MODEL = str(Path(__file__).parents[1] / "data/classifier.tflite")
INT8 = Path(__file__).parents[2] / "../shared/models/mlperf-tiny-ic-int8.tflite"


def bench(*arguments: str) -> str:
    """Return what `edgecnn bench` prints; it must end with 0."""
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("device", ["rpi5", "stm32h7a3"])
def test_without_coefficients_the_rest_is_told(device: str) -> None:
    """The memory check and the way to a measurement appear, no band does, and the reason is one line."""
    said = bench(MODEL, "--device", device)
    assert f"no estimate: {device}: no latency coefficients" in said
    assert "to measure: " in said
    assert "yes" in said
    assert "band: " not in said
    (result,) = json.loads(bench(MODEL, "--device", device, "--json"))["results"]
    assert (result["p50_ns"], result["fit"]["fits"]) == (None, True)


def test_a_microcontroller_is_estimated() -> None:
    """An int8 file on a microcontroller has an estimate, its band, what it rests on, and whose kernels those are."""
    if not INT8.is_file():
        pytest.skip("the published file is not beside the checkout")
    said = bench(str(INT8), "--device", "stm32h7a3")
    for words in (
        "stm32-cube-ai",
        "band: ",
        "mlcommons/tiny_results",
        "not of the TFLite Micro",
        "cycles a multiply-add",
    ):
        assert words in said
    (result,) = json.loads(bench(str(INT8), "--device", "stm32h7a3", "--json"))["results"]
    assert result["low_ns"] < 1e9 / 18.215 < 1e9 / 14.212 < result["high_ns"]
