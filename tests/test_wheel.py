"""What a user installs: the wheel, in a clean environment, with the light core alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "../shared/models/mlperf-tiny-ic-int8.tflite"


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command outside the checkout, so that nothing of it is imported by accident."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a clean environment that has the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("clean")
    made = run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    assert made.returncode == 0, made.stderr
    programs = folder / "venv/bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    done = run(*pip, "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, folder=folder)
    if done.returncode != 0 and os.environ.get("CI") != "true":
        pytest.skip(f"pip could not install the dependencies: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return programs


@pytest.fixture(scope="module")
def complete(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment whose edgecnn is the wheel; it borrows all other packages of this one."""
    folder = tmp_path_factory.mktemp("complete")
    made = run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    assert made.returncode == 0, made.stderr
    python = folder / "venv/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    done = run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, folder=folder)
    assert done.returncode == 0, done.stderr
    own, *_ = (folder / "venv").glob("lib/python*/site-packages")
    # Searched after the environment's own folder; the lines of a checkout's .pth files are not followed from here.
    others = [place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")]
    (own / "borrowed.pth").write_text("\n".join(others) + "\n")
    return python


def test_the_first_hour_runs_from_the_wheel(complete: Path, tmp_path: Path) -> None:
    """Who installs the wheel goes through docs/first-hour.md in an empty folder, with nothing of the checkout."""
    where = run(complete, "-c", "import edgecnn, sys; print(edgecnn.__file__, *sys.path, sep='\\n')", folder=tmp_path)
    file, *places = where.stdout.splitlines()
    assert Path(file).is_relative_to(complete.parents[1])
    assert str(ROOT) not in places
    assert run(complete.with_name("edgecnn"), "--version", folder=tmp_path).stdout.startswith("edgecnn, version")
    folder = tmp_path / "first"
    folder.mkdir()
    program = shutil.copy(ROOT / "tests/run_page.py", tmp_path)  # outside: Python looks in a program's own folder
    done = run(complete, program, ROOT / "docs/first-hour.md", folder=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "report.html").is_file()
    assert {path.name for path in (folder / "firmware").glob("*.h")} == {"mynet.w8a8.tflite.h", "small.w8a8.tflite.h"}


def test_the_core_is_light(installed: Path, tmp_path: Path) -> None:
    """`pip install edgecnn` brings neither torch nor a runtime, and little else."""
    listed = run(
        sys.executable, "-m", "pip", "--python", installed / "python", "list", "--format=json", folder=tmp_path
    )
    names = {entry["name"].lower().replace("_", "-") for entry in json.loads(listed.stdout)}
    assert names <= {"edgecnn", "click", "numpy", "rich", "safetensors", "markdown-it-py", "mdurl", "pygments"}


def test_devices_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The installed program knows every device of the checkout."""
    listed = run(installed / "edgecnn", "devices", "--json", folder=tmp_path)
    assert listed.returncode == 0, listed.stderr
    names = {profile["name"] for profile in json.loads(listed.stdout)}
    assert names == {"host", *(path.stem for path in (ROOT / "devices").glob("*.toml"))}


def test_suites_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The installed program finds the shipped suites by name, and asks for the files they leave to the user."""
    asked = run(installed / "edgecnn", "bench", "--suite", "quick", folder=tmp_path)
    assert asked.returncode == 2
    assert "no files to measure" in asked.stderr


def test_it_is_typed(installed: Path, tmp_path: Path) -> None:
    """The marker that tells type checkers of our annotations is in the wheel, and so is the licence."""
    ask = "import edgecnn, pathlib; print(pathlib.Path(edgecnn.__file__).with_name('py.typed').is_file())"
    assert run(installed / "python", "-c", ask, folder=tmp_path).stdout == "True\n"
    assert list(installed.parent.rglob("edgecnn-*.dist-info/licenses/LICENSE"))


@pytest.mark.skipif(not MODEL.is_file(), reason=f"no model at {MODEL}")
def test_fit_works_without_torch(installed: Path, tmp_path: Path) -> None:
    """The installed program checks whether a file fits a microcontroller, with the light core alone."""
    checked = run(installed / "edgecnn", "fit", MODEL.resolve(), "--device", "stm32h7a3", "--json", folder=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["fits"] is True


def test_a_missing_extra_is_told(installed: Path, tmp_path: Path) -> None:
    """What needs more than the core says on one line which extra brings it, and ends with 2."""
    asked = run(installed / "edgecnn", "export", "edgecnn:resnet20", "--data", "digits", "-o", "out", folder=tmp_path)
    assert asked.returncode == 2
    assert "pip install 'edgecnn[torch]'" in asked.stderr
    assert asked.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
