"""The action, the workflow of docs/ci.md and the Dockerfile: their steps are run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from emulated_board import board_image
from tflite_builder import Builder

from edgecnn.cli import main

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
WORKFLOWS = [
    yaml.safe_load(block)
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text(encoding="utf-8"), re.S)
]


#: The steps of the action that follow its first, which installs edgecnn.
INSTALL, *STEPS = ACTION["runs"]["steps"]

#: As the steps have it: instructions repeat, and four processes are the least that a comparison takes.
GATE = ("--device", "rpi4", "--target", "emulated", "--processes", "4", "--min-time", "0")


def write_model(path: Path, layers: int) -> None:
    """Write an int8 network of so many convolutions."""
    builder = Builder()
    x = first = builder.tensor((1, 16, 16, 8))
    for _ in range(layers):
        x = builder.conv(x, 8)
    path.write_bytes(builder.file([first], [x]))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that had pip and nothing else, as a hosted runner has it, after the first step."""
    folder = tmp_path_factory.mktemp("runner")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    assert run_step(INSTALL, folder, folder / "venv/bin", {}) == 0
    return folder / "venv/bin"


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The instructions of a network of one convolution, called model.w8a8.tflite."""
    board_image()
    folder = tmp_path_factory.mktemp("baseline")
    write_model(folder / "model.w8a8.tflite", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(["bench", "model.w8a8.tflite", *GATE, "-o", "baseline.json"])
    assert ended.value.code == 0
    return folder / "baseline.json"


def run_step(step: dict[str, Any], folder: Path, programs: Path, inputs: dict[str, str]) -> int:
    """Run a step as a runner does, in *folder*, and return its exit code; what it says is true of *inputs*."""
    condition = step.get("if")
    if condition is not None and not any(inputs[name] for name in re.findall(r"inputs\.([\w-]+) != ''", condition)):
        return 0
    given = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: inputs[match[1]], text)
        for name, text in step.get("env", {}).items()
    }
    environment = {
        **os.environ,
        **given,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def run_action(folder: Path, programs: Path, **given: str) -> int:
    """Run the steps of the action that follow the first until one fails, and return the exit code."""
    inputs = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
    inputs |= {name.replace("_", "-"): text for name, text in given.items()}
    codes = (run_step(step, folder, programs, inputs) for step in STEPS)
    return next((code for code in codes if code), 0)


@pytest.mark.slow
def test_the_action_checks_memory(programs: Path, tmp_path: Path) -> None:
    """The action passes a file that fits, fails one that does not, and writes the tables of both as Markdown."""
    write_model(tmp_path / "model.tflite", 1)
    assert run_action(tmp_path, programs, files="model.tflite", device="stm32l4r5") == 0
    assert run_action(tmp_path, programs, files="model.tflite model.tflite", ram="2KiB", flash="32KiB") == 1
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert summary.count("| memory | use | limit | left | fits |") == 3
    assert "does not fit" in summary


@pytest.mark.slow
def test_no_input_of_the_action_is_a_command(programs: Path, tmp_path: Path) -> None:
    """What an input holds is never run: a file's name with a command in it is a file that is not there."""
    assert run_action(tmp_path, programs, files="$(touch run) ;touch run", device="$(touch run)") == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_action_compares_instructions(programs: Path, baseline: Path, tmp_path: Path) -> None:
    """A network of twice the work ends with 4, and the summary says how much more it is."""
    shutil.copy(baseline, tmp_path)
    write_model(tmp_path / "model.w8a8.tflite", 2)
    assert run_action(tmp_path, programs, files="model.w8a8.tflite", baseline="baseline.json") == 4
    assert "slower: model.w8a8.tflite" in (tmp_path / "summary.md").read_text(encoding="utf-8")


@pytest.fixture
def wheel_index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes `pip install edgecnn` take the wheel of this checkout."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))


@pytest.mark.slow
@pytest.mark.usefixtures("wheel_index")
def test_the_workflow_runs(programs: Path, baseline: Path, tmp_path: Path) -> None:
    """Each step of the workflow without the action, in order, and edgecnn not installed; the same network passes."""
    subprocess.run([programs / "pip", "uninstall", "--yes", "edgecnn"], check=True, capture_output=True)
    shutil.copy(baseline, tmp_path)
    write_model(tmp_path / "model.w8a8.tflite", 1)
    (job,) = WORKFLOWS[1]["jobs"].values()
    for step in job["steps"]:
        if "run" in step:
            # apt is for root of a throw-away machine.
            text = step["run"] if os.environ.get("CI") and os.geteuid() == 0 else re.sub("apt-get .*", ":", step["run"])
            assert run_step({"run": text}, tmp_path, programs, {}) == 0, step


def test_the_workflow_gives_the_action_what_it_takes() -> None:
    """The workflow with the action names inputs that there are, and all that are required."""
    (job,) = WORKFLOWS[0]["jobs"].values()
    given = next(step["with"] for step in job["steps"] if "with" in step)
    assert set(given) <= set(ACTION["inputs"])
    assert {name for name, one in ACTION["inputs"].items() if one.get("required")} <= set(given)


def test_no_input_is_pasted_into_a_shell_line() -> None:
    """Inputs reach the steps as variables, so that none can become a command."""
    assert not [step["name"] for step in ACTION["runs"]["steps"] if "${{" in step["run"]]


def test_the_dockerfile_is_clean() -> None:
    """The linter finds nothing in the Dockerfile."""
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed")
    found = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_dockerfile_copies_what_a_wheel_needs(tmp_path: Path) -> None:
    """The files that the first stage copies, and no more, make a wheel that has the shipped devices."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stage = text.split("\nFROM ")[1]  # what is before the first is a comment
    for *sources, target in (line.split()[1:] for line in stage.splitlines() if line.startswith("COPY")):
        for source in sources:
            place = tmp_path / "src" / target / (source if target == "./" else "")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, "."]
    subprocess.run(build, cwd=tmp_path / "src", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("edgecnn-*.whl")
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True)
    assert "edgecnn/_shipped/devices/rpi4.toml" in listed.stdout
    # A study names its published figures by a path beside it, which leads to the same place in the wheel.
    assert "edgecnn/_shipped/studies/resnet101-cifar10.toml" in listed.stdout
    published = "benchmarks/tables/architecture-study/published/resnet101-cifar10.csv"
    assert f"edgecnn/_shipped/{published}" in listed.stdout


def test_the_docker_context_holds_what_is_copied() -> None:
    """Nothing that the Dockerfile copies is left out of the build's context."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in lines if line.startswith("COPY") for source in line.split()[1:-1]}
    assert copied <= allowed
