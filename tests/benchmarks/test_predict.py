"""What is told of a device that is not at hand, with and without coefficients."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.benchmarks.predict import how_to_measure, predict_files
from edgecnn.errors import EdgecnnError

MODEL = Path(__file__).parents[1] / "data/classifier.tflite"


def test_without_coefficients_the_memory_is_checked_all_the_same() -> None:
    """The figures are null, one sentence says why, and the memory check is there."""
    (told,) = predict_files([MODEL], "stm32h7a3")
    result = told.to_json()
    assert told.estimate is None
    assert result["p50_ns"] is result["low_ns"] is result["method"] is result["runtime"] is None
    assert (result["device"], result["fit"]["fits"]) == ("stm32h7a3", True)
    assert "no latency coefficients for stm32-cube-ai, fp32" in result["no_estimate"]
    assert "\n" not in result["no_estimate"]


def test_with_coefficients_there_is_no_reason() -> None:
    """Both kinds of result have the same keys."""
    (told,), (untold,) = (predict_files([MODEL], device) for device in ("rpi4", "stm32h7a3"))
    assert told.to_json()["no_estimate"] is None
    assert set(told.to_json()) == set(untold.to_json())


@pytest.mark.parametrize(("runtimes", "threads"), [(["plumerai"], []), ([], [3])])
def test_what_is_named_must_be_known(runtimes: list[str], threads: list[int]) -> None:
    """A runtime or a number of threads that the user names and the profile does not know is an error."""
    with pytest.raises(EdgecnnError, match=r"known: ncnn fp32 at 1, 4 threads.*litert fp32 at 1, 2, 4 threads"):
        predict_files([MODEL], "rpi5", runtimes=runtimes, threads=threads)


def test_a_broken_file_is_an_error_with_or_without_coefficients(tmp_path: Path) -> None:
    """Missing coefficients do not hide what is wrong with the file."""
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(EdgecnnError, match=r"broken\.tflite"):
        predict_files([broken], "rpi5")


@pytest.mark.parametrize(
    ("device", "way"),
    [("rpi5", "--target ssh://USER@BOARD"), ("pixel7pro", "--target adb:SERIAL"), ("stm32h7a3", "your own firmware")],
)
def test_the_way_to_a_measurement_is_the_devices_own(device: str, way: str) -> None:
    """A board is reached by ssh, a phone by adb, and a microcontroller not at all."""
    assert way in how_to_measure(MODEL, device)
