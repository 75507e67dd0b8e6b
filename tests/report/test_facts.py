"""The rows of a report: which belong together, which comes first, what each is called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgecnn.report.facts import rows_of, shorten


def test_a_rejected_file_comes_last(arguments: dict[str, Any]) -> None:
    """What was kept comes before what was rejected, however fast that is."""
    kept, rejected = arguments["files"]
    slow = arguments["measurements"][0]
    quick = replace(slow, file=str(rejected.path), runs=tuple(replace(run, values_ns=(1,)) for run in slow.runs))
    assert [row.file for row in rows_of([rejected, kept], [quick, slow])] == [kept, rejected]


def test_the_fastest_comes_first(arguments: dict[str, Any]) -> None:
    """Of two ways to run a file the one with the lower p50 comes first."""
    slow = arguments["measurements"][0]
    quick = replace(slow, threads=2, runs=tuple(replace(run, values_ns=(1,)) for run in slow.runs))
    assert [row.measured for row in rows_of(arguments["files"][:1], [slow, quick])] == [quick, slow]


def test_labels_tell_rows_apart(arguments: dict[str, Any]) -> None:
    """The label is short while that is enough, and grows until no two are the same."""
    file, measured = arguments["files"][0], arguments["measurements"][0]
    assert [row.label for row in rows_of([file], [measured])] == ["fp32 TFLite"]
    assert {row.label for row in rows_of([file], [measured, replace(measured, threads=2)])} == {
        "fp32 TFLite, 1 thread",
        "fp32 TFLite, 2 threads",
    }
    labels = [row.label for row in rows_of(arguments["files"], arguments["measurements"])]
    assert len(set(labels)) == len(labels) == 3


def test_a_long_name_loses_its_middle() -> None:
    """A name of more than the characters allowed keeps its two ends."""
    assert shorten("a" * 30) == "a" * 30
    assert shorten("abcdefghij", 7) == "abc…hij"
