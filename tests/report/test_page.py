"""The page is whole, needs nothing beside it, and shows everything it was given."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgecnn.report import ReportFacts, write_report


class Page(HTMLParser):
    """Reads a page, and checks that every element that is opened is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and that it is open."""
        self.handle_startendtag(tag, attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Check that the element opened last is the one closed."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a piece of text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text outside the style sheet, white space as one blank."""
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def page(written: Any) -> Page:
    """The page, read."""
    return Page(written.page)


def test_it_is_well_formed(page: Page) -> None:
    """Every element is closed in its place, and no id is given twice."""
    assert page.open == []
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_it_needs_nothing_beside_it(page: Page, written: Any) -> None:
    """No script, no link, no address: what is referred to is in the page itself."""
    assert not {"script", "link", "img", "iframe", "base"} & set(page.tags)
    referred = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
    ids = {value for name, value in page.attributes if name == "id"}
    assert all(value.startswith("#") and value[1:] in ids for value in referred)
    assert re.findall(r"url\((?!#)|@import|https?://", written.page) == []


def test_everything_given_is_shown(page: Page, written: Any) -> None:
    """Each file, device, memory, warning, assumption, step and command stands on the page."""
    given = written.arguments
    facts: ReportFacts = given["facts"]
    expected = [given["title"], facts.model, *facts.steps, *facts.warnings, *facts.commands, "it was hot"]
    expected += [file.path.name for file in given["files"]] + [Path(given["measurements"][1].file).name]
    expected += ["pixels, we think", "SQNR of 2.0 dB", "RELU kept", "20.0 dB", "identical", "98.14 %"]
    for fit in given["fits"]:
        expected += [fit.device, *fit.notes, *fit.next_steps, *(region.name for region in fit.regions)]
        expected += [part for region in fit.regions for part, size in region.parts.items() if size]
    shown = " ".join(page.text.split())
    assert [text for text in expected if " ".join(text.split()) not in shown] == []
    assert page.tags["svg"] == 5 + 1  # files: four plots; layers; live bytes of TFLite Micro


def test_a_hostile_name_stays_text(page: Page, written: Any) -> None:
    """What a user wrote is never a tag."""
    assert "<script" not in written.page
    assert "<b>bold" not in written.page
    assert '<script>alert("x")</script>' in page.text


def test_the_same_gives_the_same_bytes(written: Any, tmp_path: Path) -> None:
    """Two reports of the same things are the same file."""
    again = write_report(tmp_path / "again.html", **written.arguments)
    assert again.read_text(encoding="utf-8") == written.page


def test_a_figure_not_taken_is_a_dash(written: Any) -> None:
    """The file that was not measured has no latency, and the one that was not verified no accuracy; neither is 0."""
    cells = {}
    for row in re.findall(r"<tr>(.*?)</tr>", written.page):
        found = re.findall(r'data-label="([a-zA-Z0-9 ]+)[^"]*"><span>(.*?)</span>', row)
        values = {name.strip(): value for name, value in found}
        if values:
            cells[re.sub(r"<.*?>", "", values["file"].partition("</strong>")[0])] = values
    rejected, alone = cells["net.w8a8.tflite"], cells["&lt;b&gt;bold&lt;&amp;.tflite"]
    assert [rejected[name] for name in ("runtime", "p50", "p90", "peak RSS")] == ["–"] * 4
    assert [alone[name] for name in ("accuracy", "SQNR", "verdict")] == ["–"] * 3
    assert "–" not in (rejected["SQNR"], alone["p50"], rejected["size"])


def test_nothing_measured_is_a_page_too(tmp_path: Path) -> None:
    """Without files, measurements and devices the page says what it can."""
    page = Page(write_report(tmp_path / "r.html", title="T", facts=ReportFacts("net"), files=[]).read_text("utf-8"))
    assert page.open == []
    assert "0 files written" in page.text
    assert page.tags["svg"] == 0


@pytest.mark.parametrize("left_out", ["files", "measurements", "fits"])
def test_any_part_may_be_absent(left_out: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    """A report of all but one kind of thing is whole."""
    page = Page(write_report(tmp_path / "r.html", **{**arguments, left_out: []}).read_text("utf-8"))
    assert page.open == []
    assert page.tags["svg"] > 0
