"""The strict TOML reader, and where its files are found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.shipped import BYTES, find_shipped, from_table, read_toml, shipped, shipped_files


@dataclass(frozen=True)
class Part:
    """Something inside."""

    name: str
    size: int | None = field(default=None, metadata=BYTES)


@dataclass(frozen=True)
class Thing:
    """One of every type that a file may hold."""

    text: str
    count: int = 0
    share: float = 0.0
    on: bool = False
    maybe: str | None = None
    parts: tuple[Part, ...] = ()
    names: tuple[str, ...] = ()
    by_name: Mapping[str, Part] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict, metadata=BYTES)


TEXTS = st.text()
SIZES = st.integers(0, 1 << 40)
PARTS = st.builds(Part, TEXTS, st.none() | SIZES)
THINGS = st.builds(
    Thing,
    TEXTS,
    st.integers(-(1 << 60), 1 << 60),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none() | TEXTS,
    st.lists(PARTS).map(tuple),
    st.lists(TEXTS).map(tuple),
    st.dictionaries(TEXTS, PARTS),
    st.dictionaries(TEXTS, SIZES),
)


def table(thing: Any) -> Any:
    """Return what a TOML parser gives for *thing*: tables and lists, and no key for None."""
    if dataclasses.is_dataclass(thing):
        pairs = ((f.name, getattr(thing, f.name)) for f in dataclasses.fields(thing))
        return {name: table(value) for name, value in pairs if value is not None}
    if isinstance(thing, dict):
        return {name: table(value) for name, value in thing.items()}
    return [table(value) for value in thing] if isinstance(thing, tuple) else thing


@given(THINGS)
def test_any_table_round_trips(thing: Thing) -> None:
    """A dataclass turned into a table is read back as it was."""
    assert from_table(Thing, table(thing), "file") == thing


def test_a_whole_number_is_a_float_too() -> None:
    """`share = 1` is read as 1.0, as people write it."""
    assert from_table(Thing, {"text": "", "share": 1}, "file").share == 1.0


def test_sizes_may_have_units() -> None:
    """A size is text with a unit or a number of bytes, alone and in a table of sizes."""
    thing = from_table(Thing, {"text": "", "parts": [{"name": "a", "size": "1KiB"}], "sizes": {"b": "2KiB"}}, "file")
    assert thing.parts == (Part("a", 1024),)
    assert thing.sizes == {"b": 2048}


@pytest.mark.parametrize(
    ("given_table", "told"),
    [
        ({"text": "", "texts": ""}, r"unknown key in my\.toml: 'texts'; did you mean 'text'\? known: by_name, count"),
        ({}, r"my\.toml: missing key 'text'"),
        ({"text": 3}, r"my\.toml: text: expected str, found 3"),
        ({"text": "", "count": "3"}, r"count: expected int, found '3'"),
        ({"text": "", "count": True}, r"count: expected int, found True"),
        ({"text": "", "share": False}, r"share: expected float, found False"),
        ({"text": "", "on": 1}, r"on: expected bool, found 1"),
        ({"text": "", "names": "a"}, r"names: expected a list, found 'a'"),
        ({"text": "", "names": ["a", 2]}, r"names\[1\]: expected str, found 2"),
        ({"text": "", "by_name": []}, r"by_name: expected a table, found \[\]"),
        ({"text": "", "by_name": {"x": 3}}, r"by_name\.x: expected a table, found int"),
        ({"text": "", "parts": [{"nam": "a"}]}, r"unknown key in my\.toml: parts\[0\]: 'nam'; did you mean 'name'"),
        ({"text": "", "parts": [{"name": "a", "size": "big"}]}, r"parts\[0\]: size: 'big' is not a size"),
        ({"text": "", "sizes": {"a": -1}}, r"sizes\.a: expected a size like 64KiB or 65536, found -1"),
        ({"text": "", "sizes": {"a": 1.5}}, r"sizes\.a: expected a size"),
    ],
)
def test_what_is_wrong_is_named(given_table: dict[str, Any], told: str) -> None:
    """Every kind of mistake names the file, the key, and what was expected or is known."""
    with pytest.raises(EdgecnnError, match=told):
        from_table(Thing, given_table, "my.toml")


def test_given_fields_are_not_the_files_to_set(tmp_path: Path) -> None:
    """A field that the caller gives is no key of the file."""
    path = tmp_path / "thing.toml"
    path.write_text('name = "other"\n', encoding="utf-8")
    with pytest.raises(EdgecnnError, match="unknown key"):
        read_toml(path, Part, name="thing")


@pytest.mark.parametrize("content", [b"text = ", b"\xff\xfe", b"[text"])
def test_what_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    """A file that is no TOML is named as such."""
    path = tmp_path / "thing.toml"
    path.write_bytes(content)
    with pytest.raises(EdgecnnError, match=r"thing\.toml: not a TOML file"):
        read_toml(path, Thing)


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
