"""What the sentences above the plots say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.device import load_device
from edgecnn.fit import check_fit
from edgecnn.report.confusion import confused_pairs
from edgecnn.report.facts import Contents, rows_of
from edgecnn.report.figures import confusion_figures, file_figures, memory_figures
from edgecnn.report.header import page_head
from edgecnn.report.table import files_table
from edgecnn.tasks.score import share


@pytest.mark.parametrize(
    ("correct", "told"),
    [(525, "their 95 % intervals overlap"), (300, "not all of their 95 % intervals overlap")],
)
def test_overlap_is_all_that_is_said(correct: int, told: str, contents: Contents) -> None:
    """Of files that answered the same samples it is said whether intervals overlap, not what chance explains."""
    first, second = contents.files[:2]
    assert second.verification is not None
    judged = replace(second, verification=replace(second.verification, score=share("accuracy", correct, 539)))
    rows = rows_of([first, judged], [])
    text = " ".join(file_figures(rows, None)).replace("\N{NO-BREAK SPACE}", " ")
    assert f"points; {told}" in text
    assert "chance" not in text
    assert "tell apart" not in text


def test_effort_is_told_in_words(contents: Contents) -> None:
    """The head says how many values were timed."""
    head = page_head("t", contents.facts, rows_of(contents.files, contents.measurements))
    assert "timed values for each file" in head


def test_a_file_within_its_limits_is_ok(contents: Contents) -> None:
    """The verdict uses the word that the command line uses."""
    table = files_table(rows_of(contents.files[:1], []))
    assert ">ok<" in table
    assert "kept" not in table


def test_one_curve_is_drawn_once(contents: Contents) -> None:
    """Devices that differ in their limits alone share a plot; no two plots have the same title."""
    file = contents.files[0].path
    names = ("rpi4", "rpizero2w", "nrf5340", "stm32f746")
    fits, called = [check_fit(file, load_device(name)) for name in names], {str(file): "net"}
    assert len(memory_figures(fits, called)) == 1
    assert len(memory_figures(fits[:2], called)) == 1


def test_the_most_frequent_mistake_comes_first() -> None:
    """Mistakes are ordered by their number, then by their share of the class; right answers are none."""
    confusion = {(0, 0): 8, (0, 1): 2, (1, 0): 2, (1, 1): 1, (2, 0): 3, (2, 2): 90}
    assert confused_pairs(confusion) == [(2, 0, 3, 93), (1, 0, 2, 3), (0, 1, 2, 10)]


def test_few_classes_are_a_matrix_and_many_a_list(contents: Contents) -> None:
    """Up to 20 classes are drawn; of more the pairs confused most often are listed by name."""
    rows = rows_of(contents.files, contents.measurements)
    (drawn,) = confusion_figures(rows, contents.labels)
    assert "takes 8 for 1 most often: 5 of 49" in drawn
    assert "<svg" in drawn
    (listed,) = confusion_figures(rows, [f"kind {number}" for number in range(21)])
    assert "<svg" not in listed
    assert "<td>kind 8</td><td>kind 1</td>" in listed
