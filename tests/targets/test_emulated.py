"""Real ARM64 code on virtual boards: what it computes, counts and needs, and how the boards end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulated_board import board_image
from tflite_builder import Builder

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.datasets import open_dataset
from edgecnn.device import load_device
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.accuracy import evaluate, plan_for
from edgecnn.measurement import Measurement
from edgecnn.pipeline import ExportResult
from edgecnn.targets import open_target
from edgecnn.targets.board.image import PROGRAMS, Image, check_programs, find_image
from edgecnn.targets.board.machine import Board, Hardware
from edgecnn.targets.emulated import Emulated, hardware_of
from edgecnn.targets.execute import run_file

CLASSIFIER = Path(__file__).parents[1] / "data" / "classifier.tflite"
ONCE = BenchmarkConfig(processes=1)


@pytest.fixture(scope="session")
def image() -> Image:
    """The board's image."""
    return board_image()


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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device of 256 MiB, of which its system leaves 80 MiB."""
    path = tmp_path_factory.mktemp("devices") / "small.toml"
    path.write_text(
        'title = "A small board"\nkind = "linux"\narch = "aarch64"\n'
        '[[cores]]\nname = "Cortex-A53"\ncount = 1\n[[memory]]\nname = "ram"\nsize = "256MiB"\nsystem = "176MiB"\n'
        '[sources]\narch = "test"\ncores = "test"\n"memory.ram" = "test"\n"memory.ram.system" = "test"\n'
    )
    return path


def outputs(artifact: Artifact, target: Emulated | None) -> np.ndarray:
    """Return what *artifact* answers to 64 digits."""
    digits = open_dataset("digits")
    samples = digits.evaluation.take(64)
    plan = plan_for(artifact, samples, None, digits.normalization)
    packs = ([plan.prepare(batch.x)] for batch in samples)
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
    found = [
        evaluate(exported["w8a8.tflite"], digits.evaluation, of_data=digits.normalization, target=target).accuracy
        for target in (None, rpi4)
    ]
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0].top1 > 0.9


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
def test_fit_foretells_the_memory(rpi4: Emulated, exported: dict[str, Artifact], file: str) -> None:
    """What `check_fit` says of the peak is within 10 % of what the process takes on the board."""
    found = measure(exported[file], target=rpi4, effort=ONCE)
    assert found.predicted_rss_bytes == pytest.approx(found.peak_rss_bytes, rel=0.1)


def test_a_clock_that_jumps_changes_nothing(image: Image, exported: dict[str, Artifact]) -> None:
    """The board's clock set back by years while it measures is in no figure."""
    with open_target("emulated:rpi3bplus") as target:
        assert isinstance(target, Emulated)
        threading.Timer(2.0, target.board.run, ("date", "-s", "2001-01-01")).start()
        found = measure(exported["w8a8.tflite"], target=target, effort=replace(ONCE, processes=3))
        assert target.board.run("date", "+%Y").strip() == "2001"
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


def test_a_device_that_is_too_small_is_a_result(image: Image, small: Path, tmp_path: Path) -> None:
    """In 80 MiB a small network runs; one that needs more is killed there, and that is what the result says."""
    builder = Builder("int8")
    x = builder.tensor((1, 2048, 4096, 1))
    big = tmp_path / "big.tflite"
    big.write_bytes(builder.file([x], [builder.pool(x)]))
    with open_target(f"emulated:{small}") as target:
        fits = measure(CLASSIFIER, target=target, effort=ONCE)
        breaks = measure(big, target=target, effort=ONCE)
    assert fits.instructions
    assert breaks.runs == ()
    assert breaks.instructions is None
    assert breaks.peak_rss_bytes is None
    assert any("needs more memory than the 80.0 MiB" in warning for warning in breaks.warnings)


def test_a_board_that_is_larger_stands_for_the_device(
    image: Image, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over ssh too what runs is held to the device's limit by a control group, of which nothing is left there."""
    builder = Builder("int8")
    x = builder.tensor((1, 2048, 4096, 1))
    big = tmp_path / "big.tflite"
    big.write_bytes(builder.file([x], [builder.pool(x)]))
    with Board(image, Hardware("cortex-a72", 2**30)) as board:
        monkeypatch.setenv("EDGECNN_SSH_CONFIG", str(board.ssh_config))
        fits = measure(CLASSIFIER, device=str(small), target="ssh://board", effort=replace(ONCE, min_time_s=0.01))
        breaks = measure(big, device=str(small), target="ssh://board", effort=ONCE)
        assert "edgecnn-" not in board.run("ls", "/sys/fs/cgroup", "/tmp")
    assert fits.p50_ns
    assert fits.conditions["ram_free_bytes"] == 80 * 2**20
    assert breaks.runs == ()
    assert any("needs more memory than the 80.0 MiB" in warning for warning in breaks.warnings)


def test_a_board_that_ends_in_the_middle_is_told(image: Image) -> None:
    """A QEMU that is killed while a file runs there ends in one line that says so."""
    endless = BenchmarkConfig(processes=1000)
    with open_target("emulated:rpi3bplus") as target:
        assert isinstance(target, Emulated)
        threading.Timer(4.0, os.kill, (target.board.pid, signal.SIGKILL)).start()
        with pytest.raises(
            EdgecnnError, match=r"^[^\n]*emulated:rpi3bplus stopped \(QEMU was ended by signal 9, SIGKILL\)"
        ):
            measure(CLASSIFIER, target=target, effort=endless)


def test_no_board_outlives_its_with(image: Image) -> None:
    """At the end of `with` QEMU is gone, and its folder too."""
    with Board(image, Hardware("cortex-a72", 256 * 2**20)) as board:
        folder = board.ssh_config.parent
        assert board.run("uname", "-m") == "aarch64\n"
        assert is_running(board.pid)
    assert not is_running(board.pid)
    assert not folder.exists()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for ssh's socket: what a killed edgecnn leaves goes with it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_board_outlives_edgecnn(image: Image, number: signal.Signals, short_folder: Path) -> None:
    """Killed or interrupted, edgecnn takes its board with it."""
    # A shell starts what runs in its background deaf to SIGINT, and all that this starts is deaf too.
    source = (
        "import signal, time\nfrom edgecnn.targets.emulated import Emulated\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with Emulated('emulated:rpi4') as target:\n    print(target.board.pid, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(short_folder)},
    ) as owner:
        assert owner.stdout is not None
        qemu = int(owner.stdout.readline())
        assert is_running(qemu)
        owner.send_signal(number)
        owner.wait(20)
    for _ in range(100):
        if not is_running(qemu):
            return
        time.sleep(0.05)
    pytest.fail("QEMU still runs")


def is_running(pid: int) -> bool:
    """Whether the process lives: one that waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_command_shows_counts(image: Image, tmp_path: Path) -> None:
    """`edgecnn bench --device rpi4 --target emulated` gives the method, the count and no durations."""
    given = ["--device", "rpi4", "--target", "emulated", "--processes", "1", "-o", str(tmp_path / "out.json")]
    done = subprocess.run(
        [sys.executable, "-m", "edgecnn", "bench", str(CLASSIFIER), *given],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EDGECNN_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "Emulated rpi4" in done.stdout
    assert "no dot product" in done.stdout
    assert " ms" not in done.stdout
    assert " µs" not in done.stdout
    result = json.loads((tmp_path / "out.json").read_text())["results"][0]
    assert (result["method"], result["target"], result["p50_ns"]) == ("emulated", "emulated:rpi4", None)
    assert result["instructions"] > 1000


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
    bare = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "COLUMNS": "500"}
    given = arguments.split() + ([] if told.startswith("nothing was") else ["--yes"])
    call = [sys.executable, "-m", "edgecnn", "bench", str(CLASSIFIER), "--target", "emulated", *given]
    done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=bare, timeout=120)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_programs_are_told_with_their_packages() -> None:
    """The line that installs what is missing names each package once."""
    wanted = {**PROGRAMS, "edgecnn-no-such-program": "no-such", "edgecnn-nor-this": "no-such"}
    with pytest.raises(EdgecnnError, match=r"edgecnn-nor-this: sudo apt-get install --no-install-recommends no-such$"):
        check_programs({name: package for name, package in wanted.items() if package == "no-such"})
