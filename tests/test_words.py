"""Names and sentences that were replaced by the field's own terms stay out of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Distinctive names and phrases, as regular expressions; common English words cannot be looked for.
WORDS = (
    *(r"\bforet(?:ell|old|elling)\w*(?<!foretold_rss_bytes)", r"\bForetold\b", r"\bharms?\b", r"\bStanding\b"),
    *(r"\b_Lessons\b", r"\bpupils?\b", r"--views\b", r"\bheld_out_of\b", r"\bsettle_lazy\b", r"\b_Gauge\b"),
    *(r"\bmistrusted\b", r"\bworkable\b", r"\bEffort\b", r"\bis_at_hand\b", r"\bway_to_measure\b", r"\b_leading_to\b"),
    *(r"\btaken_out\b", r"\btelling_\w+", r"\binteger_ends\b", r"\bMemoryRegion\([^)]*\bsystem=", "furthest off"),
    *("figure says how it came to be", "told with the operators", "what may be left, one goal or several"),
    *("what costs least for what it saves", "by heart", "Goals that are missed are told", "Files that others made"),
    *("at the end nothing is left", "taken back where it makes it worse", "[Ww]hose figures", "that is none yet"),
    *("What to export for whom", "What the input expects of pixels", "is no network and no file"),
    *("what should it fit", r"\bwhere nothing says it\b"),
)

#: The keys by which files of earlier versions are still read.
STILL_READ = re.compile(r"[\"'](?:formerly|held_out|held_out_of|views|foretold|foretold_rss_bytes)[\"']")

FOLDERS = ("edgecnn", "tests", "benchmarks", "devices", "export", "docs")


@pytest.fixture(scope="module")
def texts() -> dict[Path, str]:
    """What each file says, without the keys of older files."""
    found = [
        path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".toml")
    ]
    files = sorted({*found, *ROOT.glob("*.md")} - {Path(__file__)})
    return {path: STILL_READ.sub("", path.read_text(encoding="utf-8")) for path in files}


@pytest.mark.parametrize("word", WORDS)
def test_a_replaced_word_does_not_come_back(texts: dict[Path, str], word: str) -> None:
    """No file has the word, save as the key of an older file."""
    places = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}"
        for path, text in texts.items()
        for found in re.finditer(word, text)
    ]
    assert not places
