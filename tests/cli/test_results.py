"""What `edgecnn bench` says below its tables is said once, and what is of another kind has another table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.cli.results import group_warnings, print_results
from edgecnn.measurement import EMULATED, Measurement, Memory, Run

ONE = Measurement(
    file="out/a.w8a8.tflite",
    format="tflite",
    precision="w8a8",
    runtime="litert",
    runtime_version="1",
    device="host",
    target="local",
    threads=1,
    runs=(
        Run(import_ns=1, load_ns=2, first_ns=3, warmup=4, loops=20, values_ns=(5,) * 100, memory=Memory(), finite=True),
    ),
    size_bytes=10,
    warnings=("other programs kept 0.5 cores busy meanwhile; close them", "only 78 values, too few for a p99"),
)


def test_a_cause_is_told_once_with_all_it_befell() -> None:
    """Nine results with the same causes give a line a cause; the figures are those of the first result."""
    busy = "other programs kept 1.5 cores busy meanwhile; close them"
    others = [replace(ONE, file=f"out/{name}.onnx", warnings=(busy,)) for name in "bcdefghi"]
    told = group_warnings([ONE, *others])
    assert len(told) == 2
    assert told[0].startswith("all 9 results: other programs kept 0.5 cores busy")
    assert told[0].endswith("(the figures of a.w8a8.tflite)")
    assert told[1] == "a.w8a8.tflite: only 78 values, too few for a p99"


def test_other_units_are_the_same_cause() -> None:
    """Figures in other units do not make another cause; other words do."""
    told = ["medians reach from 5 µs to 1.2 ms; more", "medians reach from 900 ns to 3 s; more", "medians differ"]
    assert len(group_warnings([replace(ONE, file=text, warnings=(text,)) for text in told])) == 2


def test_results_are_told_apart() -> None:
    """Threads and runtimes are named where they differ, folders where the names of two files are the same."""
    two = replace(ONE, threads=2, warnings=("hot",))
    assert group_warnings([replace(ONE, warnings=()), two]) == ["a.w8a8.tflite, 2 threads: hot"]
    twin = replace(ONE, file="other/a.w8a8.tflite", warnings=("hot",))
    assert group_warnings([replace(ONE, warnings=()), twin]) == ["other/a.w8a8.tflite: hot"]
    elsewhere = replace(ONE, runtime="other", warnings=("hot",))
    assert group_warnings([replace(ONE, warnings=()), elsewhere]) == ["a.w8a8.tflite, other: hot"]


def test_counts_and_latencies_share_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Emulated results have a table of their own, without durations; where devices differ the files name theirs."""
    run = Run(
        import_ns=None,
        load_ns=None,
        first_ns=None,
        warmup=0,
        loops=1,
        values_ns=(),
        memory=Memory(1, 2, 3, 4),
        finite=True,
        instructions=203_075,
    )
    board = replace(ONE, device="rpi4", method=EMULATED, runs=(run,), conditions={"features": ["neon"]}, warnings=())
    print_results([ONE, replace(ONE, device="my-pi"), board])
    measured, _, counted = capsys.readouterr().out.partition("Emulated rpi4")
    assert "a.w8a8.tflite on my-pi" in measured
    assert "instructions" not in measured
    assert "203,075" in counted
    assert "there is no dot product of int8" in counted
    assert "p50" not in counted


def test_what_did_not_fit_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """A file for which the emulated board is too small needs more than that; a latency not taken is the slowest."""
    small = {"ram_free_bytes": 80 * 2**20}
    outgrown = replace(ONE, device="rpi4", method=EMULATED, runs=(), conditions=small, warnings=("it needs more",))
    print_results([outgrown, replace(ONE, file="over.tflite", runs=()), ONE])
    out, err = capsys.readouterr()
    assert out.index("a.w8a8.tflite") < out.index("over.tflite")
    assert "over 80.0 MiB" in out
    assert "it needs more" in err
