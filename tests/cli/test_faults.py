"""What goes wrong around a command ends in one line, and leaves what was there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked import edgecnn

from edgecnn.cli.interruption import check_interruption, interruptible, interruption_code
from edgecnn.cli.shared import parse_input_shape
from edgecnn.errors import EdgecnnError
from tests.messages import messages

MODEL = Path(__file__).parents[1] / "data/classifier.tflite"
QUICK = "--processes 1 --min-time 0"


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `edgecnn` is the command line; a pipe fails where any part of it does."""
    prelude = 'set -o pipefail; edgecnn() { "$PYTHON" -m edgecnn "$@"; }; '
    return subprocess.run(
        ["bash", "-c", prelude + line],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )


@pytest.mark.parametrize("line", ["edgecnn devices >&-", "edgecnn devices <&- | true", "edgecnn devices --json | true"])
def test_nobody_reads_is_no_failure(tmp_path: Path, line: str) -> None:
    """A closed standard output, or a reader that went away, is not told as an error."""
    done = shell(line, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_errors_never_go_to_standard_output(tmp_path: Path) -> None:
    """Where standard error is closed, the line is lost and not mixed with the result."""
    done = shell("edgecnn devices nothing 2>&-", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_full_standard_output_is_one_line(tmp_path: Path) -> None:
    """A result that cannot be written anywhere is an error."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell("edgecnn devices > /dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("edgecnn: no space left")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [("devices", 0), ("devices nothing", 2), ("fit $MODEL --ram 1KiB", 1)])
def test_a_full_standard_error_changes_no_exit_code(tmp_path: Path, arguments: str, code: int) -> None:
    """Words that cannot be written are lost; what the command says by its exit code is not."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell(f"edgecnn {arguments} 2>/dev/full", tmp_path, MODEL=str(MODEL))
    assert done.returncode == code


@pytest.mark.parametrize(
    "line",
    ["edgecnn --help", "edgecnn completion bash", "COMP_WORDS='edgecnn de' _EDGECNN_COMPLETE=bash_complete edgecnn"],
)
def test_a_closed_pipe_is_no_traceback(tmp_path: Path, line: str) -> None:
    """Nor does anything else that prints complain where its reader went away."""
    done = shell(f"{line} | true", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_one_document_goes_to_standard_output(tmp_path: Path, name: str) -> None:
    """`bench -o -` prints the JSON alone, and a file that standard output leads to is written, not replaced."""
    done = shell(f"edgecnn bench {MODEL} {QUICK} -o {name} > result.json", tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "result.json").read_text())["results"]) == 1
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"edgecnn bench {MODEL} {QUICK} -o /dev/null", "/dev/null': it is a device; name a file"),
        (f"edgecnn bench {MODEL} {QUICK} -o pipe", "pipe': it is a pipe; name a file"),
        (f"edgecnn bench {MODEL} {QUICK} -o {'x' * 256}", "names may have 255 bytes here"),
        ("edgecnn export edgecnn:digits-cnn --data digits -o -", "several files are written, but standard output"),
        ("edgecnn export edgecnn:digits-cnn --data digits -o out", "digits-cnn.w8a8.tflite': it is a folder"),
        (f"edgecnn export edgecnn:digits-cnn --data digits --name {'x' * 245}", "names may have 255"),
        ("edgecnn demo -o /dev/stdout", "several files are written, but standard output"),
        ("edgecnn sensitivity edgecnn:digits-cnn --data digits -o out", "sensitivity.svg': it is a folder"),
        (f"edgecnn compress edgecnn:digits-cnn --data digits -o {'x' * 240}.safetensors", "have 255"),
        ("edgecnn compress edgecnn:digits-cnn --data digits -o m.safetensors", "m.plan.toml': it is a folder"),
        ("edgecnn compress edgecnn:digits-cnn --data digits -o taken.safetensors", "there is one that holds 'mine'"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(tmp_path: Path, line: str, told: str) -> None:
    """Devices, pipes, folders in a file's place and names that are too long end in one line; all stays as it was."""
    for folder in ("out/digits-cnn.w8a8.tflite", "out/sensitivity.svg", "m.plan.toml", "taken.safetensors.run/mine"):
        (tmp_path / folder).mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe")
    before = sorted(map(str, tmp_path.rglob("*")))
    done = edgecnn(*line.split()[1:], cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert sorted(map(str, tmp_path.rglob("*"))) == before


@pytest.mark.parametrize("name", ["[red]x:smile:.tflite", "a\nb.tflite", "ü漢 x.tflite"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_odd_names_go_through(tmp_path: Path, name: str, encoding: str) -> None:
    """Names with brackets, line ends or letters that the terminal lacks neither fail nor break a warning's line."""
    shutil.copy(MODEL, tmp_path / name)
    done = shell(f'edgecnn bench "$NAME" {QUICK}', tmp_path, NAME=name, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("edgecnn: warning: ") for line in messages(done.stderr))
    if name.isascii() and name.isprintable():
        assert name in done.stdout


def test_a_name_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    """`fit` reads such a file; the runtimes cannot open it, which is one line."""
    odd = os.fsencode(tmp_path) + b"/b\xff.tflite"
    try:
        shutil.copy(os.fsencode(MODEL), odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    name = "$'b\\xff.tflite'"
    assert shell(f"edgecnn fit {name} --device rpi4", tmp_path).returncode == 0
    done = shell(f"edgecnn bench {name} {QUICK}", tmp_path)
    assert done.returncode == 2
    (line,) = messages(done.stderr)
    assert "rename it" in line


@pytest.mark.parametrize(
    "line",
    [
        f"edgecnn bench {MODEL} {QUICK} -o folder",
        f"edgecnn bench {MODEL} {QUICK} -o file/results.json",
        "edgecnn compress edgecnn:digits-cnn --data digits --epochs 9999 -o file/m.safetensors",
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_the_work(tmp_path: Path, line: str) -> None:
    """A folder in place of a file, or a file in place of a folder, does not cost the user the measurement."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    done = edgecnn(*line.split()[1:], cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("edgecnn: cannot write ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_kill_leaves_the_old_file_and_what_resume_goes_on_with(tmp_path: Path) -> None:
    """SIGTERM in the middle of a training ends with 143 and one line, the old checkpoint as it was."""
    old, run = tmp_path / "m.safetensors", tmp_path / "m.safetensors.run"
    old.write_bytes(b"old")
    command = ["compress", "edgecnn:digits-cnn", "--data", "digits", "--epochs", "9999", "-o", str(old)]
    process = subprocess.Popen([sys.executable, "-m", "edgecnn", *command], stderr=subprocess.PIPE, text=True)
    while not list(run.glob("*.safetensors")) and process.poll() is None:
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    (line,) = messages(errors)
    assert line.startswith("edgecnn: interrupted")
    assert old.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == [old.name, run.name]
    assert not [name for name in os.listdir(run) if "partial" in name]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the handlers of signals back, and forget those that came."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    with interruptible():
        pass  # as the next command begins
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_swallowed_signal_ends_the_command_all_the_same(number: int, code: int) -> None:
    """A library that swallows the interrupt, or makes another exception of it, does not keep us running."""

    def work() -> None:
        with interruptible():
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(number)
            with pytest.raises(KeyboardInterrupt):
                check_interruption()
            raise ValueError("what the library made of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert interruption_code() == code


def test_json_is_alone_on_standard_output(tmp_path: Path) -> None:
    """What the user's own code prints goes to standard error."""
    network = "torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))"
    code = f"import torch\nprint('hello')\ndef net():\n    print('building')\n    return {network}\n"
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "one.toml").write_text('title = "one"\nfiles = { onnx = ["fp32"] }\n')
    done = edgecnn("export", "mine:net", "--data", "digits", "--recipe", "./one.toml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["files"]) == 1
    assert "hello" in done.stderr
    assert "building" in done.stderr


@pytest.mark.parametrize("text", ["1x1x²x8", "1x0x8x8", "1x1x-8x8", "1x99999999x1x1", "1x9999x9999x9999", "1", ""])
def test_an_input_shape_that_makes_no_sense_is_refused(text: str) -> None:
    """Shapes that are none, or larger than any image, are told, not tried."""
    with pytest.raises(EdgecnnError, match="--input"):
        parse_input_shape(text)
