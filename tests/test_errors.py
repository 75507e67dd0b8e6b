"""Errors a user can act on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError, LimitError, require, unknown_name


def test_unknown_name_gives_the_near_match_and_the_known_names() -> None:
    """An unknown name is answered with the nearest one and all that are known."""
    message = str(unknown_name("recipe", "bord", ["phone", "board"]))
    assert message == "unknown recipe 'bord'; did you mean 'board'? known: board, phone"


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
    with pytest.raises(EdgecnnError, match=r"pip install 'edgecnn\[mcu\]'"):
        require("nonsense_module.part", "mcu")


def test_require_does_not_hide_a_broken_module(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is there and lacks one of its own is not called missing."""
    (tmp_path / "half_there.py").write_text("import nonsense_module")  # type: ignore[operator]
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nonsense_module"):
        require("half_there", "mcu")
