"""Errors a user can act on: one line each, saying what, where, what is known, and what to do next."""

from __future__ import annotations

import difflib
import importlib
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: What steers a terminal: controls (C0, DEL, C1), breaks of lines, and what turns the direction of writing.
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

#: More known names than these are counted in an error, not listed.
_MOST_LISTED = 20


class EdgecnnError(Exception):
    """Bad input or an unusable surrounding; its message is the one line a user sees.

    Example:
        >>> edgecnn.load_device("rpi44")
        Traceback (most recent call last):
            ...
        edgecnn.errors.EdgecnnError: unknown device 'rpi44'; did you mean 'rpi4' or 'rpi5'? ...
    """

    exit_code = 2


class LimitError(EdgecnnError):
    """A limit the user or a recipe set was broken; what was made is kept under another name."""

    exit_code = 3


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> EdgecnnError:
    """Return the error for a *name* that is not among the *known* ones, with those it may have been meant to be.

    *hint* stands at the end; where there may be many names it says how to see them all.
    """
    names = sorted(known)
    near = [f"'{match}'" for match in _near(name, names)]
    guess = f"; did you mean {' or '.join(filter(None, (', '.join(near[:-1]), *near[-1:])))}?" if near else ";"
    listed = f"known: {', '.join(names)}" if len(names) <= _MOST_LISTED else f"{len(names)} are known"
    return EdgecnnError(f"unknown {kind} '{name}'{guess} {listed}{' ' if hint else ''}{hint}")


def _near(name: str, names: list[str]) -> list[str]:
    """Return the names that *name* is the beginning of, else up to three that look like it."""
    longer = [known for known in names if name and known.startswith(name)]
    return longer or difflib.get_close_matches(name, names, n=3)


def format_error(error: BaseException) -> str:
    """Return in one line what a user's own code raised, and which line of theirs is the nearest to it."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__) + place_of(error)


def library_error(error: BaseException) -> str:
    """Return in one line what a library raised, and which: "onnxruntime raised KeyError: 'x'"."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    text = " ".join(lines[:2])[:300]
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    library = _library_of(error)
    return f"{library} raised {named}" if library else named


def _library_of(error: BaseException) -> str | None:
    """Return the installed package whose code raised *error*; None where it was the user's own or Python's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        if "site-packages" in parts[:-1]:
            return parts[parts.index("site-packages") + 1].removesuffix(".py")
        if not frame.filename.startswith(_NOT_THE_USERS):
            return None
    return None


def place_of(*errors: BaseException) -> str:
    """Return the last line of the user's own code on the way to what was raised, as " (at net.py:13)", or ""."""
    own = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for error in errors
        for frame in traceback.extract_tb(error.__traceback__)
        if "/" in frame.filename
        and "site-packages" not in Path(frame.filename).parts
        and not frame.filename.startswith(_NOT_THE_USERS)
    ]
    return f" (at {own[-1]})" if own else ""


#: Where the code of edgecnn and of Python itself lies.
_NOT_THE_USERS = tuple(f"{Path(file).parent}/" for file in (__file__, traceback.__file__))


#: Package that an import names → the extra of edgecnn that brings it; for what is imported at the top of a module.
EXTRAS = {"matplotlib": "report", "onnx": "onnx", "torch": "torch", "torch_pruning": "torch", "torchvision": "torch"}

#: Package that an import names → what brings it by itself, without all that its extra has beside it.
_BY_ITSELF = {"PIL": "pillow", "sklearn": "scikit-learn"}


def missing_package(package: str, extra: str) -> EdgecnnError:
    """Return the error for a *package* that is not installed, with the line that installs it."""
    name = _BY_ITSELF.get(package)
    how = f"pip install {name}" if name else f"pip install 'edgecnn[{extra}]', or '.[{extra}]' in a checkout"
    return EdgecnnError(f"this needs {name or package}, which is not installed: {how}")


@contextmanager
def explain_missing_packages() -> Iterator[None]:
    """Within it, or in a function it decorates, an import that lacks a package of `EXTRAS` says what installs it.

    Raises:
        EdgecnnError: in place of that ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise missing_package(package, EXTRAS[package]) from error


def require(module: str, extra: str) -> ModuleType:
    """Import *module*, or say what brings it: *extra* of edgecnn, or less where less is enough.

    Raises:
        EdgecnnError: the module is not installed.
    """
    top = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] != top:
            raise
        raise missing_package(top, extra) from None
