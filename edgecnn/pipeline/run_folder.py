"""`RunFolder`: what a compression has done so far, so that one that is stopped goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from edgecnn.errors import EdgecnnError
from edgecnn.files import write_whole
from edgecnn.locks import InUseError, Lock
from edgecnn.parsing import from_table, read_json

SCHEMA_VERSION = 1
_JOURNAL = "run.json"
_LOCK = "lock"  # held by the process that is at the run; a name that a journal, a network or a training never has


class _Step(TypedDict, total=False):
    """What the journal may say of a step."""

    cuts: dict[str, float]
    status: dict[str, Any]
    removed: list[str]
    finished: bool


@dataclass(frozen=True)
class _Journal:
    schema_version: int
    identity: Mapping[str, Any]
    steps: Mapping[str, Annotated[Mapping[str, Any], _Step]]


class RunFolder:
    """A folder beside the result: a journal of the steps, a checkpoint of each finished one, the training under way.

    A step is noted as soon as it is decided upon and once more when its network is written; each write is whole. A
    lock in it tells a run that goes on from one that was stopped.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], steps: dict[str, dict[str, Any]], lock: Lock) -> None:
        self.path = path
        self._lock = lock
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
            EdgecnnError: there is a run and *resume* is not asked for, or the other way round, it is another run, or
                another process is at it; or something else bears the folder's name.
        """
        path = folder_of(result)
        journal = path / _JOURNAL
        if resume and not journal.is_file():
            raise EdgecnnError(f"nothing to resume: no run at '{path}'; leave out --resume to start")
        if os.path.lexists(path) and not journal.is_file():
            _check_is_ours(path)
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock = Lock(path / _LOCK)
        except InUseError as error:
            who = "another process" if error.pid is None else f"process {error.pid}"
            stop = "" if error.pid is None else f" (kill {error.pid})"
            raise EdgecnnError(
                f"{who} is writing '{result}' right now, with its run in '{path}': wait for it, or stop it{stop} "
                "and continue with --resume, or write to another file"
            ) from None
        try:
            return cls._locked(path, identity, lock, resume=resume)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _locked(cls, path: Path, identity: Mapping[str, Any], lock: Lock, *, resume: bool) -> RunFolder:
        journal = path / _JOURNAL
        if not journal.is_file():
            folder = cls(path, identity, {}, lock)
            folder._write()
            return folder
        if not resume:
            raise EdgecnnError(
                f"'{path}' holds a run that was stopped: continue it with --resume, or delete it to start over"
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
        return cls(path, identity, {name: dict(facts) for name, facts in stored.steps.items()}, lock)

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
        self.close()

    def close(self) -> None:
        """Let another process go on with the run; nothing happens the second time."""
        self._lock.release()

    def _write(self) -> None:
        document = {"schema_version": SCHEMA_VERSION, "identity": self.identity, "steps": self.steps}
        write_whole(self.path / _JOURNAL, json.dumps(document, indent=1, allow_nan=False))


def folder_of(result: Path) -> Path:
    """Return the folder of the run that ends in the file *result*."""
    return result.with_name(f"{result.name}.run")


def _check_is_ours(path: Path) -> None:
    """See that what is at *path* is a folder in which a run was only just begun.

    Raises:
        EdgecnnError: it is a file or a link, or holds what no run has written.
    """
    theirs = "which does not belong to a run: move it away, or write to another file"
    if path.is_symlink() or not path.is_dir():
        raise EdgecnnError(f"the run needs a folder at '{path}', and there is a file or a link, {theirs}")
    others = [name for name in os.listdir(path) if name != _LOCK and not name.startswith(".edgecnn-")]
    if others:
        raise EdgecnnError(f"the run needs a folder at '{path}', and there is one that holds '{others[0]}', {theirs}")
