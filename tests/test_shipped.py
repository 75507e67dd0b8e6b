"""Where the files that people add are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.shipped import find_shipped, shipped, shipped_files


def test_a_users_own_file_hides_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own folder is searched too, and wins."""
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path))
    shipped_rpi4 = find_shipped("devices", "rpi4", "device")
    assert shipped_rpi4 == shipped("devices") / "rpi4.toml"
    (tmp_path / "devices").mkdir()
    for name in ("rpi4", "mine"):
        (tmp_path / f"devices/{name}.toml").touch()
    assert find_shipped("devices", "rpi4", "device") == tmp_path / "devices/rpi4.toml"
    assert "mine" in shipped_files("devices")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    """What looks like a path is one; a path that is not there is told of."""
    path = tmp_path / "mine.toml"
    path.touch()
    assert find_shipped("devices", str(path), "device") == path
    with pytest.raises(EdgecnnError, match=r"no device file at 'not/there\.toml'"):
        find_shipped("devices", "not/there.toml", "device")
