"""What the sentences above the plots say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecnn.device import load_device
from edgecnn.fit import check_fit
from edgecnn.measurement import Accuracy
from edgecnn.report.facts import rows_of
from edgecnn.report.figures import file_figures, memory_figures
from edgecnn.report.header import page_head
from edgecnn.report.memory import told_apart
from edgecnn.report.table import files_table


@pytest.mark.parametrize(
    ("correct", "told"),
    [(525, "their 95 % intervals overlap"), (300, "not all of their 95 % intervals overlap")],
)
def test_overlap_is_all_that_is_said(correct: int, told: str, arguments: dict[str, Any]) -> None:
    """Of files that answered the same samples it is said whether intervals overlap, not what chance explains."""
    first, second = arguments["files"]
    rows = rows_of([first, replace(second, accuracy=Accuracy(correct, 539))], [])
    text = " ".join(file_figures(rows, None)).replace("\N{NO-BREAK SPACE}", " ")
    assert f"points; {told}" in text
    assert "chance" not in text
    assert "tell apart" not in text


def test_effort_is_told_in_words(arguments: dict[str, Any]) -> None:
    """The head says how many values were timed."""
    head = page_head("t", arguments["facts"], rows_of(arguments["files"], arguments["measurements"]))
    assert "timed values for each file" in head


def test_a_file_within_its_limits_is_ok(arguments: dict[str, Any]) -> None:
    """The verdict uses the word that the command line uses."""
    table = files_table(rows_of(arguments["files"][:1], []))
    assert ">ok<" in table
    assert "kept" not in table


def test_one_curve_is_drawn_once(arguments: dict[str, Any]) -> None:
    """Devices that differ in their limits alone share a plot; no two plots have the same title."""
    file = arguments["files"][0].path
    names = ("rpi4", "rpizero2w", "nrf5340", "stm32f746")
    assert len(memory_figures([check_fit(file, load_device(name)) for name in names])) == 1
    assert len(memory_figures([check_fit(file, load_device(name)) for name in names[:2]])) == 1


def test_files_of_one_name_are_told_apart(arguments: dict[str, Any], tmp_path: Path) -> None:
    """Two files with the same name in different folders get their folders' names."""
    fit = check_fit(arguments["files"][0].path, load_device("rpi4"))
    fits = [replace(fit, file=name) for name in ("demo/a.tflite", "demo/mcu/a.tflite", "demo/b.tflite")]
    assert list(told_apart(fits).values()) == ["demo/a.tflite", "mcu/a.tflite", "b.tflite"]
