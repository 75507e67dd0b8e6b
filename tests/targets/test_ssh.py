"""A target behind a real OpenSSH server: what goes there, how it ends, and every way in which it can go wrong."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ssh_server import SshServer, key

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import BenchmarkConfig, time_process
from edgecnn.errors import EdgecnnError
from edgecnn.targets import open_target
from edgecnn.targets.execute import check_runtime, run_file
from edgecnn.targets.ssh import CONFIG_VARIABLE, Ssh

MODEL = Path(__file__).parents[1] / "data/classifier.tflite"
BRIEF = BenchmarkConfig(processes=1, warmup_s=0.01, min_time_s=0.01, min_values=4)
ENDLESS = BenchmarkConfig(processes=1, min_time_s=60)
MakeServer = Callable[..., SshServer]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A server for tests that leave it as it was."""
    made = SshServer(tmp_path_factory.mktemp("sshd"))
    yield made
    made.close()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Start servers of this test's own."""
    made: list[SshServer] = []

    def make(*lines: str, **environment: str) -> SshServer:
        folder = tmp_path / f"sshd{len(made)}"
        folder.mkdir()
        made.append(SshServer(folder, *lines, **environment))
        return made[-1]

    yield make
    for server in made:
        server.close()


def write(tmp_path: Path, source: str) -> Path:
    """Write a program."""
    path = tmp_path / "program.py"
    path.write_text(source)
    return path


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds, for 20 s at most."""
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not come to that")


def test_a_file_goes_there_once_and_nothing_is_left(server: SshServer, tmp_path: Path) -> None:
    """A file is there byte for byte, in a private folder; its like is not sent again; at the end all is gone."""
    awkward = tmp_path / "a b'c;$(touch oops).tflite"
    awkward.write_bytes(os.urandom(300_000))
    twin = tmp_path / "twin.tflite"
    twin.write_bytes(awkward.read_bytes())
    with server.target() as target:
        there = Path(target.push(awkward))
        assert there.read_bytes() == awkward.read_bytes()
        assert there.parent.stat().st_mode & 0o777 == 0o700
        sent_at = there.stat().st_mtime_ns
        assert target.push(twin) == str(there)
        assert there.stat().st_mtime_ns == sent_at
        assert target.machine == os.uname().machine
        assert target.free_bytes
        assert target.free_bytes > 1 << 20
    assert server.left() == []
    assert not list(tmp_path.rglob("oops"))


def test_all_files_of_an_artifact_go_there(server: SshServer, tmp_path: Path) -> None:
    """An ONNX file and its data files lie in one folder there, under their names; other weights are sent anew."""
    (tmp_path / "sub $(id)").mkdir()
    model, data = tmp_path / "it's.onnx", tmp_path / "sub $(id)" / "w;.data"
    model.write_bytes(b"model")
    places = []
    with server.target() as target:
        for content in (b"one", b"two", b"two"):
            data.write_bytes(content)
            there = Path(target.push(model, data))
            assert there.read_bytes() == b"model"
            assert there.name == model.name
            assert (there.parent / data.relative_to(tmp_path)).read_bytes() == content
            places.append(there)
    assert places[0] != places[1] == places[2]
    assert server.left() == []


def test_words_for_the_shell_there_are_quoted(server: SshServer) -> None:
    """What is passed to the shell there arrives as it was, whatever it holds."""
    words = ["a b", "$HOME", "`id`", "';exit 3;'", '"', "\\", "*", "é\n2"]
    with server.target() as target:
        assert target.ask('printf "%s|" "$@"', *words) == "|".join(words) + "|"


def test_a_worker_answers_from_there(server: SshServer) -> None:
    """A worker there measures, and computes to the last bit what one here does."""
    artifact = Artifact.open(MODEL)
    packs = [[np.linspace(-1, 1, 5 * 64, dtype=np.float32).reshape(5, 8, 8, 1)]]
    with server.target() as target:
        taken = time_process(artifact, runtime="litert", threads=1, target=target, effort=BRIEF)
        there = list(run_file(artifact, packs, target=target))
    assert len(taken.run.values_ns) >= 4
    assert (taken.run.memory.peak_bytes or 0) > (taken.run.memory.python_bytes or 0) > 0
    here = list(run_file(artifact, packs))
    assert np.array_equal(here[0][0], there[0][0])


@pytest.mark.parametrize(
    ("source", "ending"),
    [
        ("import os; os.kill(os.getpid(), 11)", "signal 11, SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9, SIGKILL"),
        ("import sys; sys.exit('no numpy here')", "exit code 1: no numpy here"),
        ("pass", "exit code 0"),
    ],
)
def test_an_ending_there_is_told_as_here(server: SshServer, tmp_path: Path, source: str, ending: str) -> None:
    """A signal has its name, an exit code comes with the last line."""
    with server.target() as target, target.run(target.push(write(tmp_path, source))) as process:
        assert process.ending() == ending


def test_a_program_given_up_is_killed_there(server: SshServer, tmp_path: Path) -> None:
    """With the end of `with` a program has ended there too, though the connection lasts."""
    program = write(tmp_path, "import time; print('up', flush=True); time.sleep(60)")
    with server.target() as target:
        there = target.push(program)
        with target.run(there) as process:
            assert process.stdout.readline() == b"up\n"
            assert server.running(there)
        wait_for(lambda: not server.running(there))


def test_a_worker_killed_there_needs_more_memory(server: SshServer, tmp_path: Path) -> None:
    """A worker that the system kills is told as out of memory, with what was free."""

    def kill() -> None:
        wait_for(lambda: server.running("worker") or server.running(".pyz"))
        time.sleep(0.5)
        for pid in server.running(".pyz"):
            if "python3" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]:
                os.kill(pid, signal.SIGKILL)

    with server.target() as target:
        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(EdgecnnError, match=r"needs more memory than the [0-9.]+ [MG]iB that were free on ssh://"):
            time_process(Artifact.open(MODEL), runtime="litert", threads=1, target=target, effort=ENDLESS)
        killer.join()


def test_one_bench_at_a_time(server: SshServer) -> None:
    """The second is told who holds the board; once the first is done, it may."""
    with server.target():
        with pytest.raises(EdgecnnError, match=r"is taken by \w+@\S+ since 20\d\d-"), server.target():
            pass
        assert (server.tmp / "edgecnn.lock").is_file()
    with server.target():
        pass


def test_a_lock_that_is_a_trap_is_not_stepped_into(server: SshServer) -> None:
    """A link, to a file or to nothing, or a pipe in the lock's place is told; what the link leads to stays as it is."""
    lock, precious = server.tmp / "edgecnn.lock", server.tmp / "precious"
    precious.write_text("mine")
    for make in (
        lambda: lock.symlink_to(precious),
        lambda: lock.symlink_to(server.tmp / "nothing"),
        lambda: os.mkfifo(lock),
    ):
        make()
        assert f"{lock} there is no plain file, and may be somebody's trap" in refused(server)
        lock.unlink()
    assert precious.read_text() == "mine"
    assert sorted(os.listdir(server.tmp)) == ["precious"]
    precious.unlink()


def test_what_a_killed_keeper_left_goes_with_the_next(server: SshServer) -> None:
    """The folder of a keeper that was killed is removed by the next; a user's own folder and links stay."""
    (server.tmp / ".edgecnn-work-abcdef").mkdir()
    (server.tmp / ".edgecnn-work-abcdef/model.tflite").write_text("left")
    (server.tmp / "precious").mkdir(exist_ok=True)
    (server.tmp / ".edgecnn-work-linked").symlink_to("precious")
    (server.tmp / "edgecnn-models").mkdir()
    with server.target():
        assert not (server.tmp / ".edgecnn-work-abcdef").exists()
    assert sorted(os.listdir(server.tmp)) == [".edgecnn-work-linked", "edgecnn-models", "precious"]
    (server.tmp / ".edgecnn-work-linked").unlink()
    (server.tmp / "edgecnn-models").rmdir()
    (server.tmp / "precious").rmdir()


def test_the_name_is_read(monkeypatch: pytest.MonkeyPatch, server: SshServer) -> None:
    """User, host and port come from the name; `open_target` takes it; what could be an option of ssh is refused."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(server.config))
    with open_target(server.name) as target:
        assert target.name == server.name
    for bad in (
        "ssh://",
        "ssh://-oProxyCommand=id",
        "ssh://-l@host",
        "ssh://u:secret@host",
        "ssh://h:port",
        "ssh://h/x",
    ):
        with pytest.raises(EdgecnnError, match="is no ssh target; write ssh://user@host"):
            Ssh(bad)


# Ways in which it goes wrong.


def refused(server: SshServer) -> str:
    """Return the error of opening the target, which has to be one line."""
    with pytest.raises(EdgecnnError) as caught, server.target():
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_changed_host_key_is_refused(make_server: MakeServer) -> None:
    """Another host key than the known one ends it, with the line that forgets the old one."""
    server = make_server()
    key(server.folder / "other")
    server.know(server.folder / "other.pub")
    assert "its host key has changed" in (told := refused(server))
    assert "ssh-keygen -R 127.0.0.1" in told


def test_an_unknown_host_key_is_refused(make_server: MakeServer) -> None:
    """A host that was never seen is not trusted behind the user's back."""
    server = make_server()
    server.know(None)
    assert "its host key is not known here" in refused(server)
    assert (server.folder / "known_hosts").read_text() == ""


def test_a_refused_key_is_told(make_server: MakeServer) -> None:
    """A key that the host does not take gets the line that gives it one."""
    server = make_server()
    key(server.folder / "stranger")
    server.configure("stranger")
    assert f"ssh-copy-id -F {server.config} -p {server.port}" in refused(server)


def test_an_unknown_host_and_a_closed_port(server: SshServer) -> None:
    """A name that stands for nothing, and a port where nobody listens."""
    with pytest.raises(EdgecnnError, match=r"the host 'board\.invalid' is not known"), Ssh("ssh://board.invalid"):
        pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can have it
        name = f"ssh://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EdgecnnError, match="the connection was refused"), Ssh(name, server.config):
            pass


def test_a_connection_cut_while_it_measures(make_server: MakeServer) -> None:
    """It is told as such at once, and nothing of ours stays there: no folder, no program."""
    server = make_server()

    def cut() -> None:
        wait_for(lambda: server.running(".pyz"))
        time.sleep(0.5)
        server.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    start = time.monotonic()
    with pytest.raises(EdgecnnError, match=r"the connection to ssh://.* was lost"), server.target() as target:
        time_process(Artifact.open(MODEL), runtime="litert", threads=1, target=target, effort=ENDLESS)
    cutter.join()
    assert time.monotonic() - start < 20
    assert server.left() == []


def test_a_connection_cut_while_a_file_goes_there(make_server: MakeServer, tmp_path: Path) -> None:
    """A half-sent file is told as a lost connection, and does not stay."""
    server = make_server()
    big = tmp_path / "big.onnx"
    with big.open("wb") as file:
        file.truncate(1 << 29)
    cutter = threading.Thread(target=lambda: (wait_for(lambda: [*server.tmp.glob("*/*.part")]), server.cut()))
    cutter.start()
    with (
        pytest.raises(EdgecnnError, match=r"big.onnx \(512 MiB\): the connection to .* was lost"),
        server.target() as target,
    ):
        target.push(big)
    cutter.join()
    assert server.left() == []


def test_a_full_disk_there(make_server: MakeServer, tmp_path: Path) -> None:
    """A file for which there is no room is told with its size and place; what was begun does not stay."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        server = make_server(TMPDIR=str(small))
        big = tmp_path / "big.tflite"
        big.write_bytes(bytes(1 << 20))
        with (
            pytest.raises(EdgecnnError, match=rf"big.tflite \(1.0 MiB\): no space left in {small} on ssh://") as caught,
            server.target() as target,
        ):
            target.push(big)
        assert "\n" not in str(caught.value)
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_host_that_prints_of_itself(make_server: MakeServer) -> None:
    """A start-up file there that greets everybody is told as the cause."""
    server = make_server('ForceCommand echo Welcome; eval "$SSH_ORIGINAL_COMMAND"')
    assert "says 'Welcome', which is not ours; does a start-up file there (.bashrc) print something" in refused(server)


def tools_without_python(folder: Path) -> str:
    """Return a PATH on which there is a shell and what it needs, and no Python."""
    folder.mkdir()
    for name in ("sh", "cat", "mktemp", "rm", "uname", "sed", "flock", "sha256sum", "mv", "mkdir"):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return str(folder)


def test_a_host_without_python(make_server: MakeServer, tmp_path: Path) -> None:
    """No Python, or one that is too old, is told with the line that installs it."""
    path = tools_without_python(tmp_path / "bin")
    server = make_server(PATH=path)
    assert "has no Python; measuring there needs 3.9 or later: ssh -F" in refused(server)
    old = Path(path) / "python3"
    old.write_text("#!/bin/sh\necho 3.7\n")
    old.chmod(0o755)
    assert "has Python 3.7; measuring there needs 3.9 or later" in refused(server)


def bare_python(folder: Path, *packages: str) -> str:
    """Return a PATH that begins with a Python that has *packages* of ours and no others."""
    venv.create(folder)
    site = next((folder / "lib").glob("python*/site-packages"))
    for package in packages:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        found = Path(spec.origin).parent
        for path in [found, *found.parent.glob(f"{package}.libs")]:
            (site / path.name).symlink_to(path)
    return f"{folder}/bin:{os.environ['PATH']}"


def test_a_host_without_numpy(make_server: MakeServer, tmp_path: Path) -> None:
    """A Python without numpy gets the exact line that installs it and the runtime, for us alone."""
    server = make_server(PATH=bare_python(tmp_path / "bare"))
    install = r"python3 -m pip install --target \S+/edgecnn/python3\.\d+ ai-edge-litert numpy"
    line = rf'ssh -F \S+ -p {server.port} \S+ "{install}"'
    with server.target() as target, pytest.raises(EdgecnnError, match=rf"No module named 'numpy'.*{line}"):
        time_process(Artifact.open(MODEL), runtime="litert", threads=1, target=target, effort=BRIEF)


def test_a_runtime_for_another_processor(make_server: MakeServer, tmp_path: Path) -> None:
    """A library built for another architecture is told as such; the loader itself only says that it is not there."""
    path = bare_python(tmp_path / "bare", "numpy")
    package = next((tmp_path / "bare/lib").glob("python*/site-packages")) / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    library = bytearray(next(Path(np.__file__).parent.rglob("*.so")).read_bytes())
    library[18:20] = b"\x16\x00"  # e_machine: System/390
    (package / "interpreter.so").write_bytes(library)
    server = make_server(PATH=path)
    with (
        server.target() as target,
        pytest.raises(EdgecnnError, match=r"the installed package is for another processor"),
    ):
        check_runtime("litert", target)


def test_a_missing_runtime_is_installed_when_asked(make_server: MakeServer, tmp_path: Path) -> None:
    """Nothing is installed unasked; when asked, it goes to a folder of our own there, and is found."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("ai_edge_litert", "numpy"):
        wheel(wheels, name)
    path = bare_python(tmp_path / "bare", "numpy", "pip")
    server = make_server(PATH=path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
    with server.target() as target:
        with pytest.raises(EdgecnnError, match=r"litert is not installed on ssh://.*No module named 'ai_edge_litert'"):
            check_runtime("litert", target)
        assert not (server.folder / ".cache").exists()
        check_runtime("litert", target, install=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert (server.folder / ".cache/edgecnn" / version / "ai_edge_litert").is_dir()


def test_a_host_without_pip(make_server: MakeServer, tmp_path: Path) -> None:
    """Installing without pip there says how to get it."""
    server = make_server(PATH=bare_python(tmp_path / "bare", "numpy"))
    with server.target() as target, pytest.raises(EdgecnnError, match=r"has no pip .* apt-get install -y python3-pip"):
        check_runtime("litert", target, install=True)


def wheel(folder: Path, name: str) -> None:
    """Write a wheel as small as they come; the package in it leads to the real numpy."""
    link = f"__path__ = [{str(Path(np.__file__).parent)!r}]\nexec(open(__path__[0] + '/__init__.py').read())\n"
    info = f"{name}-9.0.dist-info"
    files = {
        f"{name}/__init__.py": link if name == "numpy" else "",
        f"{name}/interpreter.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 9.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-9.0-py3-none-any.whl", "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, content)
