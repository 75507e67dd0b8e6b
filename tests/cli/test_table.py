"""What is printed for people fits its terminal, and names and numbers stay whole."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import click
import pytest

from edgecnn.cli import main
from edgecnn.cli.table import print_table, say, take_form

TABLE = """
from edgecnn.cli.table import print_table, say
columns = ["file", "precision", "size", "top-1"]
rows = [["digits-small.fp32.tflite", "fp32", "66.1 KiB", "98.33 %"], ["a-longer-name.w8a8.tflite", "w8a8", "9 B", "-"]]
print_table("Measured in each file's runtime on 539 samples of digits", columns, rows, right=(2, 3), spare=(2, 1))
say("the peak of it is 1.2 MiB, of which one half is Python and numpy and the other one is 600 KiB of mine")
"""


def shown(code: str, columns: int) -> list[str]:
    """Return the lines that *code* prints on a terminal of so many *columns*, without colours."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    bare = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    subprocess.run([sys.executable, "-c", code], stdout=follower, check=True, env={**bare, "TERM": "xterm"})
    os.close(follower)
    text = b""
    while True:
        try:
            text += os.read(leader, 65536)
        except OSError:  # all was read, and the other end is closed
            break
    os.close(leader)
    return re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).splitlines()


@pytest.mark.parametrize("columns", [24, 30, 44, 56, 60, 80, 200])
def test_nothing_is_broken_at_any_width(columns: int) -> None:
    """No line is wider than the terminal but for a longer word, and every name and figure is in one piece."""
    lines = shown(TABLE, columns)
    assert all(len(line) <= max(columns, len("a-longer-name.w8a8.tflite")) for line in lines)
    text = "\n".join(lines)
    assert all(whole in text for whole in ("digits-small.fp32.tflite", "a-longer-name.w8a8.tflite", "98.33 %"))
    assert all(whole in text for whole in ("1.2 MiB", "600 KiB"))


def test_what_is_left_out_is_the_least_important() -> None:
    """Of the spare columns those that fit are kept, the last one first, and the others are named."""
    text = "\n".join(shown(TABLE, 56))
    assert "precision" in text.partition("a wider terminal or --json")[0]
    assert "66.1 KiB" not in text
    assert "(a wider terminal or --json also shows: size)" in text
    assert "66.1 KiB" in "\n".join(shown(TABLE, 80))


def test_blocks_hold_every_column() -> None:
    """Where not even the necessary columns fit, each row is a block with all of its cells."""
    text = "\n".join(shown(TABLE, 30))
    assert "precision  fp32" in text
    assert "66.1 KiB" in text


def test_a_pipe_gets_one_line_a_row() -> None:
    """Where standard output is no terminal nothing is left out and nothing broken."""
    run = subprocess.run([sys.executable, "-c", TABLE], capture_output=True, text=True, check=True)
    assert "digits-small.fp32.tflite  │ fp32      │ 66.1 KiB │ 98.33 %" in run.stdout
    assert run.stdout.splitlines()[-1].startswith("the peak of it")
    assert run.stdout.splitlines()[-1].endswith("of mine")


def test_markdown_is_a_table_that_github_draws(capsys: pytest.CaptureFixture[str]) -> None:
    """With --markdown there is a table of pipes with every column, and what a name holds is no markup."""
    with click.Context(click.Command("x")) as ctx:
        take_form(ctx, click.Option(["--markdown"]), True)
        print_table("a <b>", ["file", "size"], [[["m|n", "*x*.tflite"], "9 B"]], right=(1,), spare=(1,))
        say("one [link](x)")
        say("  12 B  conv")
    assert capsys.readouterr().out == (
        "**a \\<b\\>**\n\n| file | size |\n| --- | ---: |\n| m\\|n<br>\\*x\\*.tflite | 9 B |\n\n"
        "one \\[link\\](x)\n\n- 12 B  conv\n\n"
    )


def test_json_and_markdown_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for both is told, before anything is done, in either order and on either side of a subcommand."""
    for arguments in (["fit", "x.tflite", "--json", "--markdown"], ["devices", "--markdown", "show", "rpi4", "--json"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert "give --json or --markdown, not both" in capsys.readouterr().err


HOSTILE = "\x1b]0;title\x07\x1b[31m[red]x:smile:\r\n\x9b2K\u202e\x7f"
ESCAPED = r"\x1b]0;title\x07\x1b[31m[red]x:smile:\r\n\x9b2K\u202e\x7f"

PRINTED = f"""
from edgecnn.cli.table import print_table, say, tell
say({HOSTILE!r})
print_table({HOSTILE!r}, ["name"], [[{HOSTILE!r}], [["one", {HOSTILE!r}]]])
"""


@pytest.mark.parametrize("columns", [20, 200])
def test_names_do_not_steer_the_terminal(columns: int) -> None:
    """Escapes, controls, breaks of lines and turns of direction in a name are shown escaped, and markup as it is."""
    lines = shown(PRINTED, columns)
    assert not any(ord(character) < 32 or character in "\x7f\x9b\u202e" for line in lines for character in line)
    text = "\n".join(lines)
    if columns == 200:
        assert text.count(ESCAPED) == 4
    assert "[red]x:smile:" in text


def test_errors_do_not_steer_the_terminal() -> None:
    """What an error or its traceback says of a file's name is shown escaped too."""
    call = [sys.executable, "-m", "edgecnn", "fit", "\x1b[31mno\u202e.tflite", "--device", "rpi4", "--debug"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr
    assert r"\x1b[31mno\u202e.tflite" in done.stderr.splitlines()[-1]


def test_progress_does_not_steer_the_terminal() -> None:
    """The step that a bar shows, which may name a file, is escaped as well."""
    code = f"""
import sys
sys.stderr = sys.stdout
from edgecnn.cli.shared import showing_progress
with showing_progress() as show:
    show({HOSTILE!r}, 1, 2)
"""
    text = "\n".join(shown(code, 200))
    assert ESCAPED in text
    assert "\x07" not in text
