"""The rows of a report: which belong together, which comes first, what each is called."""

from __future__ import annotations

from dataclasses import replace

from edgecnn.report.facts import Contents, distinct_names, rows_of, shorten


def test_a_rejected_file_comes_last(contents: Contents) -> None:
    """What was kept comes before what was rejected, however fast that is."""
    kept, rejected = contents.files[:2]
    slow = contents.measurements[0]
    quick = replace(slow, file=str(rejected.path), runs=tuple(replace(run, values_ns=(1,)) for run in slow.runs))
    assert [row.file for row in rows_of([rejected, kept], [quick, slow])] == [kept, rejected]


def test_the_fastest_comes_first(contents: Contents) -> None:
    """Of two ways to run a file the one with the lower p50 comes first."""
    slow = contents.measurements[0]
    quick = replace(slow, threads=2, runs=tuple(replace(run, values_ns=(1,)) for run in slow.runs))
    assert [row.measured for row in rows_of(contents.files[:1], [slow, quick])] == [quick, slow]


def test_labels_tell_rows_apart(contents: Contents) -> None:
    """The label is short while that is enough, and grows until no two are the same."""
    file, measured = contents.files[0], contents.measurements[0]
    assert [row.label for row in rows_of([file], [measured])] == ["fp32 TFLite"]
    assert {row.label for row in rows_of([file], [measured, replace(measured, threads=2)])} == {
        "fp32 TFLite, 1 thread",
        "fp32 TFLite, 2 threads",
    }
    labels = [row.label for row in rows_of(contents.files, contents.measurements)]
    assert len(set(labels)) == len(labels) == 4


def test_files_of_one_name_are_told_apart() -> None:
    """Two files with the same name in different folders get their folders' names."""
    names = distinct_names(["demo/a.tflite", "demo/mcu/a.tflite", "demo/b.tflite"])
    assert list(names.values()) == ["demo/a.tflite", "mcu/a.tflite", "b.tflite"]


def test_a_long_name_loses_its_middle() -> None:
    """A name of more than the characters allowed keeps its two ends."""
    assert shorten("a" * 30) == "a" * 30
    assert shorten("abcdefghij", 7) == "abc…hij"
