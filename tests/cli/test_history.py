"""Suites, comparisons and the history as a user types them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import called
import pytest

from edgecnn.benchmarks.changes import COMPARED_PROCESSES

MODEL = Path(__file__).parents[1] / "data/classifier.tflite"

#: Four processes, the least that can tell anything, each as short as it gets.
SUITE = """
title = "of a test"
files = ["*.tflite"]
data = "digits"

[effort]
processes = 4
warmup_s = 0.01
min_time_s = 0.01
min_values = 10
"""


def edgecnn(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `edgecnn` in *folder*, with a history there."""
    return called.edgecnn(*map(str, arguments), cwd=folder, EDGECNN_HOME=str(folder / "home"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a suite of one file was measured once, with `-o before.json`."""
    path = tmp_path_factory.mktemp("habit")
    shutil.copy(MODEL, path / "m.tflite")
    (path / "more").mkdir()
    shutil.copy(MODEL, path / "more/other.tflite")
    (path / "mine.toml").write_text(SUITE)
    done = edgecnn(path, "bench", "--suite", "mine.toml", "-o", "before.json")
    assert done.returncode == 0, done.stderr
    assert "m.tflite" in done.stdout
    return path


def before(folder: Path, name: str, factor: float = 1.0, **conditions: Any) -> Path:
    """Write the earlier result as if every call had taken *factor* times as long, under other *conditions*."""
    document = json.loads((folder / "before.json").read_text())
    for result in document["results"]:
        result["values_ns"] = [max(1, round(value * factor)) for value in result["values_ns"]]
        result["conditions"].update(conditions)
    (folder / name).write_text(json.dumps(document))
    return folder / name


def test_a_suite_is_measured_as_it_says(folder: Path) -> None:
    """The suite's files, data and processes are taken, and the result is written."""
    (result,) = json.loads((folder / "before.json").read_text())["results"]
    assert len(result["runs"]) == 4
    assert result["accuracy"]["n"] > 0


def test_a_regression_ends_with_four(folder: Path) -> None:
    """A file a hundred times as slow as earlier is said to be slower, with ratio and interval; exit code 4."""
    done = edgecnn(
        folder, "bench", "--suite", "mine.toml", "--processes", "4", "--against", before(folder, "fast.json", 0.01)
    )
    assert done.returncode == 4, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("slower: ")]
    assert "m.tflite, litert, 1 thread" in line
    assert "(95 %: " in line


def test_an_improvement_is_no_failure(folder: Path) -> None:
    """A file a hundred times as fast is said to be faster, in JSON too; without --processes nine are taken."""
    arguments = ("--suite", "mine.toml", "--json", "--against", before(folder, "slow.json", 100), "-o", "after.json")
    done = edgecnn(folder, "bench", *arguments)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (change,) = document["changes"]
    assert change["verdict"] == "faster"
    assert change["low"] <= change["ratio"] <= change["high"] < 0.5
    assert len(document["results"][0]["runs"]) == 9
    assert json.loads((folder / "after.json").read_text()) == document


def test_other_conditions_end_with_two(folder: Path) -> None:
    """A result of another CPU is refused in one line that says so, before anything is measured."""
    other = before(folder, "other.json", cpu="Cortex-A72")
    done = edgecnn(folder, "bench", "--suite", "mine.toml", "--processes", "1", "--against", other)
    assert done.returncode == 2
    assert done.stderr.startswith("edgecnn: ")
    assert "CPU 'Cortex-A72' then, " in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bench", "--suite", "qick"), "did you mean 'quick'"),
        (("bench", "--suite", "none.toml"), "no suite file at 'none.toml'"),
        (("bench", "--suite", "quick"), "FILES"),
        (("bench", "m.tflite", "--against", "none.json"), "no result file at 'none.json'"),
        (("bench", "m.tflite", "--against", "before.json", "--tolerance", "5"), "write it like 5%"),
        (("bench", "m.tflite", "--against", "before.json", "-o", "./before.json"), "would overwrite"),
        (
            ("bench", "more/other.tflite", "m.tflite", "--threads", "2", "--against", "before.json"),
            "have none of more/other.tflite; they have m.tflite; measure it with -o first; "
            "m.tflite was measured earlier under other conditions: threads '1' then, '2' now",
        ),
        (("history", "--show", "999"), "no measurement 999"),
    ],
)
def test_bad_input_is_one_line(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    """Every mistake is told before anything is measured, in one line, with exit code 2."""
    done = edgecnn(folder, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("edgecnn: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_history_lists_and_shows(folder: Path) -> None:
    """Every measurement is in the history, and one shown as JSON is the result file that was written."""
    listed = edgecnn(folder, "history", "m.tflite", "--json")
    first, *_ = json.loads(listed.stdout)
    assert (first["name"], first["processes"], first["device"]) == ("m.tflite", 4, "host")
    assert first["p50_ns"] > 0
    assert first["top1"] is not None
    shown = edgecnn(folder, "history", "--show", str(first["id"]), "--json")
    written = json.loads((folder / "before.json").read_text())
    assert json.loads(shown.stdout) == {key: written[key] for key in ("schema_version", "results")}
    table = edgecnn(folder, "history")
    assert "m.tflite" in table.stdout
    assert "peak RSS is all of the worker process" in edgecnn(folder, "history", "--show", str(first["id"])).stdout


def test_the_help_says_how_many_processes_are_compared(folder: Path) -> None:
    """What the help says of --processes is what --against takes."""
    assert f"{COMPARED_PROCESSES} with" in edgecnn(folder, "bench", "--help").stdout


def test_an_empty_history_says_how_it_fills(tmp_path: Path) -> None:
    """Without any measurement the output says so; JSON is an empty list. Both end with 0."""
    assert "nothing measured yet of x.tflite" in edgecnn(tmp_path, "history", "x.tflite").stdout
    assert json.loads(edgecnn(tmp_path, "history", "--json").stdout) == []
    assert not (tmp_path / "home").exists()


def test_a_history_that_cannot_be_written_is_a_warning(folder: Path, tmp_path: Path) -> None:
    """The measurement is printed and written, the exit code is 0, and a warning says why nothing was kept."""
    (tmp_path / "home").write_text("a file in the place of the folder")
    shutil.copy(MODEL, tmp_path / "m.tflite")
    arguments = ("--suite", folder / "mine.toml", "--processes", "1", "-o", "out.json")
    done = edgecnn(tmp_path, "bench", tmp_path / "m.tflite", *arguments)
    assert done.returncode == 0, done.stderr
    assert "edgecnn: warning: not kept in the history: " in done.stderr
    assert (tmp_path / "out.json").exists()
