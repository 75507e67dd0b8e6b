"""What the README and the pages of the documentation show is run as it stands there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from forked import forked
from run_page import blocks, run_page

from edgecnn.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [
    README,
    *PAGES,
    *ROOT.glob("benchmarks/README.md"),
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
]

#: The pages that go on with the files of the README, in the order in which one needs the other.
ORDER = ("compress", "export", "fit", "measure", "boards", "own-network", "python", "study")
#: Run in folders of their own: the first hour from the wheel, by tests/test_wheel.py.
ALONE = ("first-hour", "data", "tasks")


def run(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the blocks of a page in *folder*, in a process of its own."""
    return forked(run_page, page.read_text(encoding="utf-8"), cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the README were run."""
    path = tmp_path_factory.mktemp("docs")
    done = run(README, path)
    assert done.returncode == 0, done.stderr
    return path


def test_the_readme_leaves_the_files_it_promises(folder: Path) -> None:
    """The commands of the README run in order and leave the board recipe's files."""
    names = {path.name for path in (folder / "out").iterdir() if path.suffix in (".onnx", ".tflite")}
    assert names == {f"digits.{precision}.{kind}" for precision in ("fp32", "w8a8") for kind in ("onnx", "tflite")}


@pytest.mark.parametrize("name", ORDER)
def test_the_page_runs(folder: Path, name: str) -> None:
    """Each command and each Python block of a page runs, after those of the pages before it."""
    done = run(ROOT / "docs" / f"{name}.md", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    "page", [ROOT / "docs/data.md", ROOT / "docs/tasks.md", ROOT / "SKILL.md"], ids=lambda page: page.stem
)
def test_the_page_runs_from_an_empty_folder(page: Path, tmp_path: Path) -> None:
    """Pages that stand alone run from nothing, and say so at every step."""
    done = run(page, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_page_that_shows_commands_is_run() -> None:
    """No page with commands or Python is forgotten."""
    shown = {page.stem for page in PAGES if any(kind in ("sh", "python") for kind, _ in blocks(page.read_text()))}
    assert shown == {*ORDER, *ALONE}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page leads to a file or folder of the project, and to a heading that is there."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        where, _, anchor = link.partition("#")
        target = (page.parent / where).resolve() if where else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_command_is_in_the_readme() -> None:
    """The table of commands names all that there are, but for the one that shells call."""
    text = README.read_text(encoding="utf-8")
    assert {name for name in COMMANDS if f"| `edgecnn {name}` |" not in text} == {"completion"}


def test_every_page_is_in_the_readme() -> None:
    """Who reads the README finds every page."""
    text = README.read_text(encoding="utf-8")
    assert [page.name for page in PAGES if f"docs/{page.name}" not in text] == []


def test_the_readme_is_short() -> None:
    """The README has at most 700 words; the pages hold the rest."""
    assert len(README.read_text(encoding="utf-8").split()) <= 700


def test_the_glossary_is_sorted() -> None:
    """Terms are found where the alphabet has them."""
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.M)[2:]
    terms = [re.sub(r"[`]", "", term).casefold() for term in rows]
    assert terms == sorted(terms)
