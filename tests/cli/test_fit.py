"""`edgecnn fit`, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import called
import pytest

DATA = Path(__file__).parents[1] / "data"
FILE = DATA / "classifier.tflite"
IC = Path(__file__).parents[2] / "../shared/models/mlperf-tiny-ic-int8.tflite"
KEYS = {
    "file",
    "device",
    "fits",
    "regions",
    "arena_bytes",
    "arena_head_bytes",
    "peak",
    "unsupported_operators",
}


def edgecnn(*arguments: str) -> CompletedProcess[str]:
    """Run `edgecnn fit` with *arguments*."""
    return called.edgecnn("fit", *arguments)


def test_exit_codes_say_whether_it_fits() -> None:
    """0 where it fits, 1 where it does not, and each says so in words."""
    fits = edgecnn(str(FILE), "--ram", "1MiB", "--flash", "1MiB")
    assert (fits.returncode, fits.stdout.splitlines()[-1]) == (0, "fits")
    small = edgecnn(str(FILE), "--ram", "1KiB", "--flash", "1MiB")
    assert (small.returncode, small.stdout.splitlines()[-1]) == (1, "does not fit")
    assert "next: " in small.stdout


def test_json_has_the_promised_keys() -> None:
    """The document has every key that scripts rely on, and marks its figures as estimated."""
    report = json.loads(edgecnn(str(FILE), "--device", "stm32h7a3", "--json").stdout)
    assert report.keys() >= KEYS
    assert report["method"] == "estimated"
    assert report["device"] == "stm32h7a3"
    assert all(region.keys() >= {"name", "used_bytes", "limit_bytes"} for region in report["regions"])
    assert report["peak"].keys() >= {"operator", "live_bytes", "tensors"}


@pytest.mark.skipif(not IC.is_file(), reason=f"no {IC.name} beside the checkout")
def test_the_published_network_on_a_board() -> None:
    """MLPerf Tiny's image classifier has a head of 49152 B, and 55984 B in all on a 64-bit host."""
    report = json.loads(edgecnn(str(IC), "--device", "stm32h7a3", "--json").stdout)
    assert report["arena_head_bytes"] == 49152
    assert report["arena_bytes_by_pointer"]["8"] == 55984
    assert report["arena_bytes"] == report["arena_bytes_by_pointer"]["4"] < 55984
    assert report["fits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((str(FILE),), "--ram"),
        ((str(FILE), "--device", "stm32h7a33"), "did you mean 'stm32h7a3'"),
        ((str(FILE), "--device", "rpi4", "--ram", "0KiB"), "is too small; give --ram, for example 64KiB"),
        ((str(FILE), "--ram", "many"), "not a size"),
        (("nowhere.tflite", "--ram", "1MiB"), "nowhere.tflite"),
        ((str(DATA), "--ram", "1MiB"), "is a folder"),
        ((str(FILE), "--device", "x86-avx2"), "its memory is unknown; give --ram"),
        ((str(DATA / "README.md"), "--ram", "1MiB"), ".tflite and .onnx"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    """A mistake gets one line on standard error that says what to do, and exit code 2."""
    run = edgecnn(*arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert run.stdout == ""


def test_the_title_is_a_line_of_its_own() -> None:
    """A long name is not broken by the width of the table below it."""
    run = edgecnn(str(FILE), "--ram", "1MiB")
    assert run.stdout.splitlines()[0] == f"{FILE} on 1.0 MiB ram, estimated"


def test_a_rejected_file_can_be_checked(tmp_path: Path) -> None:
    """A file that broke its recipe's limits is read by its own name."""
    rejected = tmp_path / "net.tflite.rejected"
    rejected.write_bytes(FILE.read_bytes())
    assert edgecnn(str(rejected), "--ram", "1MiB").returncode == 0


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    """A file cut short is an error, not a verdict."""
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(FILE.read_bytes()[:-2000])
    run = edgecnn(str(cut), "--ram", "1MiB")
    assert run.returncode == 2
    assert "broken .tflite file" in run.stderr
