"""`Result`: what one run of a study found, as one JSON file in the folder of its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgecnn.errors import EdgecnnError
from edgecnn.files import write_whole
from edgecnn.parsing import convert, from_table, read_json
from edgecnn.short_repr import short_repr

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Result:
    """One run: what it was, and its figures or why it failed."""

    __repr__ = short_repr

    name: str
    identity: Mapping[str, Any]  # what the figures depend on, in JSON's types
    figures: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None  # in one line; None: the run is done
    seconds: float = 0.0  # of the process that ended it
    edgecnn_version: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run ended with an error."""
        return self.error is not None

    @property
    def failed_files(self) -> tuple[str, ...]:
        """The files of a deployed network that could not be made, each with its reason."""
        return tuple(f"{file['file']}: {file['failed']}" for file in self.figures.get("files", ()) if file["failed"])

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the run failed."""
        return not self.failed and not self.failed_files

    def to_json(self) -> dict[str, Any]:
        """Return the document of the run's file."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    def write(self, folder: Path) -> None:
        """Write the file, whole."""
        write_whole(file_of(folder, self.name), json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def file_of(folder: Path, name: str) -> Path:
    """Return where the result of the run *name* lies."""
    return folder / f"{name}.json"


def read_result(folder: Path, name: str, identity: Mapping[str, Any] | None = None) -> Result | None:
    """Return the result of the run *name*; None: there is none yet.

    Args:
        folder: of the runs.
        name: of the run.
        identity: what the result must be of; None: of anything.

    Raises:
        EdgecnnError: the file is broken, of another version, or of another run.
    """
    path = file_of(folder, name)
    if not path.is_file():
        return None
    document = dict(convert(Mapping[str, Any], read_json(path), str(path)))
    version = document.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise EdgecnnError(
            f"{path}: a result of schema {version}, and this edgecnn reads {SCHEMA_VERSION}; give another folder with "
            "-o, or delete the file to run again"
        )
    result = from_table(Result, document, str(path), strict=False)
    if identity is not None:
        given = json.loads(json.dumps(identity))
        for key in dict.fromkeys((*result.identity, *given)):
            if result.identity.get(key) != given.get(key):
                raise EdgecnnError(
                    f"{path}: a result with {key} {result.identity.get(key)}, not {given.get(key)}; give another "
                    "folder with -o, or delete the file to run again"
                )
    return result


def read_results(folder: Path) -> list[Result]:
    """Return every result in *folder*, by name.

    Raises:
        EdgecnnError: no such folder, or as `read_result`.
    """
    if not folder.is_dir():
        raise EdgecnnError(f"no folder of runs at '{folder}'; edgecnn study run makes one")
    names = sorted(path.name.removesuffix(".json") for path in folder.glob("*.json"))
    return [result for name in names if (result := read_result(folder, name)) is not None]
