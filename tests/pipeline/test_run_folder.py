"""The folder of a run: who is at it, and what is no run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn.cli import _notes_of
from edgecnn.errors import EdgecnnError
from edgecnn.pipeline.compress import _kept
from edgecnn.pipeline.run_folder import RunFolder, folder_of

RUN = """
import sys, time
from pathlib import Path
from edgecnn.pipeline.run_folder import RunFolder
folder = RunFolder.open(Path(sys.argv[1]), {"ratio": 0.5}, resume=False)
folder.note("round-01", finished=True)
print("going", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_live_run_is_told_from_a_dead_one(tmp_path: Path) -> None:
    """While a run goes on, another is told its process and may neither start nor resume; after kill -9 it resumes."""
    out = tmp_path / "small.safetensors"
    with subprocess.Popen([sys.executable, "-c", RUN, str(out)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "going\n"
        live = rf"^process {run.pid} is writing '{re.escape(str(out))}' right now.*stop it \(kill {run.pid}\)"
        for resume in (False, True):
            with pytest.raises(EdgecnnError, match=live):
                RunFolder.open(out, {"ratio": 0.5}, resume=resume)
        run.send_signal(signal.SIGKILL)
    with pytest.raises(EdgecnnError, match="holds a run that was stopped: continue it with --resume"):
        RunFolder.open(out, {"ratio": 0.5}, resume=False)
    folder = RunFolder.open(out, {"ratio": 0.5}, resume=True)
    assert folder.finished == ["round-01"]
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    """A folder, a file or a link that bears the run's name and is none is refused, and nothing in it is lost."""
    out = tmp_path / "small.safetensors"
    place = tmp_path / "small.safetensors.run"
    precious = tmp_path / "precious"
    precious.mkdir()
    place.symlink_to(precious)
    with pytest.raises(EdgecnnError, match="there is a file or a link, which does not belong to a run: move it away"):
        RunFolder.open(out, {}, resume=False)
    place.unlink()
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    with pytest.raises(EdgecnnError, match=r"there is one that holds .notes\.txt., which does not belong to a run"):
        RunFolder.open(out, {}, resume=False)
    assert (place / "notes.txt").read_text() == "mine"


def interrupted(result: Path, kept: str) -> None:
    """Be interrupted in a run that has kept a file."""
    with _kept(RunFolder.open(result, {}, resume=False)) as folder:
        (folder.path / kept).write_bytes(b"")
        raise KeyboardInterrupt


def replaced(first: KeyboardInterrupt) -> None:
    """Raise another in its place, as a second signal does."""
    try:
        raise first
    finally:
        raise KeyboardInterrupt


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    """Ctrl-C in a run that has kept a network notes where it lies; before there is one, the folder goes."""
    with pytest.raises(KeyboardInterrupt) as ended:
        interrupted(tmp_path / "a.safetensors", "round-01.safetensors")
    (note,) = ended.value.__notes__
    assert f"'{folder_of(tmp_path / 'a.safetensors')}'" in note
    assert "--resume" in note
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "b.safetensors", "scratch")
    assert not folder_of(tmp_path / "b.safetensors").exists()


def test_notes_are_found_behind_what_took_their_place() -> None:
    """The signal's own exception is raised once more on the way out: the notes of the first are still told."""
    first = KeyboardInterrupt()
    first.add_note("go on with --resume")
    with pytest.raises(KeyboardInterrupt) as ended:
        replaced(first)
    assert list(_notes_of(ended.value)) == ["go on with --resume"]
