"""What a fresh machine meets first: the pins, the make targets, the checks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8").split("\n")


def canonical(requirement: str) -> str:
    """Return the name of a requirement as pip compares names."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_every_direct_dependency_is_pinned() -> None:
    """What pyproject asks for, extras and all, has its exact version in constraints.txt."""
    wanted = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    pinned = {canonical(line) for line in PINS if "==" in line}
    assert {canonical(requirement) for requirement in wanted} - {"edgecnn"} == pinned


def test_constraints_are_pins_alone() -> None:
    """constraints.txt says versions and no place that they come from."""
    assert [line for line in PINS if line and not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)] == []


def test_the_board_install_is_light() -> None:
    """The core and the extra for boards name nothing that brings torch or scipy; folders of images are read."""
    light = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["litert"]]
    assert {canonical(requirement) for requirement in light} == {
        "click",
        "numpy",
        "rich",
        "safetensors",
        "ai-edge-litert",
        "pillow",
    }


def test_the_checks_can_be_run() -> None:
    """`.ci/run` is executable and is bash that parses."""
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with the Makefile and what its set-up depends on."""
    if shutil.which("make") is None:
        pytest.skip("no make here")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, not as from the make that may have started these tests."""
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, env=outside)


def test_make_tells_its_targets(fresh: Path) -> None:
    """`make` alone lists the targets and changes nothing."""
    told = make(fresh)
    assert told.returncode == 0
    listed = re.findall(r"make (\w+) ", told.stdout)
    assert set(listed) >= {"setup", "demo", "test", "lint", "types", "clean"}
    assert not (fresh / ".venv").exists()


def test_make_without_python_says_so(fresh: Path) -> None:
    """Where no Python is new enough, the set-up ends with a line that says what is needed."""
    failed = make(fresh, "setup", "PYTHON=")
    assert failed.returncode != 0
    assert "edgecnn needs Python 3.11 or newer" in failed.stderr


def test_an_interrupted_setup_is_done_again(fresh: Path) -> None:
    """A set-up that did not come to its end runs again; one that did does not, until the pins change."""
    (fresh / ".venv").mkdir()
    assert "pip install" in make(fresh, "-n", "setup").stdout
    (fresh / ".venv/.installed").touch()
    assert "pip install" not in make(fresh, "-n", "setup").stdout
    future = (fresh / ".venv/.installed").stat().st_mtime + 10
    os.utime(fresh / "constraints.txt", (future, future))
    assert "pip install" in make(fresh, "-n", "setup").stdout
