"""What `edgecnn` exports is the public API: sorted, importable, documented."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgecnn

PAGE = Path(__file__).parents[1] / "docs/python.md"


def test_all_is_sorted() -> None:
    """`__all__` is sorted, and names nothing twice."""
    assert edgecnn.__all__ == sorted(set(edgecnn.__all__))


@pytest.mark.parametrize("name", edgecnn.__all__)
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    """Every public name can be imported and has a docstring."""
    assert getattr(edgecnn, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not public fails as Python users expect it to."""
    with pytest.raises(AttributeError, match="nonsense"):
        edgecnn.nonsense  # noqa: B018


def test_dir_lists_the_api() -> None:
    """`dir(edgecnn)` shows the public names before any was used."""
    assert set(edgecnn.__all__) <= set(dir(edgecnn))


def test_the_page_documents_exactly_the_api() -> None:
    """docs/python.md names every public name, and its code uses no other."""
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    used = set(re.findall(r"\bedgecnn\.(\w+)\(", code))
    for names in re.findall(r"from edgecnn import ([\w, ]+)", code):
        used |= {name.strip() for name in names.split(",")}
    assert used <= set(edgecnn.__all__)
    missing = [name for name in edgecnn.__all__ if not re.search(rf"\b{name}\b", text)]
    assert not missing, f"not in docs/python.md: {', '.join(missing)}"


@pytest.mark.slow
def test_the_reference_has_every_name(tmp_path: Path) -> None:
    """`make docs` writes one page with a section for each public name."""
    program = Path(__file__).parents[1] / "docs/make_api.py"
    subprocess.run([sys.executable, program, tmp_path], check=True, capture_output=True)
    page = (tmp_path / "edgecnn.html").read_text(encoding="utf-8")
    assert [name for name in edgecnn.__all__ if f'<section id="{name}">' not in page] == []
