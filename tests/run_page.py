"""Run the commands and the Python of one page of the documentation, in order, in the folder one stands in.

`python run_page.py PAGE.md`. A block of `sh` is run line by line: `edgecnn` in this process, so that torch is loaded
once, `python` in one of its own; `# exit code N` at the end of a line says which code is right, 0 where nothing is
said. A block of `python` whose first line is `# NAME.py` is written to that file, any other is run. Blocks of other
languages are for reading. Whatever is measured is measured for a twentieth of the time, in as many processes.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecnn.benchmarks import measure
from edgecnn.cli import main
from edgecnn.cli.bench import SLOWER


def blocks(page: str) -> list[tuple[str, str]]:
    """Return `(language, text)` of the fenced blocks of a page, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page, re.S | re.M)


def run_line(line: str, tries: int = 3) -> None:
    """Run one line of a shell block; exit where it ends with another code than it says.

    A gate that says slower is tried again: measured so shortly, beside other tests, latency doubles at times.
    """
    expected = int(match[1]) if (match := re.search(r"# exit code (\d+)$", line)) else 0
    program, *arguments = shlex.split(line, comments=True)
    print(f"$ {line}", flush=True)
    if program == "edgecnn":
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code or 0
        else:
            code = 0
    else:
        assert program == "python", line
        code = subprocess.run([sys.executable, *arguments], check=False).returncode
    sys.stdout.flush()
    if code == SLOWER and "--against" in arguments and tries > 1:
        run_line(line, tries - 1)
    elif code != expected:
        sys.exit(f"{line}: exit code {code}, not {expected}")


def measure_briefly() -> None:
    """Have every process that measures do so shortly: the pages are about what is said, not about the figures."""
    whole = measure.time_process

    def brief(*args: Any, effort: measure.BenchmarkConfig, **more: Any) -> measure.TimedProcess:
        shorter = replace(effort, warmup_s=effort.warmup_s / 20, min_time_s=effort.min_time_s / 20)
        return whole(*args, effort=shorter, **more)

    measure.time_process = brief


def run_page(page: str) -> None:
    """Run the blocks of a page."""
    measure_briefly()
    for language, text in blocks(page):
        if language == "sh":
            for line in text.splitlines():
                run_line(line)
        elif language == "python":
            if named := re.match(r"# (\w+\.py)\n", text):
                Path(named[1]).write_text(text, encoding="utf-8")
            else:
                print(">>>", text, flush=True)
                exec(compile(text, "page", "exec"), {"__name__": "page"})


if __name__ == "__main__":
    run_page(Path(sys.argv[1]).read_text(encoding="utf-8"))
