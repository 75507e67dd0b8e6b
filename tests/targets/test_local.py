"""This machine as a target, and programs that end badly."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.targets import Process, open_target


def start(tmp_path: Path, source: str) -> Process:
    """Run Python *source* as a process."""
    return Process([sys.executable, "-c", source], tmp_path)


def test_nothing_is_copied(tmp_path: Path) -> None:
    """A pushed file is used where it lies, under its absolute path."""
    file = tmp_path / "model.tflite"
    file.write_bytes(b"x")
    with open_target("local") as target:
        assert target.push(file) == str(file.resolve())


def test_a_program_runs_in_a_folder_that_vanishes(tmp_path: Path) -> None:
    """What a program leaves in its working folder is gone when the target is closed."""
    program = tmp_path / "program.py"
    program.write_text("import os; open('left', 'w').close(); print(os.getcwd(), flush=True)")
    with open_target() as target, target.run(str(program)) as process:
        folder = Path(process.stdout.readline().decode().strip())
        assert process.ending() == "exit code 0"
        assert (folder / "left").is_file()
        assert folder != Path.cwd()
    assert not folder.exists()


def test_an_unknown_target_is_refused() -> None:
    """The message names the known kinds of targets."""
    with pytest.raises(EdgecnnError, match=r"unknown target 'tcp'.*local"):
        open_target("tcp://board")
    with pytest.raises(EdgecnnError, match="unknown target 'local:x'"):
        open_target("local:x")


@pytest.mark.parametrize(
    ("source", "ending"),
    [
        ("import os; os.kill(os.getpid(), 11)", "signal 11, SIGSEGV"),
        ("import sys; sys.exit(139)", "signal 11, SIGSEGV"),
        ("import sys; sys.exit('no numpy here')", "exit code 1: no numpy here"),
        ("pass", "exit code 0"),
        ("import sys; sys.exit(255)", "exit code 255"),
    ],
)
def test_an_ending_is_told_in_words(tmp_path: Path, source: str, ending: str) -> None:
    """A signal has its name, also where a shell made it an exit code; an exit code comes with the last line."""
    with start(tmp_path, source) as process:
        assert process.ending() == ending


def test_a_program_that_stays_is_stopped(tmp_path: Path) -> None:
    """Waiting for the end has an end."""
    with start(tmp_path, "import time; time.sleep(60)") as process:
        assert process.ending(patience_s=0.2) == "it did not end by itself"


def test_children_end_with_their_program(tmp_path: Path) -> None:
    """What a program has started is killed with it."""
    source = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    with start(tmp_path, source) as process:
        child = int(process.stdout.readline())
    stat = Path(f"/proc/{child}/stat")
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc here")
    for _ in range(100):
        ended = not stat.exists() or stat.read_text().split()[2] == "Z"
        if ended:
            break
        time.sleep(0.05)
    assert ended, "the child still runs"


@pytest.mark.parametrize("name", ["pi@board", "shh://pi@board"])
def test_a_login_is_taken_for_an_ssh_target(name: str) -> None:
    """`user@host` without its scheme, or with a wrong one, is told with the right form."""
    with pytest.raises(EdgecnnError, match=rf"unknown target '{name}'; did you mean ssh://pi@board\?"):
        open_target(name)
