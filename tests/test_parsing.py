"""The reader of JSON and TOML that others wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization
from edgecnn.parsing import BYTES, convert, from_table, parse_json, read_json, read_table, read_toml


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
        ({"text": "", "by_name": {"x": 3}}, r"by_name\.x: expected a table, found 3"),
        ({"text": "", "parts": [{"nam": "a"}]}, r"unknown key in my\.toml: parts\[0\]: 'nam'; did you mean 'name'"),
        ({"text": "", "parts": [{"name": "a", "size": "big"}]}, r"my\.toml: parts\[0\]\.size: 'big' is not a size"),
        ({"text": "", "sizes": {"a": -1}}, r"sizes\.a: expected a size like 64KiB or 65536, found -1"),
        ({"text": "", "sizes": {"a": 1.5}}, r"sizes\.a: expected a size"),
    ],
)
def test_what_is_wrong_is_named(given_table: dict[str, Any], told: str) -> None:
    """Every kind of mistake names the file, the key, and what was expected or is known."""
    with pytest.raises(EdgecnnError, match=told):
        from_table(Thing, given_table, "my.toml")


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Missing, unknown and wrong keys, those of inner tables and lists among them, are one line, in their order."""
    wrong = {
        "count": "3",
        "texts": 1,
        "names": ["a", 2, 3],
        "parts": [{"size": "1KiB"}, {"name": 4, "size": "big"}],
        "sizes": {"a": -1, "b": 2, "c": "x"},
    }
    with pytest.raises(EdgecnnError) as refused:
        from_table(Thing, wrong, "my.toml")
    told = str(refused.value).split("; my.toml: ")
    assert told[0].startswith("my.toml: count: expected int, found '3'; unknown key in my.toml: 'texts'; did you mean")
    assert told[1:] == [
        "names[1]: expected str, found 2",
        "names[2]: expected str, found 3",
        "parts[0]: missing key 'name'",
        "parts[1].name: expected str, found 4",
        *[told[5], told[6]],
        "sizes.c: 'x' is not a size; write it like 64KiB (or 64k), 1.5MB or 65536B",
        "missing key 'text'",
    ]
    assert told[5].startswith("parts[1].size: 'big' is not a size")
    assert told[6].startswith("sizes.a: expected a size")


def test_a_document_of_nothing_but_mistakes_is_a_short_line() -> None:
    """The first dozen are named; a hostile file makes no endless message, and no endless work."""
    with pytest.raises(EdgecnnError) as refused:
        from_table(Thing, {"text": "", "names": list(range(100_000))}, "my.toml")
    assert str(refused.value).count("expected str") == 12
    assert str(refused.value).endswith("; and more")


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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "f.json: not JSON"),
        (b"\xff\xff", "f.json: not JSON"),
        ("[" * 65 + "]" * 65, "f.json: nested more than 64 deep"),
        ("[" * 100_000, "f.json: nested more than 64 deep"),
        ('{"a": [1, {"b": NaN}]}', r"f.json: a\[1\].b: nan is not a finite number"),
        ('{"a": -1e999}', "f.json: a: -inf is not a finite number"),
        (f'{{"a": {10**30}}}', "f.json: a: an integer of more than 64 bits"),
        (f'{{"a": {"9" * 5000}}}', "f.json: not JSON"),
    ],
)
def test_json_that_would_break_what_follows_is_refused(text: str | bytes, told: str) -> None:
    """Depth, infinity and endless integers are refused by file and key, and so is what is no JSON."""
    with pytest.raises(EdgecnnError, match=told):
        parse_json(text, "f.json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 70 + "]" * 70, "nested more than 64 deep"),
        ("a = " + "[" * 100_000, "nested more than 64 deep"),
        (".".join("a" * 70) + " = 1", "nested more than 64 deep"),
        ("[" + ".".join("a" * 300_000) + "]", "nested more than 64 deep"),
        ("a.b = nan", "a.b: nan is not a finite number"),
        ("a = 1e999", "a: inf is not a finite number"),
        ("a = " + "9" * 400, "a: an integer of more than 64 bits"),
        ("a = " + "9" * 5000, "not a TOML file"),
        ("# " + " " * 2**22, "not a TOML file of edgecnn: it has"),
    ],
)
def test_toml_that_would_break_what_follows_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """The same holds for TOML, whose keys can be nested by dots too."""
    path = tmp_path / "f.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EdgecnnError, match=rf"f\.toml: {told}"):
        read_table(path)


def test_what_a_dataclass_refuses_is_named() -> None:
    """A value of the right type that the dataclass itself refuses is told with its place."""
    with pytest.raises(EdgecnnError, match=r"m\.json: normalization: pixels cannot be divided by"):
        from_table(Normalization, {"mean": [0], "std": [0]}, "m.json: normalization")


class Facts(TypedDict, total=False):
    """Some keys that are known."""

    count: int
    names: list[str] | None


@pytest.mark.parametrize(
    ("hint", "value", "told"),
    [
        (Facts, {"count": "3"}, r"f: count: expected int, found '3'"),
        (Facts, {"names": [3]}, r"f: names\[0\]: expected str, found 3"),
        (Facts, 3, "f: expected a table, found 3"),
        (Annotated[Mapping[str, Any], Facts], {"count": None}, r"f: count: expected int, found None"),
        (Literal["NHWC", "NCHW"], "HWC", "unknown value of f: ''HWC''; did you mean 'NHWC'"),
        (Literal["NHWC", "NCHW"], [], "unknown value of f: "),
        (dict[str, float], {"a": [1]}, r"f: a: expected float, found \[1\]"),
        (str, 10**18, "f: expected str, found 1000000000000000000$"),
        (str, ["x" * 1000], r"f: expected str, found \['x{58}\.\.\.$"),
    ],
)
def test_values_of_the_wrong_type_are_named(hint: Any, value: Any, told: str) -> None:
    """Each form of a type that is checked names the key and shows what was found, shortened."""
    with pytest.raises(EdgecnnError, match=told):
        convert(hint, value, "f")


def test_keys_of_a_newer_version_are_kept() -> None:
    """A TypedDict checks the keys that it knows; a list stays a list, null is taken where it may be."""
    given_table = {"count": 3, "names": None, "newer": [1]}
    assert convert(Facts, given_table, "f") == given_table
    assert from_table(Part, {"name": "a", "newer": 1, "size": None}, "f", strict=False) == Part("a")


@dataclass(frozen=True)
class Renamed:
    """Fields that files know by other names."""

    size_bytes: int = field(metadata={**BYTES, "key": "size"})
    predicted: int | None = field(default=None, metadata={"formerly": "foretold"})


def test_a_renamed_field_is_read_under_its_keys() -> None:
    """The key of a field is that of its metadata; an earlier key is read as well, and errors name the key of files."""
    assert from_table(Renamed, {"size": "1KiB", "foretold": 2}, "f.toml") == Renamed(1024, 2)
    assert from_table(Renamed, {"size": 1, "predicted": 3}, "f.toml") == Renamed(1, 3)
    with pytest.raises(EdgecnnError, match="missing key 'size'"):
        from_table(Renamed, {}, "f.toml")
    with pytest.raises(EdgecnnError, match=r"unknown key in f\.toml: 'size_bytes'"):
        from_table(Renamed, {"size": 1, "size_bytes": 1}, "f.toml")


def test_keys_stay_on_the_line_of_the_message(tmp_path: Path) -> None:
    """A key with a line end in it is shown with the escape."""
    (tmp_path / "x.json").write_text('{"a\\nb": 1e999}')
    with pytest.raises(EdgecnnError, match=r"x\.json: a\\nb: inf is not a finite number"):
        read_json(tmp_path / "x.json")
