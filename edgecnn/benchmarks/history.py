"""Every measurement taken on this machine, kept in one SQLite file of the user's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Measurement
from edgecnn.parsing import checked, from_table, parse_json
from edgecnn.short_repr import short_repr
from edgecnn.tasks.score import ACCURACY

if TYPE_CHECKING:
    import sqlite3

SCHEMA_VERSION = 1

#: How long one waits for another who writes.
_PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One measurement in short; the fields are the columns of the table, of which `document` holds all of it.

    Example:
        >>> (entry,) = edgecnn.read_history(last=1)
        >>> entry.name, entry.runtime, entry.p50_ns
        ('classifier.tflite', 'litert', 1000000.0)
    """

    __repr__ = short_repr

    id: int
    taken_at: str  # ISO 8601, UTC
    name: str  # the file's, without its folder
    path: str  # absolute, as it was then
    sha256: str | None
    device: str
    target: str
    runtime: str
    runtime_version: str | None
    threads: int
    precision: str
    method: str
    processes: int
    p50_ns: float | None
    instructions: float | None  # of a call, on a board that counts them and has no clock
    peak_rss_bytes: int | None
    top1: float | None  # a fraction
    interface: str | None  # of the runtime: latencies of two interfaces are not comparable
    metric: str | None = None  # what `score` is, where it is no top-1 accuracy
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields; a figure not taken is null."""
        return asdict(self)


#: What only the document holds, of the fields of an entry.
_IN_DOCUMENT = {
    name: f"CASE WHEN json_valid(document) THEN json_extract(document, '$.{key}') END"
    for name, key in (("interface", "interface"), ("metric", "score.name"), ("score", "score.value"))
}
_COLUMNS = tuple(field.name for field in fields(HistoryEntry) if field.name not in _IN_DOCUMENT)


def history_file() -> Path:
    """Return the file: in `$EDGECNN_HOME`, else in `edgecnn` under `$XDG_STATE_HOME`, else under `~/.local/state`.

    Raises:
        EdgecnnError: neither is set, and this user has no home folder, as in some containers.
    """
    home, state = os.environ.get("EDGECNN_HOME"), os.environ.get("XDG_STATE_HOME")
    if home:
        return Path(home) / "history.sqlite"
    try:
        return (Path(state) if state else Path.home() / ".local" / "state") / "edgecnn" / "history.sqlite"
    except RuntimeError:
        raise EdgecnnError("no folder for the history: this user has no home folder; set EDGECNN_HOME") from None


def keeping_history(
    measurements: Iterable[Measurement], on_failure: Callable[[str], None], file: Path | None = None
) -> Iterator[Measurement]:
    """Yield *measurements* as they come, each kept before it is handed on.

    A history that cannot be written loses no measurement: *on_failure* is told once, with the reason, and all go on.
    """
    failed = False
    for measurement in measurements:
        if not failed:
            try:
                add_to_history(measurement, file)
            except EdgecnnError as error:
                failed = True
                on_failure(f"not kept in the history: {error}")
        yield measurement


def add_to_history(measurement: Measurement, file: Path | None = None) -> int:
    """Keep *measurement* and return its number; several programs may do so at a time.

    Raises:
        EdgecnnError: the history cannot be written, is broken, or is one of a newer edgecnn.
    """
    path = Path(measurement.file)
    accuracy = next((score for score in measurement.scores if score.name == ACCURACY), None)
    values = {
        "taken_at": measurement.conditions.get("taken_at") or datetime.now(UTC).isoformat(timespec="seconds"),
        "name": path.name,
        "path": str(path.absolute()),
        "processes": len(measurement.runs),
        "p50_ns": measurement.p50_ns,
        "peak_rss_bytes": measurement.peak_rss_bytes,
        "top1": accuracy.value if accuracy else None,
    }
    row = {name: values[name] if name in values else getattr(measurement, name) for name in _COLUMNS if name != "id"}
    row["document"] = json.dumps(measurement.to_json(), allow_nan=False)
    with _opened(file or history_file(), make=True) as connection:
        marks = ", ".join("?" * len(row))
        # The names are ours, the values go in by their marks.
        cursor = connection.execute(f"INSERT INTO measurement ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
        assert cursor.lastrowid is not None
        return cursor.lastrowid


def read_history(
    name: Path | str | None = None, *, last: int | None = None, file: Path | str | None = None
) -> list[HistoryEntry]:
    """Return earlier measurements on this machine, oldest first.

    Args:
        name: a file name (in any folder) or a path (only that file); None: all files.
        last: number of the latest entries; None: all.
        file: the database; None: the one of this user.

    Raises:
        EdgecnnError: the history cannot be read, is broken, or is one of a newer edgecnn.

    Example:
        >>> [entry.name for entry in edgecnn.read_history(last=3)]
        ['classifier.tflite']
    """
    place = Path(file) if file else history_file()
    if not _is_begun(place):
        return []
    column, wanted = "name", str(name) if name else None
    if name and Path(name).name != str(name):
        column, wanted = "path", str(Path(name).absolute())
    with _opened(place) as connection:
        rows = connection.execute(
            f"SELECT {', '.join((*_COLUMNS, *_IN_DOCUMENT.values()))} FROM measurement WHERE ? IS NULL OR {column} = ? "  # noqa: S608
            "ORDER BY taken_at DESC, id DESC LIMIT ?",
            (wanted, wanted, -1 if last is None else last),
        ).fetchall()
    names = (*_COLUMNS, *_IN_DOCUMENT)
    return [_entry(dict(zip(names, row, strict=True)), f"{place}: measurement {row[0]!r}") for row in reversed(rows)]


def _entry(row: dict[str, Any], where: str) -> HistoryEntry:
    return from_table(HistoryEntry, checked(row, where), where)


def read_from_history(number: int, file: Path | None = None) -> Measurement:
    """Return the whole measurement with this number.

    Raises:
        EdgecnnError: there is none, or as `read_history`.
    """
    place = file or history_file()
    row = None
    if _is_begun(place):
        with _opened(place) as connection:
            row = connection.execute("SELECT document FROM measurement WHERE id = ?", (number,)).fetchone()
    if row is None:
        raise EdgecnnError(f"no measurement {number} in the history {place}; edgecnn history lists them")
    where = f"{place}: measurement {number}"
    return Measurement.from_json(parse_json(row[0], where), where)


def _is_begun(file: Path) -> bool:
    """Return whether anything was written; a file is empty while the first measurement is being added."""
    return file.exists() and file.stat().st_size > 0


@contextmanager
def _opened(file: Path, make: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the history in one transaction, and say in one line what is wrong with it where something is."""
    try:
        import sqlite3
    except ImportError:  # some small systems have a Python without it
        raise EdgecnnError(f"{file}: this Python was built without sqlite3") from None
    try:
        if make:
            file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=_PATIENCE_S, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE" if make else "BEGIN")
            _check_version(connection, file, make)
            yield connection
            connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        hint = "" if isinstance(error, sqlite3.OperationalError) else "; move it away to start a new one"
        raise EdgecnnError(f"{file}: {error}{hint}") from None
    except UnicodeEncodeError:
        raise EdgecnnError(f"{file}: a path is not valid UTF-8") from None
    except OSError as error:
        raise EdgecnnError(f"{file}: {(error.strerror or str(error)).lower()}") from None


def _check_version(connection: sqlite3.Connection, file: Path, make: bool) -> None:
    """Make the table where the file is new."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise EdgecnnError(f"{file} has version {version}; this edgecnn knows up to {SCHEMA_VERSION}: update it")
    if version == 0 and make:
        columns = ", ".join(name for name in _COLUMNS if name != "id")
        connection.execute(f"CREATE TABLE measurement (id INTEGER PRIMARY KEY, {columns}, document NOT NULL)")
        connection.execute("CREATE INDEX measurement_of_name ON measurement (name, taken_at)")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
