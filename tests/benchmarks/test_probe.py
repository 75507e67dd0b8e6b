"""A profile read from a machine behind ssh, written as TOML, read again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ssh_server import SshServer

from edgecnn.benchmarks.probe import probe_device, profile_toml
from edgecnn.device import Core, DeviceProfile, MemoryRegion, RuntimeCost, add_device, load_device, profile_of
from edgecnn.errors import EdgecnnError
from edgecnn.host import HostFacts
from edgecnn.targets.ssh import CONFIG_VARIABLE

TEXT = st.text(st.characters(codec="utf-8"), min_size=1)
CORES = st.builds(Core, TEXT, st.integers(1, 256), st.none() | st.integers(1, 6000).map(float))
MEMORY = st.builds(MemoryRegion, st.just("ram"), st.integers(2, 1 << 40), st.none() | st.just(1))
PROFILES = st.builds(
    DeviceProfile,
    name=st.just("it"),
    title=TEXT,
    kind=st.sampled_from(["linux", "android", "mcu"]),
    arch=TEXT,
    sources=st.dictionaries(TEXT, TEXT),
    soc=st.none() | TEXT,
    cores=st.lists(CORES, max_size=3).map(tuple),
    features=st.lists(TEXT, max_size=3).map(tuple),
    memory=st.lists(MEMORY, max_size=1).map(tuple),
    governor=st.none() | TEXT,
    runtimes=st.dictionaries(
        TEXT, st.builds(RuntimeCost, st.integers(1, 1 << 30), st.none() | st.integers(1, 1 << 30))
    ),
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """A server that the user's configuration leads to."""
    folder = tmp_path / "sshd"
    folder.mkdir()
    made = SshServer(folder)
    monkeypatch.setenv(CONFIG_VARIABLE, str(made.config))
    yield made
    made.close()


@pytest.mark.slow
@given(profile=PROFILES)
def test_what_is_written_is_read_again(profile: DeviceProfile, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A profile comes back from its TOML file as it was, whatever its texts hold."""
    path = tmp_path_factory.getbasetemp() / "it.toml"
    path.write_text(profile_toml(profile), encoding="utf-8", newline="")
    assert load_device(str(path)) == profile


def test_a_board_tells_of_itself(server: SshServer) -> None:
    """What is read over ssh of this machine is what is read on it, each fact with its source and the board's name."""
    over_ssh, here = probe_device(server.name), probe_device("local")
    same = ("title", "kind", "arch", "soc", "features", "governor")
    assert {key: getattr(over_ssh, key) for key in same} == {key: getattr(here, key) for key in same}
    assert [(core.name, core.count) for core in over_ssh.cores] == [(core.name, core.count) for core in here.cores]
    assert [region.size_bytes for region in over_ssh.memory] == [region.size_bytes for region in here.memory]
    assert set(over_ssh.sources) == set(over_ssh.facts())
    read = {fact: source for fact, source in over_ssh.sources.items() if not fact.startswith("runtimes.")}
    assert all(f"read from {server.name} on 20" in source for source in read.values())
    assert server.left() == []


@pytest.mark.parametrize(
    ("arch", "features", "alike"),
    [("aarch64", ("neon",), "rpi4"), ("aarch64", ("neon", "fp16"), "rpi5"), ("x86_64", (), "x86-avx2")],
)
def test_what_runtimes_take_is_that_of_cores_alike(arch: str, features: tuple[str, ...], alike: str) -> None:
    """Of a machine that no measurement was taken on, the memory of the runtimes is a similar device's, and says so."""
    profile = profile_of(HostFacts(title="a board", system="linux", arch=arch, features=features), "probed")
    assert profile.runtimes == load_device(alike).runtimes
    assert profile.sources["runtimes.litert.ram"].startswith(f"as {alike}: ")
    assert profile_of(HostFacts(title="a board", system="linux", arch="armv7l"), "probed").runtimes == {}


def test_another_system_is_not_guessed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is no Linux is refused, rather than told of in the words of one."""
    uname = tmp_path / "uname"
    uname.write_text("#!/bin/sh\necho FreeBSD\n")
    uname.chmod(0o755)
    folder = tmp_path / "other"
    folder.mkdir()
    other = SshServer(folder, PATH=f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    try:
        monkeypatch.setenv(CONFIG_VARIABLE, str(other.config))
        with pytest.raises(EdgecnnError, match="runs FreeBSD; only Linux boards"):
            probe_device(other.name)
    finally:
        other.close()


def test_an_added_device_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checked file goes to the user's folder under its own name, and can be replaced by a newer one."""
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path / "home"))
    profile = replace(probe_device("local"), name="my-pi")
    file = tmp_path / "my-pi.toml"
    file.write_text(profile_toml(profile), encoding="utf-8")
    assert add_device(file) == tmp_path / "home/devices/my-pi.toml"
    assert load_device("my-pi") == profile
    file.write_text(profile_toml(replace(profile, title="newer")), encoding="utf-8")
    add_device(file)
    assert load_device("my-pi").title == "newer"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rpi4.toml", None, "'rpi4' is a device of the catalogue"),
        ("host.toml", None, "'host' is a device of the catalogue"),
        ("my pi.toml", None, "'my pi' is not a device name"),
        ("my-pi.json", None, "no device file at"),
        ("my-pi.toml", "title = ", "not a TOML file"),
        ("my-pi.toml", 'title = "x"\n', "missing key"),
    ],
)
def test_what_is_no_device_is_not_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None, told: str
) -> None:
    """A broken file, or a name that is taken or is none, is refused and leaves nothing."""
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path / "home"))
    file = tmp_path / name
    file.write_text(profile_toml(probe_device("local")) if content is None else content, encoding="utf-8")
    with pytest.raises(EdgecnnError, match=told):
        add_device(file)
    assert not (tmp_path / "home").exists()
