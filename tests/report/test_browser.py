"""The page in a real browser."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

#: Looks at the page in a frame, which gives it any width, and writes what it finds into its own title.
PROBE = """<!doctype html><title>waiting</title>
<iframe id="frame" style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>
<script>
const frame = document.getElementById("frame");
frame.onload = () => {{
  const page = frame.contentDocument, found = {{overlaps: []}};
  found.width = page.documentElement.scrollWidth;
  const box = (element) => element.getBoundingClientRect();
  const texts = [...page.querySelectorAll("h1, h2, h3, p, li, dd, td, pre, text, .region span, small, figcaption")];
  found.outside = texts.filter((text) => box(text).right > {width} + 1 || box(text).left < -1)
    .map((text) => text.textContent);
  for (const svg of page.querySelectorAll("svg")) {{
    const boxes = [...svg.querySelectorAll("text")].map((text) => [text.textContent, box(text)]);
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {{
      const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (wide > 1 && high > 0.4 * Math.min(p.height, q.height)) found.overlaps.push([a, b]);
    }}));
  }}
  found.svgs = page.querySelectorAll("svg").length;
  document.title = JSON.stringify(found);
}};
</script>
"""


@pytest.fixture(scope="module")
def browser() -> str:
    """The program of a Chromium."""
    found = next((program for name in BROWSERS if (program := shutil.which(name))), None)
    if found is None:
        assert os.environ.get("CI") != "true", "CI needs Chromium: apt-get install chromium"
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


def look(browser: str, page: str, width: int, folder: Path) -> tuple[dict[str, Any], str]:
    """Return what the probe finds in *page* at *width* pixels, and what the browser's console says."""
    probe = folder / "probe.html"
    probe.write_text(PROBE.format(width=width, page=html.escape(page)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--window-size=1400,900"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run([browser, *options, probe.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(title[1])), "\n".join(console)


@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_whole_on_a_phone_and_on_a_desk(width: int, browser: str, written: Any, tmp_path: Path) -> None:
    """The page is no wider than the screen, no text leaves it or lies on another, and the console stays silent."""
    found, console = look(browser, written.page, width, tmp_path)
    assert console == ""
    assert found["svgs"] == written.page.count("<svg")
    assert found["width"] <= width
    assert found["outside"] == []
    assert found["overlaps"] == []
