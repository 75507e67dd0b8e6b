"""Virtual boards from start to end: too small, ended in the middle, killed with edgecnn, and started by a command."""

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

import pytest
from tflite_builder import Builder

from edgecnn.benchmarks.measure import BenchmarkConfig, measure
from edgecnn.errors import EdgecnnError
from edgecnn.targets import open_target
from edgecnn.targets.board.image import Image
from edgecnn.targets.board.machine import Board, Hardware
from edgecnn.targets.emulated import Emulated

CLASSIFIER = Path(__file__).parents[1] / "data" / "classifier.tflite"
ONCE = BenchmarkConfig(processes=1)


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


def write_big(path: Path) -> Path:
    """Write a network of a small input and 144 MB of zeros around it, which take memory as soon as it runs."""
    builder = Builder("int8")
    x = builder.tensor((1, 8, 8, 4))
    path.write_bytes(builder.file([x], [builder.pad(x, 3000)]))
    return path


def test_a_device_that_is_too_small_is_a_result(image: Image, small: Path, tmp_path: Path) -> None:
    """In 80 MiB a small network runs; one that needs more is killed there, and that is what the result says."""
    big = write_big(tmp_path / "big.tflite")
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
    big = write_big(tmp_path / "big.tflite")
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
