"""`edgecnn completion`: what the shells offer."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from called import edgecnn

BIN = Path(sys.executable).parent
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a shell that finds this edgecnn."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **more}


def complete(line: str, shell: str = "bash") -> list[str]:
    """Return what the program offers at the end of *line*, asked with the variables the shell's script sets."""
    variables = {"COMP_WORDS": line, "COMP_CWORD": line.split(" ")[-1]} if shell == "fish" else {"COMP_WORDS": line}
    run = edgecnn(_EDGECNN_COMPLETE=f"{shell}_complete", **variables)
    assert run.returncode == 0, run.stderr
    return [entry.partition(",")[2] if shell == "bash" else entry.rpartition(",")[2] for entry in run.stdout.split()]


def test_completes_commands_and_devices() -> None:
    """Commands complete at the first word, device names after `devices`."""
    assert complete("edgecnn dev") == ["devices"]
    assert complete("edgecnn devices rpi") == ["rpi3bplus", "rpi4", "rpi5", "rpizero2w"]
    assert complete("edgecnn devices rpi4:", "fish") == ["rpi4:1gb", "rpi4:2gb", "rpi4:4gb", "rpi4:8gb"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("bench m.onnx --runtime litert,onn", ["litert,onnxruntime"]),
        ("bench m.onnx --target ", ["adb:", "emulated", "local", "ssh://"]),
        ("bench m.onnx --target emulated:rpi5", ["emulated:rpi5"]),
        ("bench --suite q", ["quick"]),
        ("devices probe ss", ["ssh://"]),
        ("compress m --criterion ", ["bn_scale", "geometric_median", "l1", "l2", "taylor"]),
        ("export m --normalize im", ["imagenet"]),
        ("export torchv", ["torchvision:"]),
        ("export edgecnn:dig", ["edgecnn:digits-cnn"]),
        ("export m --data fold", ["folder:"]),
    ],
)
def test_completes_the_values_of_options(line: str, offered: list[str]) -> None:
    """Runtimes, in a list too, targets, suites, criteria, normalizations, networks and data sets complete."""
    assert complete(f"edgecnn {line}") == offered


def test_completes_paths(tmp_path: Path) -> None:
    """Behind `npz:` folders and .npz files are offered, behind `folder:` folders, for a recipe and a suite TOML."""
    (tmp_path / "more").mkdir()
    for name in ("mine.npz", "mine.toml", "mine.txt", ".hidden.npz"):
        (tmp_path / name).touch()
    assert complete(f"edgecnn export m --data npz:{tmp_path}/") == [f"npz:{tmp_path}/mine.npz", f"npz:{tmp_path}/more/"]
    assert complete(f"edgecnn export m --data folder:{tmp_path}/m") == [f"folder:{tmp_path}/more/"]
    assert complete(f"edgecnn export m --recipe {tmp_path}/mi") == [f"{tmp_path}/mine.toml"]
    assert complete(f"edgecnn bench --suite {tmp_path}/mi") == [f"{tmp_path}/mine.toml"]
    assert complete(f"edgecnn export m --data npz:{tmp_path}/nowhere/") == []


def test_completing_a_wrong_command_is_quiet() -> None:
    """Completion after a command that is not known offers something or nothing, and never a traceback."""
    run = edgecnn(_EDGECNN_COMPLETE="bash_complete", COMP_WORDS="edgecnn nonsense x", COMP_CWORD="2")
    assert (run.returncode, run.stderr) == (0, "")


@needs_bash
@pytest.mark.parametrize(
    ("words", "replies"),
    [
        ("devices stm32h", "stm32h7a3"),
        ("devices rpi4 : 8", "8gb"),
        ("devices rpi4 :", "1gb 2gb 4gb 8gb"),
        ("fit m.onnx --device = rpi4 : 8", "8gb"),
        ("export edgecnn : dig", "digits-cnn"),
        ("export --data fold", "folder:"),
    ],
)
def test_the_bash_script_completes(words: str, replies: str) -> None:
    """The printed script completes names with a colon, which bash breaks into words, with what bash lacks of them."""
    script = edgecnn("completion", "bash").stdout
    line = f"edgecnn {words}".replace(" : ", ":").replace(" :", ":").replace(" = ", "=")
    ask = (
        "compopt() { :; }; COMP_WORDBREAKS=$' \\t\\n\"><=;|&(:'; "
        f"COMP_WORDS=(edgecnn {words}); COMP_CWORD={len(words.split())}; "
        f"COMP_LINE='{line}'; COMP_POINT={len(line)}; "
        '_edgecnn_completion edgecnn; echo "${COMPREPLY[@]}"'
    )
    run = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, env=environment())
    assert run.stdout.strip() == replies, run.stderr


@needs_bash
def test_tab_in_an_interactive_bash(tmp_path: Path) -> None:
    """In a real bash the Tab key finishes `rpi4:8` and `npz:mi`, nothing doubled."""
    script = tmp_path / "rc"
    script.write_text(edgecnn("completion", "bash").stdout + "\nPS1='$ '\nbind 'set enable-bracketed-paste off'\n")
    (tmp_path / "mine.npz").touch()
    terminal, other_end = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", str(script), "-i"],
        cwd=tmp_path,
        env=environment(TERM="dumb"),
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
        start_new_session=True,
    )
    os.close(other_end)

    def typed(text: str, awaited: str) -> str:
        os.write(terminal, text.encode())
        shown, deadline = "", time.monotonic() + 20
        while awaited not in shown and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 4096).decode()
        return shown

    try:
        typed("", "$ ")
        assert "devices rpi4:8gb" in typed("edgecnn devices rpi4:8\t", "8gb")
        assert "npz:mine.npz" in typed("\x15edgecnn export m --data npz:mi\t", "mine.npz")
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    """Each shell's script calls us back in that shell's own form."""
    assert f"_EDGECNN_COMPLETE={shell}_complete" in edgecnn("completion", shell).stdout
