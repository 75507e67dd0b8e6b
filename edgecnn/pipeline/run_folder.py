"""`RunFolder`: what a compression has done so far, so that one that is stopped goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from edgecnn.errors import EdgecnnError
from edgecnn.files import write_whole
from edgecnn.parsing import from_table, read_json

SCHEMA_VERSION = 1
_JOURNAL = "run.json"


class _Step(TypedDict, total=False):
    """What the journal may say of a step."""

    cuts: dict[str, float]
    standing: dict[str, Any]
    removed: list[str]
    finished: bool


@dataclass(frozen=True)
class _Journal:
    schema_version: int
    identity: Mapping[str, Any]
    steps: Mapping[str, Annotated[Mapping[str, Any], _Step]]


class RunFolder:
    """A folder beside the result: a journal of the steps, a checkpoint of each finished one, the training under way.

    A step is noted as soon as it is decided upon and once more when its network is written; each write is whole.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], steps: dict[str, dict[str, Any]]) -> None:
        self.path = path
        self.identity = dict(identity)
        self.steps = steps

    @classmethod
    def open(cls, result: Path, identity: Mapping[str, Any], *, resume: bool) -> RunFolder:
        """Return the folder of the run that ends in the file *result*: a new one, or that of a run that was stopped.

        Args:
            result: the file that the run is to write.
            identity: what the run depends on: network, data, settings; in JSON's types.
            resume: whether to go on.

        Raises:
            EdgecnnError: there is a run and *resume* is not asked for, or the other way round, or it is another run.
        """
        path = result.with_name(f"{result.name}.run")
        journal = path / _JOURNAL
        if not journal.is_file():
            if resume:
                raise EdgecnnError(f"nothing to go on with: no run at '{path}'; leave --resume out to start")
            folder = cls(path, identity, {})
            folder._write()
            return folder
        if not resume:
            raise EdgecnnError(
                f"'{path}' holds a run that was stopped: go on with --resume, or delete it to start anew"
            )
        try:
            stored = from_table(_Journal, read_json(journal), str(journal))
        except EdgecnnError as error:
            raise EdgecnnError(f"{error}; delete '{path}' to start anew") from None
        before = stored.identity
        if stored.schema_version != SCHEMA_VERSION:
            raise EdgecnnError(
                f"{journal}: written with schema {stored.schema_version}, this edgecnn reads {SCHEMA_VERSION}"
            )
        given = json.loads(json.dumps(identity))
        for key in dict.fromkeys((*before, *given)):
            if before.get(key) != given.get(key):
                raise EdgecnnError(
                    f"'{path}' holds another run, with {key} {before.get(key)}, not {given.get(key)}: "
                    "give --resume the same, or delete the folder to start anew"
                )
        return cls(path, identity, {name: dict(facts) for name, facts in stored.steps.items()})

    def note(self, step: str, **facts: Any) -> None:
        """Add *facts* to what the journal says of a *step*."""
        self.steps[step] = self.steps.get(step, {}) | facts
        self._write()

    @property
    def finished(self) -> list[str]:
        """The steps whose networks are written, in the order in which they were."""
        return [step for step in self.steps if self.steps[step].get("finished")]

    def network_file(self, step: str) -> Path:
        """Return the file that has the network that *step* ends with."""
        return self.path / f"{step}.safetensors"

    def training_file(self, step: str) -> Path:
        """Return the file that keeps the training of *step* while it goes on."""
        return self.path / f"{step}.training.safetensors"

    def remove(self) -> None:
        """Delete the folder: the run has ended well."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _write(self) -> None:
        document = {"schema_version": SCHEMA_VERSION, "identity": self.identity, "steps": self.steps}
        write_whole(self.path / _JOURNAL, json.dumps(document, indent=1, allow_nan=False))
