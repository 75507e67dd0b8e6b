"""Locks tell what a live process uses from what a dead one left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgecnn.locks import InUseError, Lock, PrivateFolder, remove_abandoned

HOLDER = """
import sys, time
from pathlib import Path
from edgecnn.locks import Lock, PrivateFolder
place = Path(sys.argv[1])
folder = PrivateFolder(place)
(folder.path / "work").write_text("half")
lock = Lock(place / "lock")
print(folder.name, flush=True)
time.sleep(60)
"""


@contextmanager
def holder(place: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run a process that holds a folder and a lock in *place*; it is killed at the end."""
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_folder_goes_at_the_end(tmp_path: Path) -> None:
    """A temporary folder is private, and gone after the `with`."""
    with PrivateFolder(tmp_path) as name:
        assert Path(name).parent == tmp_path
        assert Path(name).stat().st_mode & 0o777 == 0o700
    assert os.listdir(tmp_path) == []


def test_the_folder_of_a_killed_process_goes_with_the_next(tmp_path: Path) -> None:
    """A live process keeps its folder; once it is killed, whoever makes a folder beside it takes it away."""
    with holder(tmp_path) as (process, folder):
        with PrivateFolder(tmp_path):
            assert (folder / "work").read_text() == "half"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder.is_dir()
        PrivateFolder(tmp_path).cleanup()
        assert not folder.exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Other names, files, and links with a name of ours are left alone, and so is where they lead."""
    precious = tmp_path / "precious"
    precious.mkdir()
    for name in (".edgecnn-notes", ".edgecnn-abcdefgh", ".edgecnn-ABCDEFGH.partial"):
        (tmp_path / name).mkdir()
    (tmp_path / ".edgecnn-abcdefgh.partial").symlink_to(precious)
    (tmp_path / ".edgecnn-bbcdefgh.partial").write_text("a file")
    before = sorted(os.listdir(tmp_path))
    remove_abandoned(tmp_path)
    assert sorted(os.listdir(tmp_path)) == before


def test_many_at_a_time_lose_no_folder(tmp_path: Path) -> None:
    """Whoever makes a folder has it until the end, however many others look for abandoned ones meanwhile."""
    lost: list[str] = []

    def work() -> None:
        for _ in range(50):
            with PrivateFolder(tmp_path) as name:
                Path(name, "work").touch()
                if not Path(name, "work").exists():
                    lost.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert os.listdir(tmp_path) == []


def test_a_lock_names_its_live_holder_and_not_a_dead_one(tmp_path: Path) -> None:
    """While its process lives a lock is refused with the number of it; after kill -9 anybody may have it."""
    with holder(tmp_path) as (process, _):
        with pytest.raises(InUseError) as caught:
            Lock(tmp_path / "lock")
        assert caught.value.pid == process.pid
        process.kill()
        process.wait()
        with Lock(tmp_path / "lock"):
            assert (tmp_path / "lock").read_text().strip() == str(os.getpid())
    assert not (tmp_path / "lock").exists()


def test_a_lock_is_never_reached_through_a_link(tmp_path: Path) -> None:
    """A link in the lock's place is not followed: what it leads to stays as it is."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        Lock(tmp_path / "lock")
    assert (tmp_path / "precious").read_text() == "mine"
