"""A file is the old one or the new one, whole, whatever interrupts."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecnn.files import sha256_of, write_whole, written_whole


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
    """The temporary file ends like the real one: some writers choose their format by it."""
    with written_whole(tmp_path / "model.onnx") as partial:
        assert partial.suffix == ".onnx"
        assert partial.parent == tmp_path


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
