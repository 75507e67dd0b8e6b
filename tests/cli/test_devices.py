"""`edgecnn devices`, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from called import edgecnn

from edgecnn.device import device_names


def test_lists_every_device() -> None:
    """The table has a row for every known device."""
    run = edgecnn("devices")
    assert run.returncode == 0, run.stderr
    assert [name for name in device_names() if f" {name} " not in run.stdout] == []


def test_list_is_the_catalogue() -> None:
    """`edgecnn devices list` prints what `edgecnn devices` does, as a table and as JSON."""
    assert edgecnn("devices", "list").stdout.splitlines()[:5] == edgecnn("devices").stdout.splitlines()[:5]
    names = [profile["name"] for profile in json.loads(edgecnn("devices", "list", "--json").stdout)]
    assert names == [profile["name"] for profile in json.loads(edgecnn("devices", "--json").stdout)]


def test_shows_a_profile_with_its_sources() -> None:
    """One profile comes with the source of each fact, and what is left of the RAM."""
    run = edgecnn("devices", "rpizero2w")
    assert run.returncode == 0, run.stderr
    assert "raspberrypi/documentation" in run.stdout
    assert "ram: 291 MiB available for a runtime and its model" in run.stdout


def test_an_unknown_part_of_the_system_is_not_left() -> None:
    """Where it is not known what the system takes, all of the RAM is not called left."""
    shown = edgecnn("devices", "pixel7pro").stdout
    assert "ram: 12.0 GiB in total; the share of the system or the firmware is unknown" in shown
    assert "available for" not in shown
    assert "by the figures of its kinds of cores, with wider bands: litert fp32 at 1, 2, 4 threads" in shown


def test_json_has_bytes_and_null() -> None:
    """`--json` gives sizes in bytes, and null for what is not known."""
    profile = json.loads(edgecnn("devices", "stm32h7a3", "--json").stdout)
    assert profile["memory"][0] == {
        "name": "ram",
        "size_bytes": 1024 * 1024,
        "system_bytes": None,
        "limit_bytes": 1024 * 1024,
    }
    assert profile["idle_w"] is None


def test_json_of_the_catalogue_is_a_list_of_profiles() -> None:
    """`edgecnn devices --json` gives the profiles, host among them."""
    profiles = json.loads(edgecnn("devices", "--json").stdout)
    assert [profile["name"] for profile in profiles] == device_names()


def test_unknown_device_gets_a_near_match() -> None:
    """A name that is not known gets the near matches and how to see all names, on one line, and exit code 2."""
    run = edgecnn("devices", "rpi44")
    assert run.returncode == 2
    assert "did you mean 'rpi4'" in run.stderr
    assert "edgecnn devices lists them" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('title = "x"\nkind = "linux"\narch = "a"\nsizes = 3\n[sources]\n', "'sizes'"),
        ('title = 3\nkind = "linux"\narch = "a"\n[sources]\n', "title: expected str, found 3"),
        ("title = ", "not a TOML file"),
        ('title = "x"\nkind = "phone"\narch = "a"\n[sources]\n', "'phone'"),
        ('title = "x"\n', "missing keys 'kind', 'arch', 'sources'"),
        (
            'title = "x"\nkind = "phone"\narch = "a"\ndefault_variant = "big"\n[sources]\n'
            '[[memory]]\nname = "ram"\nsize = 0\n',
            "known: android, linux, macos, mcu, windows; unknown default_variant in",
        ),
    ],
)
def test_broken_file_is_one_line(tmp_path: Path, content: str, told: str) -> None:
    """A device file that is broken is told of on one line that names the file and the key."""
    path = tmp_path / "mine.toml"
    path.write_text(content, encoding="utf-8")
    run = edgecnn("devices", str(path))
    assert run.returncode == 2
    assert str(path) in run.stderr
    assert told in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_users_own_device_is_found(tmp_path: Path) -> None:
    """A file in the user's own folder is a device by its name."""
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices/mine.toml").write_text('title = "My board"\nkind = "linux"\narch = "a"\n[sources]\n')
    assert "My board" in edgecnn("devices", "mine", EDGECNN_HOME=str(tmp_path)).stdout
