"""What the README shows is run as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which the commands were run, one after the other."""
    path = tmp_path_factory.mktemp("readme")
    for line in "".join(blocks("sh")).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "edgecnn"
        command = [sys.executable, "-m", "edgecnn", *arguments]
        run = subprocess.run(command, cwd=path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{line}: {run.stderr}"
        assert run.stdout
    return path


def test_the_commands_leave_the_files_they_promise(folder: Path) -> None:
    """The commands of the README run in order and leave the board recipe's files."""
    names = {path.name for path in (folder / "out").iterdir() if path.suffix in (".onnx", ".tflite")}
    assert names == {f"small.{precision}.{kind}" for precision in ("fp32", "w8a8") for kind in ("onnx", "tflite")}


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_python_runs(folder: Path, number: int) -> None:
    """Each Python block of the README runs beside the files of the commands, and prints something."""
    run = subprocess.run(
        [sys.executable, "-c", blocks("python")[number]], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout
