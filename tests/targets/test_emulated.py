"""Real ARM64 code on virtual boards: what it computes, counts and needs, and how the boards end."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from called import edgecnn

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.datasets import open_dataset
from edgecnn.device import load_device
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.files import evaluate
from edgecnn.evaluate.inputs import plan_for
from edgecnn.measurement import Measurement
from edgecnn.pipeline import ExportResult
from edgecnn.targets import open_target
from edgecnn.targets.board.image import PROGRAMS, Image, check_programs, find_image
from edgecnn.targets.emulated import Emulated, hardware_of
from edgecnn.targets.execute import run_file

CLASSIFIER = Path(__file__).parents[1] / "data" / "classifier.tflite"
ONCE = BenchmarkConfig(processes=1)


@pytest.fixture(scope="module")
def rpi4(image: Image) -> Iterator[Emulated]:
    """A Cortex-A72: no dot product."""
    with Emulated("emulated:rpi4") as target:
        yield target


@pytest.fixture(scope="module")
def rpi5(image: Image) -> Iterator[Emulated]:
    """A Cortex-A76: dot product."""
    with Emulated("emulated:rpi5") as target:
        yield target


@pytest.fixture(scope="module")
def exported(board: ExportResult) -> dict[str, Artifact]:
    """The digits network by precision and format: `w8a8.tflite`."""
    files = [Artifact.open(file.path) for file in board.files]
    return {f"{file.precision}.{file.format}": file for file in files}


def outputs(artifact: Artifact, target: Emulated | None) -> np.ndarray:
    """Return what *artifact* answers to 64 digits."""
    digits = open_dataset("digits")
    samples = digits.evaluation.take(64)
    plan = plan_for(artifact, samples, None, digits.normalization)
    packs = (plan.prepare(batch.x) for batch in samples)
    return np.concatenate([pack[0] for pack in run_file(artifact, packs, target=target)])


def test_int8_is_the_same_to_the_bit(rpi4: Emulated, rpi5: Emulated, exported: dict[str, Artifact]) -> None:
    """LiteRT's int8 answers on ARM64, with and without dot product, are this machine's to the last bit."""
    here = outputs(exported["w8a8.tflite"], None)
    assert np.array_equal(outputs(exported["w8a8.tflite"], rpi4), here)
    assert np.array_equal(outputs(exported["w8a8.tflite"], rpi5), here)
    assert len(np.unique(here)) > 100


@pytest.mark.parametrize("file", ["fp32.tflite", "fp32.onnx"])
def test_floats_are_close(rpi4: Emulated, exported: dict[str, Artifact], file: str) -> None:
    """Float answers differ by at most 1e-5 of the largest: sums are taken in another order."""
    here, there = outputs(exported[file], None), outputs(exported[file], rpi4)
    assert np.abs(there - here).max() <= 1e-5 * np.abs(here).max()


def test_the_accuracy_is_the_same(rpi4: Emulated, exported: dict[str, Artifact]) -> None:
    """The same digits are told right there as here."""
    digits = open_dataset("digits")
    found = [evaluate(exported["w8a8.tflite"], digits, target=target).score for target in (None, rpi4)]
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0].value > 0.9


@pytest.fixture(scope="module")
def counted(rpi4: Emulated, exported: dict[str, Artifact]) -> Measurement:
    """The int8 digits network on a Cortex-A72, in two processes."""
    return measure(exported["w8a8.tflite"], target=rpi4, effort=replace(ONCE, processes=2))


def test_instructions_repeat(counted: Measurement) -> None:
    """Two processes count the same instructions within 1 %, and no duration is given."""
    counts = [run.instructions or 0 for run in counted.runs]
    assert min(counts) > 10_000
    assert max(counts) < 1.01 * min(counts)
    assert counted.method == "emulated"
    assert counted.device == "rpi4"
    document = counted.to_json()
    assert document["instructions"] == counted.instructions
    durations = ("p50_ns", "p90_ns", "p99_ns", "load_ns", "first_ns", "throughput_per_s")
    assert [document[name] for name in durations] == [None] * len(durations)
    assert document["values_ns"] == []
    assert Measurement.from_json(json.loads(json.dumps(document))) == counted


def test_memory_is_measured_there(counted: Measurement) -> None:
    """The peak is the worker's own on the board, and what the device's system leaves for it stands beside."""
    assert 20e6 < (counted.peak_rss_bytes or 0) < 200e6
    ram = load_device("rpi4").region("ram")
    assert ram is not None
    assert counted.conditions["ram_free_bytes"] == ram.limit_bytes


@pytest.mark.parametrize("file", ["w8a8.tflite", "fp32.tflite", "fp32.onnx", "w8a8.onnx"])
def test_fit_foretells_the_memory(
    rpi4: Emulated, counted: Measurement, exported: dict[str, Artifact], file: str
) -> None:
    """What `check_fit` says of the peak is within 10 % of what the process takes on the board."""
    found = counted if file == "w8a8.tflite" else measure(exported[file], target=rpi4, effort=ONCE)
    assert found.predicted_rss_bytes == pytest.approx(found.peak_rss_bytes, rel=0.1)


def test_a_clock_that_jumps_changes_nothing(rpi4: Emulated, exported: dict[str, Artifact]) -> None:
    """The board's clock set back by years while it measures is in no figure."""
    year = rpi4.board.run("date", "+%Y").strip()
    threading.Timer(2.0, rpi4.board.run, ("date", "-s", "2001-01-01")).start()
    found = measure(exported["w8a8.tflite"], target=rpi4, effort=replace(ONCE, processes=2))
    assert year != rpi4.board.run("date", "+%Y").strip() == "2001"
    rpi4.board.run("date", "-s", f"{year}-01-01")
    counts = [run.instructions or 0 for run in found.runs]
    assert 10_000 < min(counts) <= max(counts) < 1.01 * min(counts)
    assert not found.conditions["taken_at"].startswith("2001")


def test_dot_products_save_instructions(rpi5: Emulated, counted: Measurement, exported: dict[str, Artifact]) -> None:
    """The same int8 network takes at most half the instructions where the processor has a dot product."""
    modern = measure(exported["w8a8.tflite"], target=rpi5, effort=ONCE)
    assert (modern.instructions or 0) < 0.5 * (counted.instructions or 0)
    assert "dotprod" in modern.conditions["features"]
    assert "dotprod" not in counted.conditions["features"]
    assert "neon" in counted.conditions["features"]


def test_several_threads_are_refused(rpi4: Emulated) -> None:
    """The board has one core: what more threads do on it would tell nothing."""
    with pytest.raises(EdgecnnError, match="use --threads 1"):
        measure(CLASSIFIER, target=rpi4, threads=2)


def test_its_host_key_is_checked(rpi4: Emulated) -> None:
    """Who answers with another key than the image's is not spoken to."""
    config = str(rpi4.board.ssh_config)
    done = subprocess.run(
        ["ssh", "-F", config, "-o", "HostKeyAlias=another", "board", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


@pytest.mark.parametrize(
    ("device", "cpu", "ram_mb"),
    [("rpi3bplus", "cortex-a53", 1024), ("rpi4:4gb", "cortex-a72", 4096), ("rpi5", "cortex-a76", None)],
)
def test_a_board_is_as_its_device(device: str, cpu: str, ram_mb: int | None) -> None:
    """Processor and RAM are the device's; what its own system takes is not for the runtime."""
    profile = load_device(device)
    hardware = hardware_of(profile)
    ram = profile.region("ram")
    assert ram is not None
    assert (hardware.cpu, hardware.limit_bytes) == (cpu, ram.limit_bytes)
    assert ram_mb is None or hardware.ram_bytes == ram_mb * 2**20


def test_what_cannot_be_emulated_is_refused() -> None:
    """The message says what can be, and asks for a device where there is none."""
    with pytest.raises(EdgecnnError, match=r"stm32h7a3 .*cannot be emulated.*known: .*rpi4"):
        open_target("emulated:stm32h7a3")
    with pytest.raises(EdgecnnError, match="Give --target emulated:rpi4"):
        open_target("emulated")
    with pytest.raises(EdgecnnError, match="did you mean 'rpi4'"):
        open_target("emulated:rpi44")
    with pytest.raises(EdgecnnError, match="emulated:rpi4 is not rpi5"):
        measure(CLASSIFIER, device="rpi5", target="emulated:rpi4")


def test_nothing_is_fetched_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an image, opening the target says what a build would fetch, and fetches nothing."""
    try:
        check_programs()
    except EdgecnnError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_image() is None
    with pytest.raises(EdgecnnError, match=r"about \d+ MB of Debian .*\d+ MB of Python wheels.*build_board"):
        open_target("emulated:rpi4").__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--device rpi44", "did you mean 'rpi4'"),
        ("--device stm32h7a3", "cannot be emulated"),
        ("--device rpi4 --runtime onnxruntime", "onnxruntime runs .onnx"),
        ("--device rpi4 --data npz:nothing.npz", "nothing.npz"),
        ("--device rpi4 -o /dev/null", "it is a device; name a file"),
        ("--device rpi4", "nothing was fetched: add --yes to build it"),
    ],
)
def test_bench_checks_all_before_it_builds(tmp_path: Path, arguments: str, told: str) -> None:
    """Without a terminal nothing is fetched unless --yes says so, and names, files and data are checked before."""
    given = arguments.split() + ([] if told.startswith("nothing was") else ["--yes"])
    done = edgecnn("bench", str(CLASSIFIER), "--target", "emulated", *given, XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_programs_are_told_with_their_packages() -> None:
    """The line that installs what is missing names each package once."""
    wanted = {**PROGRAMS, "edgecnn-no-such-program": "no-such", "edgecnn-nor-this": "no-such"}
    with pytest.raises(EdgecnnError, match=r"edgecnn-nor-this: sudo apt-get install --no-install-recommends no-such$"):
        check_programs({name: package for name, package in wanted.items() if package == "no-such"})
