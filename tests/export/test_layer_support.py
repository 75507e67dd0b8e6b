"""docs/layers.md says what the files do: a few of its rows, made anew."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgecnn.export import rewrites

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """`benchmarks/layer_support.py`."""
    spec = importlib.util.spec_from_file_location("layer_support", ROOT / "benchmarks" / "layer_support.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["layer_support"] = module  # its dataclasses ask for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_rows_of_the_page_come_out_again(script: ModuleType, tmp_path: Path) -> None:
    """Layers over time, converted in one go: the same words as in docs/layers.md."""
    group = script.GROUPS["over time"]
    names = ["ConvTranspose1d(4, stride=2, padding=1)", "AvgPool1d(3, stride=2, padding=1)", "mean over time"]
    rows = script.rows_of(script.Group(group.shape, {name: group.layers[name] for name in names}), tmp_path)
    page = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8").splitlines()
    assert [script.line(row) for row in rows if script.line(row) not in page] == []


def test_the_page_has_a_row_for_every_layer(script: ModuleType) -> None:
    """A layer that was added to a group of the script is in the page as well."""
    written = script.written()
    assert written
    for name, lines in written.items():
        found = [line.split("`")[1] for line in lines.splitlines()]
        assert found == list(script.GROUPS[name].layers), name


def test_what_is_rewritten_is_an_operator_of_torch() -> None:
    """Each row of the table names an overload, which a later torch may rename."""
    assert all(str(target).startswith("aten.") for target in rewrites.TABLE)
