"""What `edgecnn doctor` says is so."""

from __future__ import annotations

import json
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from edgecnn import check_installation, doctor
from edgecnn.cli import main


def test_installed_packages_have_their_versions() -> None:
    """Each package of an extra that is installed is told with the version that Python finds."""
    extras = {extra.name: extra for extra in check_installation().extras}
    assert set(extras) == set(doctor.PURPOSES)
    known = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert set(extras) == set(known) - {"dev", "all"}
    versions = {package.name: package.version for package in extras["onnx"].packages}
    assert versions == {name: metadata.version(name) for name in ("onnx", "onnxruntime", "pillow")}


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra of which a package is missing, or too old, says so, and what to type."""
    found = {"onnx": "1.16.9", "onnxruntime": None, "pillow": "12.0"}
    monkeypatch.setattr(doctor, "_version", lambda name: found.get(name))
    onnx = next(extra for extra in check_installation().extras if extra.name == "onnx")
    assert {package.name for package in onnx.missing} == {"onnx", "onnxruntime"}
    assert onnx.install_line == "pip install 'edgecnn[onnx]'"


@pytest.mark.parametrize(
    ("version", "minimum", "usable"),
    [("2.14.1+cpu", "2.14", True), ("2.9", "2.14", False), ("0.dev2026", "", True), ("3", "2.14", True)],
)
def test_versions_are_compared_as_numbers(version: str, minimum: str, usable: bool) -> None:
    """2.9 is older than 2.14, whatever the alphabet says."""
    assert doctor.Package("torch", minimum, version).usable is usable


def test_boards_that_do_not_answer_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every board of `targets.toml` is asked; what is wrong with one does not hide the others."""
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path))
    (tmp_path / "targets.toml").write_text('[targets]\ndesk = "local"\nmy-pi = "telnet://pi"\n')
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])
    assert ended.value.code == 0
    desk, pi = json.loads(capsys.readouterr().out)["boards"]
    assert (desk["device"], desk["problem"]) == ("desk", None)
    assert desk["machine"]
    assert "telnet" in pi["problem"]


def test_it_says_where_things_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table names the interpreter, and the folders that the environment sets."""
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path))
    monkeypatch.setenv("EDGECNN_DATA", str(tmp_path / "data"))
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--no-boards"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert sys.executable in shown
    assert str(tmp_path / "data") in shown
    assert str(tmp_path / "history.sqlite") in shown
