"""What runs exported files: LiteRT, onnxruntime, and those others add; and the worker program that carries one."""

from __future__ import annotations

import inspect
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy.typing as npt

from edgecnn.errors import EdgecnnError
from edgecnn.tables import Table

#: Name → class. Each is in a source file of its own that goes to boards: Python 3.9, standard library, numpy and
#: that runtime alone. Tried in this order where a file's format leaves the choice.
RUNTIMES = Table(
    "runtime",
    {
        "litert": "edgecnn.runtimes.litert:LiteRT",
        "onnxruntime": "edgecnn.runtimes.onnxruntime:OnnxRuntime",
        "openvino": "edgecnn.runtimes.openvino:OpenVino",
    },
)

#: The files of this package that the worker is made of.
_WORKER_FILES = ("conditions.py", "frames.py", "worker.py")

#: A Python without numpy is reported like a missing runtime.
_MAIN = b"""try:
    from edgecnn.runtimes.worker import main
except ImportError as error:
    import json
    print(json.dumps({"edgecnn": [], "error": "missing", "text": str(error)}))
else:
    main()
"""


class Session(Protocol):
    """A file that a runtime has loaded."""

    inputs: list[dict[str, Any]]  # of each: name, shape (an open dimension counts as 1), dtype
    outputs: list[dict[str, Any]]

    def write(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Copy *arrays*, one an input, into the inputs."""

    def invoke(self) -> None:
        """Run once on what the inputs hold, with no copies: this is what is timed."""

    def read(self) -> list[npt.NDArray[Any]]:
        """Return copies of the outputs."""

    def close(self) -> None:
        """Free the model."""


class Runtime(Protocol):
    """A runtime; making one imports it, and raises ImportError where it is not installed."""

    formats: tuple[str, ...]  # of the files it runs
    install: str  # the line that installs it
    packages: tuple[str, ...]  # what a target needs of Python packages (may be left out: `packages_of`)
    version: str
    interface: str  # which of its interfaces is used
    #: May be left out: what else its constructor takes as `interface`, to run a file that the first of them refuses.
    interfaces: tuple[str, ...]

    def open(self, path: str, threads: int) -> Session:
        """Load the file at *path* for *threads* threads."""


def runtime_class(name: str) -> type[Runtime]:
    """Return the class of the runtime *name*, which is not imported by that.

    Raises:
        EdgecnnError: there is no such runtime.
    """
    return cast("type[Runtime]", RUNTIMES.load(name))


def interfaces_of(name: str) -> tuple[str | None, ...]:
    """Return the interfaces of the runtime *name* in the order to try them; None: whichever it takes by itself."""
    return (None, *getattr(runtime_class(name), "interfaces", ())[1:])


def packages_of(name: str) -> tuple[str, ...]:
    """Return the Python packages that a target needs for the runtime *name*; none where it does not say."""
    return tuple(getattr(runtime_class(name), "packages", ()))


def runtimes_for(file_format: str) -> list[str]:
    """Return the names of the runtimes that run files of *file_format*, the usual one first."""
    own = list(RUNTIMES.rows)
    names = own + [name for name in RUNTIMES.names() if name not in own]
    return [name for name in names if file_format in runtime_class(name).formats]


def runtime_for(file_format: str, name: str | None = None) -> str:
    """Return *name*, or the usual runtime where it is None.

    Raises:
        EdgecnnError: no such runtime, or it does not run files of *file_format*.
    """
    able = runtimes_for(file_format)
    if name is None and able:
        return able[0]
    if name is None or (name not in able and name in RUNTIMES.names()):
        formats = ", ".join(f".{known}" for known in runtime_class(name).formats) if name else "other files"
        raise EdgecnnError(
            f"{name or 'every runtime'} runs {formats}; for .{file_format} use: {', '.join(able) or '-'}"
        )
    runtime_class(name)  # an unknown name is refused here
    return name


def worker_program(runtime: str) -> bytes:
    """Return the program that a target runs: one zip file for `python`, the same bytes each time.

    It holds the worker's files under their own names, empty packages around them, the runtime's source as `session`.
    """
    here = Path(__file__).parent
    source = inspect.getsourcefile(runtime_class(runtime))
    if source is None:
        raise EdgecnnError(f"runtime {runtime}: its source file is not there; the worker needs it")
    files = {
        "__main__.py": _MAIN,
        "edgecnn/__init__.py": b"",
        "edgecnn/runtimes/__init__.py": b"",
        **{f"edgecnn/runtimes/{name}": (here / name).read_bytes() for name in _WORKER_FILES},
        "session.py": Path(source).read_bytes(),
    }
    program = io.BytesIO()
    with zipfile.ZipFile(program, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # a ZipInfo of its own bears no date
    return program.getvalue()


__all__ = [
    "RUNTIMES",
    "Runtime",
    "Session",
    "interfaces_of",
    "packages_of",
    "runtime_class",
    "runtime_for",
    "runtimes_for",
    "worker_program",
]
