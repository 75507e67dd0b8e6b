"""Runs of a study that only leave marks, and a program that does them: `python marking_runs.py FOLDER NAME:HOW …`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.errors import EdgecnnError
from edgecnn.progress import Progress
from edgecnn.study.runner import Workers, do_runs


@dataclass(frozen=True)
class MarkingRun:
    """Writes a line for each time that it is executed, then does what *how* says."""

    name: str
    how: str = "done"  # "fail", "raise", "die", "die once", or "sleep": half a second
    cost: float = 1.0

    def identity(self) -> Mapping[str, Any]:
        """Return what the run is."""
        return {"how": self.how}

    def execute(self, folder: Path, progress: Progress) -> Mapping[str, Any]:
        """Leave a mark."""
        with (folder / f"{self.name}.marks").open("a", encoding="ascii") as marks:
            marks.write(f"{os.getpid()}\n")
        progress("training", 1, 2)
        times = marks_of(folder, self.name)
        if self.how == "fail":
            raise EdgecnnError("the network does not fit the data")
        if self.how == "raise":
            raise ValueError("not foreseen")
        if self.how == "die" or (self.how == "die once" and times == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "sleep":
            time.sleep(0.5)
        return {"times": times}


def marks_of(folder: Path, name: str) -> int:
    """How often the run *name* was executed."""
    return len((folder / f"{name}.marks").read_text(encoding="ascii").splitlines())


if __name__ == "__main__":
    # By its own name, under which a worker process finds the class again.
    from marking_runs import MarkingRun as Importable

    place, count, address, *named = sys.argv[1:]
    wanted = [Importable(*text.split(":")) for text in named]
    for result in do_runs(wanted, Path(place), workers=Workers(int(count), address or None)):
        print(result.name, result.error or result.figures["times"])
