"""`edgecnn` in a process of its own that is forked from one with the heavy packages: none of them is imported again.

What such a process prints, its exit code, its environment and the folder that it stands in are as a user's. What is
imported when, and what a signal does, is for a process that really starts: `python -m edgecnn`.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import IO, Any

import pytest

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["preloaded"])


def edgecnn(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line, with nothing on standard input; return its exit code and what it said."""
    return forked(run_edgecnn, list(map(str, arguments)), cwd=cwd, env=env)


def run_edgecnn(arguments: list[str]) -> None:
    """Do what `python -m edgecnn` does."""
    sys.argv = ["edgecnn", *arguments]
    sys.path.insert(0, os.getcwd())
    runpy.run_module("edgecnn", run_name="__main__")


def program(source: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Do what `python -c` does with *source* and *arguments*."""
    return forked(_run_program, source, list(map(str, arguments)))


def _run_program(source: str, arguments: list[str]) -> None:
    sys.argv = ["-c", *arguments]
    exec(compile(source, "program", "exec"), {"__name__": "__main__"})


def forked(
    run: Callable[..., None], *arguments: Any, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Call *run* in a process of its own; return its exit code and what it said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the server finds what it is to import
        forkserver.ensure_running()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        places = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
        process = _CONTEXT.Process(
            target=_call, args=(run, arguments, places, cwd or Path.cwd(), dict(env or os.environ))
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(arguments, process.exitcode, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _call(
    run: Callable[..., None], arguments: tuple[Any, ...], places: list[str], cwd: Path, env: dict[str, str]
) -> None:
    """Stand in *cwd* with *env*, write to the files at *places*, and run."""
    gc.freeze()  # what was imported stays: the collector need not look through it again and again
    for number, place in enumerate((os.devnull, *places)):
        opened = os.open(place, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115 - open to the end
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # read from the environment again
    os.chdir(cwd)
    run(*arguments)
