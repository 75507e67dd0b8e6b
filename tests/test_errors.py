"""Errors a user can act on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError, LimitError, require, unknown_name


def test_unknown_name_gives_the_near_match_and_the_known_names() -> None:
    """An unknown name is answered with the nearest one and all that are known."""
    message = str(unknown_name("recipe", "bord", ["phone", "board"]))
    assert message == "unknown recipe 'bord'; did you mean 'board'? known: board, phone"


def test_unknown_name_offers_several() -> None:
    """The beginning of names offers them all; another text up to three that look like it, the nearest first."""
    boards = ["rpi4", "stm32a1", "stm32b2", "stm32c3", "stm32d4"]
    asked = str(unknown_name("device", "stm32", boards))
    assert "did you mean 'stm32a1', 'stm32b2', 'stm32c3' or 'stm32d4'?" in asked
    assert "did you mean 'stm32a1'" in str(unknown_name("device", "stm23a1", boards))


def test_many_names_are_counted_and_not_listed() -> None:
    """More than twenty known names do not flood the line; the hint says how to see them."""
    asked = str(unknown_name("network", "net7x", [f"net{number}" for number in range(80)], "(--list lists them)"))
    assert "'net7'" in asked
    assert asked.endswith("80 are known (--list lists them)")
    assert len(asked) < 120


@given(st.text(), st.lists(st.text()))
def test_unknown_name_takes_any_text(name: str, known: list[str]) -> None:
    """Whatever a user types, and with nothing known at all, there is a message that repeats it."""
    assert name in str(unknown_name("device", name, known))


def test_exit_codes() -> None:
    """Bad input ends with 2, a broken limit with 3."""
    assert EdgecnnError.exit_code == 2
    assert LimitError.exit_code == 3
    assert issubclass(LimitError, EdgecnnError)


def test_require_returns_the_module() -> None:
    """A module that is there is imported."""
    assert require("json", "onnx") is json


def test_require_names_the_extra() -> None:
    """A module that is not there is answered with the pip line that brings it."""
    with pytest.raises(EdgecnnError, match=r"pip install 'edgecnn\[mcu\]', or '\.\[mcu\]' in a checkout"):
        require("nonsense_module.part", "mcu")


def test_a_small_package_is_named_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small beside its extra is installed alone, by the name pip knows it by."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(EdgecnnError, match=r"needs scikit-learn, which is not installed: pip install scikit-learn$"):
        require("sklearn.datasets", "torch")


@pytest.mark.parametrize(
    "use",
    [
        "build('edgecnn:digits-cnn')",
        "prune",
        "to_onnx(None, 'm', (1, 8, 8))",
        "export_model('edgecnn:digits-cnn', 'out', data='digits')",
        "compress_model('edgecnn:digits-cnn', 'm.safetensors', data='digits')",
    ],
)
def test_the_api_without_torch_names_the_pip_line(use: str, tmp_path: Path) -> None:
    """Without torch every way into it raises EdgecnnError with the pip line, not a bare ModuleNotFoundError."""
    script = "import sys; sys.modules['torch'] = None\nimport edgecnn\n"
    script += f"try: edgecnn.{use}\nexcept edgecnn.EdgecnnError as error: print(error)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert "this needs torch, which is not installed: pip install 'edgecnn[torch]', or '.[torch]'" in run.stdout, run


def test_require_does_not_hide_a_broken_module(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is there and lacks one of its own is not called missing."""
    (tmp_path / "half_there.py").write_text("import nonsense_module")  # type: ignore[operator]
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nonsense_module"):
        require("half_there", "mcu")
