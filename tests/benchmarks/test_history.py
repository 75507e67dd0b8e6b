"""The history: what is kept comes back, and nothing that happens to it loses a measurement."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.benchmarks.history import (
    add_to_history,
    history_file,
    keeping_history,
    read_from_history,
    read_history,
)
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Measurement, Memory, Run
from edgecnn.tasks.score import Score, share

RUN = Run(
    import_ns=1,
    load_ns=2,
    first_ns=3,
    warmup=4,
    loops=1,
    values_ns=(10, 20, 30),
    memory=Memory(1, 2, 3, 4),
    finite=True,
    before={"load_1m": 0.5},
    after={},
)


def result(file: str = "m.tflite", day: int = 1) -> Measurement:
    """Return a measurement of *file* taken on that day."""
    return Measurement(
        file=file,
        format="tflite",
        precision="w8a8",
        runtime="litert",
        runtime_version="2.3.0",
        device="host",
        target="local",
        threads=2,
        runs=(RUN, RUN),
        size_bytes=10,
        sha256="ab" * 32,
        scores=(share("accuracy", 3, 4),),
        conditions={"taken_at": f"2026-01-0{day}T00:00:00+00:00", "cpu": "one"},
    )


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    """A measurement is listed with its figures, and read again whole and equal."""
    file = tmp_path / "new" / "history.sqlite"
    assert read_history(file=file) == []
    number = add_to_history(result(), file)
    (entry,) = read_history(file=file)
    assert (entry.id, entry.name, entry.p50_ns, entry.top1, entry.threads) == (number, "m.tflite", 20, 0.75, 2)
    assert (entry.processes, entry.peak_rss_bytes, entry.runtime_version) == (2, 4, "2.3.0")
    assert entry.taken_at == "2026-01-01T00:00:00+00:00"
    assert read_from_history(number, file) == result()
    assert json.loads(json.dumps(entry.to_json()))["sha256"] == "ab" * 32


def test_figures_not_taken_are_null(tmp_path: Path) -> None:
    """Without runs and accuracy the figures are null, not 0."""
    add_to_history(replace(result(), runs=(), scores=()), tmp_path / "h")
    (entry,) = read_history(file=tmp_path / "h")
    assert (entry.p50_ns, entry.top1, entry.peak_rss_bytes, entry.processes) == (None, None, None, 0)


def test_counted_instructions_are_kept(tmp_path: Path) -> None:
    """A board without a clock has instructions in its entry, and no latency."""
    run = replace(RUN, values_ns=(), instructions=700)
    add_to_history(replace(result(), runs=(run, run), method="emulated"), tmp_path / "h")
    (entry,) = read_history(file=tmp_path / "h")
    assert (entry.method, entry.p50_ns, entry.instructions) == ("emulated", None, 700)


def test_a_file_is_listed_over_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest comes first; a name is any file of that name, a path that one alone; `last` cuts the oldest off."""
    monkeypatch.chdir(tmp_path)
    for name, day in (("a/m.tflite", 3), ("m.tflite", 1), ("n.tflite", 2), ("a/m.tflite", 4)):
        add_to_history(result(name, day), tmp_path / "h")

    def days(name: str | None = None, last: int | None = None) -> list[int]:
        return [int(entry.taken_at[9]) for entry in read_history(name, last=last, file=tmp_path / "h")]

    assert days() == [1, 2, 3, 4]
    assert days("m.tflite") == [1, 3, 4]
    assert days("a/m.tflite") == days(str(tmp_path / "a/m.tflite")) == [3, 4]
    assert days("m.tflite", last=2) == [3, 4]
    assert days("other.tflite") == []


def test_it_lies_where_state_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`$EDGECNN_HOME`, else `$XDG_STATE_HOME/edgecnn`, else `~/.local/state/edgecnn`."""
    monkeypatch.setenv("EDGECNN_HOME", "/e")
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    monkeypatch.setenv("HOME", "/h")
    assert history_file() == Path("/e/history.sqlite")
    monkeypatch.delenv("EDGECNN_HOME")
    assert history_file() == Path("/x/edgecnn/history.sqlite")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert history_file() == Path("/h/.local/state/edgecnn/history.sqlite")


def test_several_write_at_a_time(tmp_path: Path) -> None:
    """Four programs that begin one history together and add 25 measurements each lose none."""
    (tmp_path / "m.json").write_text(json.dumps(result().to_json()))
    program = (
        "import json, sys; from pathlib import Path; from edgecnn.measurement import Measurement\n"
        "from edgecnn.benchmarks.history import add_to_history\n"
        "m = Measurement.from_json(json.loads(Path('m.json').read_text())); print('ready', flush=True); input()\n"
        "for _ in range(25): add_to_history(m, Path('h'))"
    )
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe)
        for _ in range(4)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    errors = [writer.communicate()[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    assert len({entry.id for entry in read_history(file=tmp_path / "h")}) == 100


def broken(file: Path) -> None:
    """Make *file* no database."""
    file.write_bytes(b"no database at all, " * 100)


def newer(file: Path) -> None:
    """Make *file* one of a newer edgecnn."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")


def foreign(file: Path) -> None:
    """Make *file* somebody else's database."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE measurement (other)")


def in_the_way(file: Path) -> None:
    """Put a folder where the file should be."""
    file.mkdir()


@pytest.mark.parametrize(
    ("breaking", "told"),
    [(broken, "move it away"), (newer, "99; this edgecnn knows up to 1"), (foreign, "measurement"), (in_the_way, "h")],
)
def test_a_broken_history_loses_no_measurement(tmp_path: Path, breaking: object, told: str) -> None:
    """All measurements come through, one warning says why they are not kept, and reading it is one line too."""
    file, warnings = tmp_path / "h", list[str]()
    assert callable(breaking)
    breaking(file)
    given = [result("a.tflite"), result("b.tflite")]
    assert list(keeping_history(given, warnings.append, file)) == given
    (warning,) = warnings
    assert warning.startswith(f"not kept in the history: {file}")
    assert told in warning
    assert "\n" not in warning
    with pytest.raises(EdgecnnError, match=str(file)):
        read_history(file=file)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in the place of the folder: the measurement comes through with a warning."""
    (tmp_path / "state").write_text("")
    warnings: list[str] = []
    assert list(keeping_history([result()], warnings.append, tmp_path / "state" / "history.sqlite")) == [result()]
    assert len(warnings) == 1


def test_without_a_home_or_sqlite_no_measurement_is_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a home folder, and a Python without sqlite3, are a warning each."""
    warnings: list[str] = []
    with monkeypatch.context() as nowhere:
        for variable in ("EDGECNN_HOME", "XDG_STATE_HOME", "HOME"):
            nowhere.delenv(variable, raising=False)
        nowhere.setattr("pwd.getpwuid", lambda uid: {}[uid])  # as for a user whom the system does not know
        assert list(keeping_history([result()], warnings.append)) == [result()]
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    assert list(keeping_history([result()], warnings.append, tmp_path / "h")) == [result()]
    assert ["set EDGECNN_HOME" in warnings[0], "without sqlite3" in warnings[1]] == [True, True]


def test_one_who_holds_it_for_long_costs_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another program does not let go of the history, it is waited for, then given up with a warning."""
    monkeypatch.setattr("edgecnn.benchmarks.history._PATIENCE_S", 0.05)
    file, warnings = tmp_path / "h", list[str]()
    add_to_history(result(), file)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert list(keeping_history([result()], warnings.append, file)) == [result()]
    assert "locked" in warnings[0]
    assert len(read_history(file=file)) == 1


def test_each_is_kept_as_soon_as_it_is_taken(tmp_path: Path) -> None:
    """Whoever stops between two measurements has the first one kept."""
    stream = keeping_history((result(name) for name in ("a", "b")), pytest.fail, tmp_path / "h")
    next(stream)
    assert [entry.name for entry in read_history(file=tmp_path / "h")] == ["a"]


def test_a_number_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Whether there is a history or not, an unknown number is one line; so is a damaged entry."""
    file = tmp_path / "h"
    with pytest.raises(EdgecnnError, match="no measurement 7"):
        read_from_history(7, file)
    number = add_to_history(result(), file)
    with pytest.raises(EdgecnnError, match="no measurement 7"):
        read_from_history(7, file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE measurement SET document = '{}'")
    with pytest.raises(EdgecnnError, match=r"measurement 1\.values_ns: expected a list, found None"):
        read_from_history(number, file)


@pytest.mark.parametrize(
    ("column", "value"), [("threads", "'two'"), ("p50_ns", "x'00'"), ("name", "3"), ("top1", "9e999")]
)
def test_a_row_of_wrong_types_is_told(tmp_path: Path, column: str, value: str) -> None:
    """A row that something else changed is named with its column, for SQLite keeps any type in any column."""
    file = tmp_path / "h"
    add_to_history(result(), file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"UPDATE measurement SET {column} = {value}")
    with pytest.raises(EdgecnnError, match=f"h: measurement 1.{column}: "):
        read_history(file=file)


def test_a_score_of_another_task_is_listed(tmp_path: Path) -> None:
    """It stands beside its name, and there is no top-1."""
    score = Score(name="mIoU", value=0.71, low=0.6, high=0.8, n=9)
    add_to_history(replace(result(), scores=(score,)), tmp_path / "h")
    (entry,) = read_history(file=tmp_path / "h")
    assert (entry.metric, entry.score, entry.top1) == ("mIoU", 0.71, None)
