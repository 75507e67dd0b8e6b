"""The page is whole, needs nothing beside it, and shows everything it was given."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest

from edgecnn.benchmarks.profile import OperatorTime, Profile
from edgecnn.formats.precision import PRECISIONS
from edgecnn.report import ReportFacts, drawing
from edgecnn.report.devices import smallest_each
from edgecnn.report.drawing import COLOURS, role_of
from edgecnn.report.facts import Contents
from edgecnn.report.memory import MEMORIES
from edgecnn.report.page import render_page
from edgecnn.units import format_ns


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
    assert re.findall(r"url\((?!#)|@import", written.page) == []
    assert [value for _, value in page.attributes if "//" in value] == []  # text may name a source


def test_everything_given_is_shown(page: Page, written: Any) -> None:
    """Each file, device, memory, warning, assumption, step and command stands on the page."""
    contents: Contents = written.contents
    facts = contents.facts
    expected = [contents.title, facts.model, *facts.steps, *facts.warnings, *facts.commands, "it was hot"]
    expected += [file.path.name for file in contents.files]
    expected += ["pixels, we think", "assumed unit", "SQNR of 2.0 dB", "RELU kept", "20.0 dB", "identical", "98.14 %"]
    expected += ["litert cannot load it: no luck", "Every file, fastest first", "no coefficients for it"]
    for one in contents.predictions:
        expected += [
            one.device,
            *(MEMORIES.get(region.name, region.name) for region in (one.fit.regions if one.fit else ())),
        ]
        if one.estimate is not None:
            expected += [f"~{format_ns(one.estimate.p50_ns)}", format_ns(one.estimate.low_ns), *one.estimate.rests_on]
    for fit in (one.fit for one in smallest_each(contents.predictions) if one.fit):
        expected += [*fit.notes, *fit.next_steps]
        expected += [part for region in fit.regions for part, size in region.parts.items() if size]
    shown = " ".join(page.text.split())
    assert [text for text in expected if " ".join(text.split()) not in shown] == []
    assert page.tags["svg"] == 5 + 1 + 2  # files: four plots and the confusion matrix; layers; live bytes of two files


def test_every_precision_has_a_colour_and_the_legend_tells_it(page: Page, written: Any) -> None:
    """The legend names the precisions of the files and no other, each in the colour of its plots."""
    legend = re.findall(r'<ul class="legend">(.*?)</ul>', written.page)
    assert len(set(legend)) == 1
    assert re.findall(r"--(\w+)\).*?<strong>(.*?)</strong>", legend[0]) == [("float", "fp32"), ("integer", "w8a8")]
    assert len({COLOURS[role_of(name)] for name in ("fp32", "fp16", "w8", "w8a8", "w8a16")}) == 5
    style = (Path(drawing.__file__).parent / "page.css").read_text(encoding="utf-8")
    assert {style.count(f"--{role_of(name)}:") for name in PRECISIONS} == {3}  # light, dark, print


def test_a_file_that_gains_nothing_is_told_why(page: Page) -> None:
    """An int8 file that is not faster stands on the page with what file and machine tell of the reason."""
    assert "Where a quantized file is not faster" in page.text
    assert "net.w8a8.tflite is no faster than net.fp32.tflite here" in page.text
    assert "the network is small" in page.text


def test_a_hostile_name_stays_text(page: Page, written: Any) -> None:
    """What a user wrote is never a tag."""
    assert "<script" not in written.page
    assert "<b>bold" not in written.page
    assert '<script>alert("x")</script>' in page.text


def test_the_same_gives_the_same_bytes(written: Any) -> None:
    """Two pages of the same contents are the same."""
    assert render_page(written.contents) == written.page


def test_a_figure_not_taken_is_a_dash(written: Any) -> None:
    """A file that was not measured has no latency, and one that was not verified no SQNR; neither is 0."""
    cells = {}
    for row in re.findall(r"<tr>(.*?)</tr>", written.page):
        found = re.findall(r'data-label="([a-zA-Z0-9 ]+)[^"]*"><span>(.*?)</span>', row)
        values = {name.strip(): value for name, value in found}
        if "runtime" in values:
            cells[re.sub(r"<.*?>", "", values["file"].partition("</strong>")[0])] = values
    rejected, alone = cells["net.other.tflite"], cells["net.w8a8.tflite"]
    assert [rejected[name] for name in ("runtime", "p50", "p90", "peak RSS")] == ["–"] * 4
    assert [alone[name] for name in ("SQNR", "verdict")] == ["–"] * 2
    assert "–" not in (rejected["SQNR"], alone["p50"], rejected["size"])


def test_operators_and_what_to_ship_are_shown() -> None:
    """A profile becomes a table of its slowest operators beside the whole call, and int8's losses a sentence."""
    times = tuple(OperatorTime("Conv <b>", 1000.0 * place, f"layer{place}", macs=10) for place in range(1, 15))
    own = Profile(
        file="m.w8a8.tflite",
        format="tflite",
        precision="w8a8",
        runtime="litert",
        runtime_version="2",
        device="host",
        target="local",
        method="measured",
        threads=1,
        whole_ns=2e5,
        operators=times,
        limit="x",
    )
    plain = replace(own, file="m.fp32.tflite", precision="fp32", operators=times[:1] * 14)
    page = render_page(Contents("t", ReportFacts("t"), profiles=(own, plain)))
    for words in ("the slowest 12 of 14", "the whole call 200 µs", "layer14", "Conv &lt;b&gt;", "slower in w8a8"):
        assert words in page
    assert "Conv <b>" not in page


def test_nothing_measured_is_a_page_too() -> None:
    """Without files, measurements and devices the page says what it can."""
    page = Page(render_page(Contents("T", ReportFacts("net"))))
    assert page.open == []
    assert "0 exported files" in page.text
    assert page.tags["svg"] == 0


@pytest.mark.parametrize("left_out", ["files", "measurements", "predictions"])
def test_any_part_may_be_absent(left_out: str, contents: Contents) -> None:
    """A page of all but one kind of thing is whole."""
    page = Page(render_page(replace(contents, **cast("dict[str, Any]", {left_out: ()}))))
    assert page.open == []
    assert page.tags["svg"] > 0
