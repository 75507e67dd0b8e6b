"""`edgecnn bench` on a board behind a real ssh server, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_server import SshServer

MODEL = Path(__file__).parents[1] / "data/classifier.tflite"
QUICK = ("--processes", "1", "--min-time", "0")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A server."""
    made = SshServer(tmp_path_factory.mktemp("sshd"))
    yield made
    made.close()


@pytest.fixture
def home(server: SshServer, tmp_path: Path) -> dict[str, str]:
    """An environment in which this machine is known as `my-board`, with no target tied to it yet."""
    env = {**server.environment, "EDGECNN_HOME": str(tmp_path / "home")}
    profile = edgecnn("devices", "probe", server.name, env=env)
    assert profile.returncode == 0, profile.stderr
    file = tmp_path / "my-board.toml"
    file.write_text(profile.stdout, encoding="utf-8")
    added = edgecnn("devices", "add", str(file), env=env)
    assert added.returncode == 0, added.stderr
    return env


def edgecnn(*arguments: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command line, without a terminal to ask on."""
    program = [sys.executable, "-m", "edgecnn", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)


def test_measured_there_with_the_accuracy_there(server: SshServer, home: dict[str, str]) -> None:
    """The result names device and target, is measured, has the board's conditions and the accuracy taken on it."""
    done = edgecnn(
        *("bench", MODEL, "--device", "my-board", "--target", server.name, *QUICK, "--data", "digits", "--json"),
        env=home,
    )
    assert done.returncode == 0, done.stderr
    (there,) = json.loads(done.stdout)["results"]
    assert (there["device"], there["target"], there["method"]) == ("my-board", server.name, "measured")
    assert there["p50_ns"] > 0
    assert there["peak_rss_bytes"] > 0
    assert there["conditions"]["machine"] == os.uname().machine
    (here,) = json.loads(edgecnn("bench", MODEL, *QUICK, "--data", "digits", "--json", env=home).stdout)["results"]
    assert there["accuracy"] == here["accuracy"]
    assert server.left() == []


def test_a_tied_target_is_enough(server: SshServer, home: dict[str, str]) -> None:
    """With a line in targets.toml, `--device` alone measures there; a broken file is told of."""
    targets = Path(home["EDGECNN_HOME"]) / "targets.toml"
    targets.write_text(f'[targets]\nmy-board = "{server.name}"\n')
    done = edgecnn("bench", MODEL, "--device", "my-board", *QUICK, "--json", env=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["target"] == server.name
    targets.write_text('my-board = "ssh://x"\n')
    done = edgecnn("bench", MODEL, "--device", "my-board", *QUICK, env=home)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "targets.toml: it must have one table [targets]" in done.stderr


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ((), "Which device is ssh://"),
        (("--device", "stm32h7a3"), "stm32h7a3 is cortex-m7 but ssh://"),
    ],
)
def test_figures_are_not_given_to_another_device(
    server: SshServer, home: dict[str, str], device: tuple[str, ...], told: str
) -> None:
    """A target needs the name of its device, and the device's architecture."""
    done = edgecnn("bench", MODEL, *device, "--target", server.name, *QUICK, env=home)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


def test_ctrl_c_leaves_nothing_there(server: SshServer, home: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C keeps what was measured, ends with 130, and neither file nor program of ours stays on the board."""
    output = tmp_path / "results.json"
    arguments = ("bench", MODEL, "--device", "my-board", "--target", server.name, "--threads", "1,2", "-o", output)
    program = [sys.executable, "-m", "edgecnn", *map(str, arguments), "--processes", "1", "--min-time", "2"]
    running = subprocess.Popen(
        program, env=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if output.exists() and server.running(".pyz"):
            break
        time.sleep(0.05)
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130, errors
    assert errors.count("interrupted") == 1
    assert len(json.loads(output.read_text())["results"]) == 1
    assert server.left() == []


def test_a_kill_leaves_nothing_there(server: SshServer, home: dict[str, str]) -> None:
    """Even where edgecnn itself is killed, the board is left as it was."""
    arguments = ("bench", MODEL, "--device", "my-board", "--target", server.name, "--min-time", "60")
    program = [sys.executable, "-m", "edgecnn", *map(str, arguments)]
    # What a killed program leaves here goes with this folder.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as here:
        running = subprocess.Popen(
            program, env={**home, "TMPDIR": here}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        for _ in range(600):
            if server.running(".pyz"):
                break
            time.sleep(0.05)
        time.sleep(1.5)  # it measures by then
        running.kill()
        running.wait()
        assert server.left() == []


def test_a_cut_connection_keeps_what_was_measured(server: SshServer, home: dict[str, str], tmp_path: Path) -> None:
    """A connection cut in the second measurement ends in one line and exit code 2; the first is in the file."""
    output = tmp_path / "results.json"
    arguments = ("bench", MODEL, "--device", "my-board", "--target", server.name, "--threads", "1,2", "-o", output)
    program = [sys.executable, "-m", "edgecnn", *map(str, arguments), "--processes", "1", "--min-time", "2"]
    running = subprocess.Popen(
        program, env=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if output.exists() and server.running(".pyz"):
            break
        time.sleep(0.05)
    server.cut()
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 2
    assert "was lost" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert len(json.loads(output.read_text())["results"]) == 1
    assert server.left() == []


def test_profiled_there(server: SshServer, home: dict[str, str]) -> None:
    """The operators of a file are told by the profiler of the board's runtime, the whole call beside them."""
    done = edgecnn(
        *("bench", MODEL, "--profile", "--device", "my-board", "--target", server.name, "--min-time", "0.1", "--json"),
        env=home,
    )
    assert done.returncode == 0, done.stderr
    (profile,) = json.loads(done.stdout)["profiles"]
    assert (profile["device"], profile["target"], profile["method"]) == ("my-board", server.name, "measured")
    assert profile["operators"][0]["macs"] > 0 < profile["whole_ns"]
