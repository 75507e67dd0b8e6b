"""`edgecnn report`: where the page goes, and what is printed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from forked import edgecnn

from tests.messages import messages

MODEL = Path(__file__).parents[1] / "data" / "classifier.tflite"


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in *folder*."""
    return edgecnn("report", *arguments, cwd=folder)


def test_the_page_is_written_and_named(tmp_path: Path) -> None:
    """The default is report.html; progress is told on standard error, the path on standard output."""
    done = run(tmp_path, MODEL, "--data", "digits")
    assert (done.returncode, messages(done.stderr)) == (0, [])
    assert "judging classifier.tflite" in done.stderr
    assert done.stdout == "report: report.html\n"
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert f"edgecnn report {MODEL} --data digits -o report.html" in page


def test_json_is_alone_on_standard_output(tmp_path: Path) -> None:
    """The document names the page that was written."""
    done = run(tmp_path, MODEL, "--device", "rpi4", "--json", "-o", "r.html")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["report"] == "r.html"
    assert [one["device"] for one in document["devices"]] == ["rpi4"]


def test_a_budget_is_a_device_of_its_own(tmp_path: Path) -> None:
    """--ram without a device is what is checked, and the page gives the command with it."""
    done = run(tmp_path, MODEL, "--ram", "64KiB", "--json", "-o", "r.html")
    assert done.returncode == 0
    fits = [one["fit"] for one in json.loads(done.stdout)["devices"]]
    assert [one["regions"][0]["limit_bytes"] for one in fits] == [65536]
    assert f"edgecnn report {MODEL} --ram 65536B -o r.html" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_budget_on_a_device_replaces_its_limit(tmp_path: Path) -> None:
    """As with edgecnn fit."""
    done = run(tmp_path, MODEL, "--device", "rpi4", "--ram", "40MiB", "--json", "-o", "r.html")
    assert [one["device"] for one in json.loads(done.stdout)["devices"]] == ["rpi4 with 40.0 MiB ram"]


def test_a_dash_is_standard_output(tmp_path: Path) -> None:
    """`-o -` writes the page there and no file; with --json, which goes there too, it is refused."""
    done = run(tmp_path, MODEL, "--device", "rpi4", "-o", "-")
    assert done.returncode == 0
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.endswith("</html>\n")
    refused = run(tmp_path, MODEL, "--json", "-o", "-")
    assert refused.returncode == 2
    assert refused.stderr == "edgecnn: -o - and --json both go to standard output; write the page to a file\n"
    assert list(tmp_path.iterdir()) == []
