"""Errors a user can act on: one line each, saying what, where, what is known, and what to do next."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class EdgecnnError(Exception):
    """Bad input or an unusable surrounding; its message is the one line a user sees."""

    exit_code = 2


class LimitError(EdgecnnError):
    """A limit the user or a recipe set was broken; what was made is kept under another name."""

    exit_code = 3


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> EdgecnnError:
    """Return the error for a *name* that is not among the *known* ones, with the nearest match."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    guess = f"; did you mean '{near[0]}'?" if near else ";"
    tail = f" {hint}" if hint else ""
    return EdgecnnError(f"unknown {kind} '{name}'{guess} known: {', '.join(names)}{tail}")


#: Package that an import names → the extra of edgecnn that brings it; for what is imported at the top of a module.
EXTRAS = {"matplotlib": "report", "onnx": "onnx", "torch": "torch", "torch_pruning": "torch", "torchvision": "torch"}


def missing_package(package: str, extra: str) -> EdgecnnError:
    """Return the error for a *package* that is not installed, with the line that installs it."""
    return EdgecnnError(f"this needs {package}, which is not installed: pip install 'edgecnn[{extra}]'")


def require(module: str, extra: str) -> ModuleType:
    """Import *module*, or say which extra of edgecnn brings it.

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
