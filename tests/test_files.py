"""A file is the old one or the new one, whole, whatever interrupts."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.files import check_writable, sha256_of, write_whole, written_whole


def test_writes_text_and_bytes(tmp_path: Path) -> None:
    """Text and bytes are written as they are, into folders that may not be there yet."""
    write_whole(tmp_path / "new/folder/text.json", "é")
    write_whole(tmp_path / "bytes.bin", b"\0\1")
    assert (tmp_path / "new/folder/text.json").read_text(encoding="utf-8") == "é"
    assert (tmp_path / "bytes.bin").read_bytes() == b"\0\1"


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    """When the writer fails half-way, the old content is still there and nothing lies beside it."""
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with written_whole(path) as partial:
            partial.write_bytes(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_the_partial_file_keeps_the_suffix(tmp_path: Path) -> None:
    """The temporary file bears the real one's name, however long: some writers choose their format by its end."""
    name = "m" * (255 - 5) + ".onnx"
    with written_whole(tmp_path / name) as partial:
        assert partial.name == name
        assert partial.parent.parent == tmp_path
        partial.touch()
    assert os.listdir(tmp_path) == [name]


def test_the_file_has_the_usual_rights(tmp_path: Path) -> None:
    """The file gets the rights that the umask leaves, not the private ones of a temporary file."""
    (tmp_path / "plain").touch()
    write_whole(tmp_path / "whole", b"")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


WRITER = """
import sys, time
from pathlib import Path
from edgecnn.files import written_whole
with written_whole(Path(sys.argv[1])) as partial:
    partial.write_bytes(b"new" * 1000)
    print("half", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    """A process killed in the middle of writing leaves the old file whole."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"


def test_a_killed_process_leaves_nothing_behind_the_next(tmp_path: Path) -> None:
    """What a killed writer had begun is gone once the next one has written there."""
    path = tmp_path / "model.bin"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        write_whole(tmp_path / "beside.json", "{}")
        assert len(os.listdir(tmp_path)) == 2, "the folder of the live writer stays"
        writer.send_signal(signal.SIGKILL)
    write_whole(path, b"new")
    assert sorted(os.listdir(tmp_path)) == ["beside.json", "model.bin"]


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    """Through one link or several the file at the end is written, in its own folder, whether it is there yet or not."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "second").symlink_to("real/result.json")
    (tmp_path / "first").symlink_to("second")
    for content in ("one", "two"):
        write_whole(tmp_path / "first", content)
        assert (real / "result.json").read_text() == content
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()


def test_a_link_to_another_disk_is_written_through(tmp_path: Path, tiny_disk: Path) -> None:
    """What a link leads to on another disk, where nothing can be renamed to, is written whole, and the link stays."""
    (tmp_path / "link").symlink_to(tiny_disk / "result.bin")
    write_whole(tmp_path / "link", b"made")
    assert (tiny_disk / "result.bin").read_bytes() == b"made"
    assert sorted(os.listdir(tmp_path)) == ["disk", "link"]
    assert (tmp_path / "link").is_symlink()


def test_a_replaced_file_keeps_its_rights(tmp_path: Path) -> None:
    """A file that its owner alone may read is so afterwards, too."""
    path = tmp_path / "secret.json"
    path.touch(mode=0o600)
    write_whole(path, "{}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders, pipes, sockets, devices, links to them, and links in a circle are told, and stay as they are."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "out").symlink_to("/dev/stdout")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's path may have 104 bytes
        server.bind("socket")
        kinds = {
            "folder": "folder",
            "pipe": "pipe",
            "null": "device",
            "circle": "loop",
            "out": "device",
            "socket": "socket",
            "/dev/null": "device",
            "/dev/stdout": "device",
            "/dev/fd/1": "device",
            "/proc/self/fd/2": "device",
        }
        for name, kind in kinds.items():
            for attempt in (check_writable, lambda path: write_whole(path, "x")):
                with pytest.raises(EdgecnnError, match=rf"^cannot write '.*{name}': .*{kind}; name a file$"):
                    attempt(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["circle", "folder", "null", "out", "pipe", "socket"]


def test_names_go_up_to_the_limit(tmp_path: Path) -> None:
    """A name of 255 bytes is written, one of 256 refused in a line that does not repeat it whole."""
    longest = "é" * 125 + ".json"
    write_whole(tmp_path / longest, "{}")
    assert os.listdir(tmp_path) == [longest]
    for attempt in (check_writable, lambda path: write_whole(path, "x")):
        with pytest.raises(EdgecnnError, match="names may have 255 bytes here, this one has 256; choose a shorter one"):
            attempt(tmp_path / f"x{longest}")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount a tiny file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tiny file system here: {mounted.stderr.strip()}")
    yield folder
    for _ in range(20):
        if subprocess.run(["umount", folder], capture_output=True).returncode == 0:
            return
        time.sleep(0.05)


def test_a_full_disk_keeps_the_old_file(tiny_disk: Path) -> None:
    """When the disk is full, the old file stays and the half-written one goes."""
    path = tiny_disk / "model.bin"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="space") as caught:
        write_whole(path, b"x" * 200_000)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tiny_disk) == ["model.bin"]


def test_sha256(tmp_path: Path) -> None:
    """The hash is that of the content."""
    (tmp_path / "file").write_bytes(b"content")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()
