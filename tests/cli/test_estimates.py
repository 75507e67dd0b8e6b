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
    return done.stdout


@pytest.mark.parametrize("device", ["nrf5340", "stm32h7a3"])
def test_without_coefficients_the_rest_is_told(device: str) -> None:
    """The memory check and the way to a measurement appear, no band does, and the reason is one line."""
    said = bench(MODEL, "--device", device)
    assert f"no estimate: {device}: no latency coefficients" in said
    assert "to measure: " in said
    assert "yes" in said
    assert "band: " not in said
    (result,) = json.loads(bench(MODEL, "--device", device, "--json"))["results"]
    assert (result["p50_ns"], result["fit"]["fits"]) == (None, True)


def test_a_board_without_figures_of_its_own_says_whose_they_are() -> None:
    """On a Raspberry Pi 5 the band is that of its kind of core, and a note and the source say so."""
    said = bench(MODEL, "--device", "rpi5")
    for words in ("band: ", "of its kind of core", "Arm Cortex-A76, scaled to 2400 MHz"):
        assert words in said
    small = json.loads(bench(MODEL, "--device", "pixel4", "--cores", "Kryo 485 Silver", "--json"))["results"][0]
    assert small["threads"] == 4
    assert small["p50_ns"] > json.loads(bench(MODEL, "--device", "pixel4", "--json"))["results"][0]["p50_ns"]


def test_a_microcontroller_is_estimated() -> None:
    """An int8 file on a microcontroller has an estimate, its band, what it rests on, and whose kernels those are."""
    if not INT8.is_file():
        pytest.skip("the published file is not beside the checkout")
    said = bench(str(INT8), "--device", "stm32h7a3")
    for words in (
        "stm32-cube-ai",
        "band: ",
        "mlcommons/tiny_results",
        "those of today's TFLite Micro",
        "cycles a multiply-add",
    ):
        assert words in said
    (result,) = json.loads(bench(str(INT8), "--device", "stm32h7a3", "--json"))["results"]
    assert result["low_ns"] < 1e9 / 18.215 < 1e9 / 14.212 < result["high_ns"]


def test_the_accuracy_is_measured_here_and_labelled(tmp_path: Path) -> None:
    """With `--data` the accuracy is that of the file on this machine: no estimate, and said to be from here."""
    measured = tmp_path / "here.json"
    bench(MODEL, "--processes", "1", "--min-time", "0", "--data", "digits", "-o", str(measured))
    (here,) = json.loads(measured.read_text())["results"]
    (result,) = json.loads(bench(MODEL, "--device", "rpi4", "--data", "digits", "--json"))["results"]
    assert result["accuracy"] == here["accuracy"]
    assert result["accuracy"]["n"] == 539
    assert result["accuracy_device"] == "host"
    assert result["warnings"] == [text for text in here["warnings"] if "chance" in text]
    said = bench(MODEL, "--device", "rpi4", "--data", "digits")
    assert "top-1: measured on this machine, not on rpi4" in said
    assert "top-1: measured" not in bench(MODEL, "--device", "rpi4")
