"""What the commands share."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from edgecnn.cli.shared import parse_normalization, progress_lines
from edgecnn.normalization import Normalization

CONVERTING = """
import sys
from edgecnn.cli.shared import showing_progress
from edgecnn.export.quiet import quiet
with showing_progress() as progress:
    progress("converting", 1, 2)
    with quiet("the converter"):
        print("chatter of a converter", file=sys.stderr)
    print("word of the network")
    progress("converting", 2, 2)
print("result")
"""


def test_converters_stay_quiet_under_the_progress() -> None:
    """On a terminal the progress is drawn, and what a converter prints meanwhile is kept away from it."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    run = subprocess.run(
        [sys.executable, "-c", CONVERTING], stdout=subprocess.PIPE, stderr=follower, text=True, env=environment
    )
    os.close(follower)
    drawn = os.read(leader, 65536).decode()
    os.close(leader)
    assert run.returncode == 0
    assert "converting" in drawn
    assert "word of the network" in drawn
    assert "chatter" not in drawn + run.stdout
    assert run.stdout == "result\n"


def test_a_log_gets_a_line_a_step() -> None:
    """Without a terminal each new step is a line, and a long step has at most one every 10 s."""
    lines: list[str] = []
    now_s = 0.0
    show = progress_lines(lines.append, lambda: now_s)
    for now_s in range(25):
        show("calibrating", int(now_s), 64)
    show("writing")
    show("writing", 1)
    assert lines == ["calibrating", "calibrating: 10 of 64", "calibrating: 20 of 64", "writing"]


def test_a_log_shows_progress_where_a_converter_is_kept_quiet() -> None:
    """Without a terminal the lines go to standard error, also while a converter's words are kept away."""
    program = CONVERTING.replace('print("chatter', 'progress("inside it")\n        print("chatter')
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stderr.splitlines() == ["converting: 1 of 2", "inside it", "word of the network"]
    assert run.stdout == "result\n"


@pytest.mark.parametrize("text", [None, "unit", "mean=0.5,std=0.25"])
def test_the_normalization_is_parsed_where_it_comes_in(text: str | None) -> None:
    """Commands get a Normalization, or None where none was given."""
    parsed = parse_normalization(None, None, text)  # type: ignore[arg-type]
    assert parsed == (text and Normalization.parse(text))


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_alone_it_prints_its_help(arguments: list[str]) -> None:
    """`edgecnn` without a command prints the help, laid out, on standard output."""
    run = subprocess.run([sys.executable, "-m", "edgecnn", *arguments], capture_output=True, text=True)
    assert run.returncode == 0
    assert run.stderr == ""
    assert run.stdout.startswith("Usage: edgecnn")
    assert "\n  bench " in run.stdout
