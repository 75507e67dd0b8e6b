"""A target behind adb: its name, what may be missing here, and a real adbd where there is one (not a phone)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.targets import open_target

MODEL = Path(__file__).parents[1] / "data/classifier.tflite"

#: adbd lets everybody in, so it runs in a network of its own, which only this program shares.
ALONE = """
ip link set lo up || exit 77
adbd >adbd.log 2>&1 &
echo $! >adbd.pid
for i in 1 2 3 4 5 6 7 8 9 10; do
  adb connect 127.0.0.1:5555 | grep -q connected && break
  sleep 0.3
done
"$@"
code=$?
adb kill-server
kill "$(cat adbd.pid)" 2>/dev/null
exit $code
"""


def with_adbd(tmp_path: Path, body: str) -> str:
    """Run *body* where the target `adb:127.0.0.1:5555` is a real adbd, and return what it prints."""
    missing = [name for name in ("adb", "adbd", "ip", "unshare") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"a real adbd needs root, adb, adbd (bookworm-backports), iproute2; missing: {missing or 'root'}")
    source = (
        "import os, signal, sys, threading, time\n"
        "from pathlib import Path\n"
        "from edgecnn.artifact import Artifact\n"
        "from edgecnn.benchmarks.measure import BenchmarkConfig, time_process\n"
        "from edgecnn.errors import EdgecnnError\n"
        "from edgecnn.targets import open_target\n"
        f"MODEL = Path({str(MODEL)!r})\n"
        "NAME = 'adb:127.0.0.1:5555'\n" + textwrap.dedent(body)
    )
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(tmp_path), "ANDROID_ADB_SERVER_PORT": "15037", "PATH": paths}
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", ALONE, "sh", sys.executable, "-c", source],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=120,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("no network namespace can be made here")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_worker_answers_through_a_real_adbd(tmp_path: Path) -> None:
    """Files and words arrive whole, exit codes come back, a worker measures; a second bench waits; nothing is left."""
    out = with_adbd(
        tmp_path,
        """
        with open_target(NAME) as place:
            there = Path(place.push(MODEL))
            assert there.read_bytes() == MODEL.read_bytes()
            words = ["a b", "$HOME", "';exit 3;'", '"']
            assert place.ask('printf "%s|" "$@"', *words) == "|".join(words) + "|"
            effort = BenchmarkConfig(processes=1, min_time_s=0.01, warmup_s=0.01)
            taken = time_process(Artifact.open(MODEL), runtime="litert", threads=1, target=place, effort=effort)
            print(len(taken.run.values_ns) >= 4)
            try:
                open_target(NAME).__enter__()
            except EdgecnnError as error:
                print(error)
        print(there.parent.exists())
        """,
    )
    lines = out.splitlines()
    assert lines[-1] == "False"
    assert "is taken by" in lines[-2]
    assert lines[-3] == "True"


def test_a_cable_pulled_while_it_measures(tmp_path: Path) -> None:
    """Adb itself ends as if all were well; it is told as a lost connection all the same."""
    out = with_adbd(
        tmp_path,
        """
        def pull():
            time.sleep(2)
            os.kill(int(Path("adbd.pid").read_text()), signal.SIGKILL)
        with open_target(NAME) as place:
            threading.Thread(target=pull).start()
            try:
                time_process(Artifact.open(MODEL), runtime="litert", threads=1, target=place,
                             effort=BenchmarkConfig(processes=1, min_time_s=60))
            except EdgecnnError as error:
                print(error)
        """,
    )
    assert "the connection to adb:127.0.0.1:5555 was lost" in out.splitlines()[-1]


@pytest.mark.parametrize("name", ["adb:", "adb:-s", "adb://x", "adb:a b"])
def test_the_name_is_read(name: str) -> None:
    """A serial is one word that cannot be taken for an option."""
    with pytest.raises(EdgecnnError, match="is not an adb target; write adb:SERIAL"):
        open_target(name)


def test_adb_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the adb program the error is the line that installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EdgecnnError, match="adb is not installed: sudo apt-get install -y adb"):
        open_target("adb:0123").__enter__()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("error: device '0123' not found", "no such device; adb devices lists those there are"),
        ("error: device unauthorized.", "unlock it and confirm the question on its screen"),
        ("error: device offline", "it is offline"),
        ("something\nelse", "else"),
    ],
)
def test_what_adb_says_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, told: str) -> None:
    """What the program `adb` says of a device becomes one line with what to do."""
    program = tmp_path / "adb"
    program.write_text(f"#!/bin/sh\nprintf '%s' \"{said}\" >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(EdgecnnError, match=rf"^adb:0123: .*{told}"):
        open_target("adb:0123").__enter__()
