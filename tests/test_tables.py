"""Tables of things that are imported on use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.tables import Table
from edgecnn.user_code import load_attribute

TABLE = Table("shape", {"parse": "edgecnn.units:parse_bytes", "broken": "nonsense_module:thing"})


def test_names_are_sorted() -> None:
    """The known names come sorted, and nothing is imported for them."""
    assert TABLE.names() == ["broken", "parse"]


def test_load_imports_on_use() -> None:
    """A row gives the object it names."""
    assert TABLE.load("parse")("1KiB") == 1024


def test_unknown_row_names_the_kind() -> None:
    """A row that is not there is answered with what was looked for, the near match and the known names."""
    with pytest.raises(EdgecnnError, match=r"unknown shape 'prase'; did you mean 'parse'\? known: broken, parse"):
        TABLE.load("prase")


@pytest.mark.parametrize("where", ["json", "json:", ":dumps", ""])
def test_another_form_is_refused(where: str) -> None:
    """What is not `package.module:attribute` is refused with that form."""
    with pytest.raises(EdgecnnError, match=r"package\.module:attribute"):
        load_attribute(where)


def test_unknown_attribute_gets_a_near_match() -> None:
    """A module without the attribute is answered with one that is near."""
    with pytest.raises(EdgecnnError, match="did you mean 'parse_bytes'"):
        load_attribute("edgecnn.units:parse_byte")


def test_missing_module_stays_what_it_is() -> None:
    """A module that is not there is for the caller to explain."""
    with pytest.raises(ModuleNotFoundError):
        TABLE.load("broken")


def test_others_add_rows_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package adds a row by its entry point, and cannot replace one of ours."""
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgecnn.shape]\ntheirs = json:dumps\nparse = json:loads\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert TABLE.names() == ["broken", "parse", "theirs"]
    assert TABLE.load("theirs")(1) == "1"
    assert TABLE.load("parse")("1KiB") == 1024
