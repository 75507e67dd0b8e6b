"""What the READMEs of the data folders show is what lies there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_recipe_in_the_readme_is_the_shipped_one() -> None:
    """export/README.md shows a whole recipe, and it is mcu.toml to the letter."""
    shown = re.search(r"```toml\n(.*?)```", (ROOT / "export/README.md").read_text(encoding="utf-8"), re.S)
    assert shown is not None
    assert shown[1] == (ROOT / "export/mcu.toml").read_text(encoding="utf-8")
