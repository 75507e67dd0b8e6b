"""What the READMEs of the data folders show is what lies there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgecnn.benchmarks.suite import Suite
from edgecnn.parsing import read_toml

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("shipped", ["export/mcu.toml", "benchmarks/suites/regression.toml"])
def test_the_file_in_the_readme_is_the_shipped_one(shipped: str) -> None:
    """The README beside recipes and suites shows a whole file first, and it is the shipped one to the letter."""
    assert shown(ROOT / shipped)[0] == (ROOT / shipped).read_text(encoding="utf-8")


def test_the_full_suite_in_the_readme_is_read(tmp_path: Path) -> None:
    """The suite that names everything is one that edgecnn takes."""
    (tmp_path / "full.toml").write_text(shown(ROOT / "benchmarks/suites/regression.toml")[1], encoding="utf-8")
    suite = read_toml(tmp_path / "full.toml", Suite)
    assert (suite.devices, suite.effort.processes) == (("host", "rpi4"), 9)


def shown(beside: Path) -> list[str]:
    """Return the TOML files that the README beside a file shows."""
    return re.findall(r"```toml\n(.*?)```", (beside.parent / "README.md").read_text(encoding="utf-8"), re.S)
