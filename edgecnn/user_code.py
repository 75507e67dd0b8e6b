"""Code by name: `package.module:attribute` of what is installed, and the user's own, by module or by file.

Python looks for modules in the folder one stands in, before its own library and all packages. Here nothing is found
there but the module that the user names and what that module imports; installed packages always come first.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from edgecnn.errors import EdgecnnError, unknown_name

FORM = "package.module:attribute or FILE.py:attribute"


_OF_FILE = "file_"  # begins the names of modules whose files have no name to be imported by


def load_attribute(where: str) -> Any:
    """Return the object named `package.module:attribute`, of what is installed.

    Raises:
        EdgecnnError: the text has another form, or the module has no such attribute.
        ModuleNotFoundError: the module, or one that it imports, is not there.
    """
    name, attribute = _parts(where)
    return _attribute_of(importlib.import_module(name), attribute)


def load_own(where: str) -> Any:
    """Return the user's `package.module:attribute`, installed or in the folder one stands in, or `FILE.py:attribute`.

    Raises:
        EdgecnnError: there is none, or its module cannot be imported.
    """
    place, attribute = _parts(where)
    with explain_user_errors(f"'{where}' failed", where):
        if is_file_name(place):
            return _attribute_of(_module_of_file(Path(place)), attribute)
        _UserFolder.at(Path.cwd()).named.add(place.partition(".")[0])
        try:
            return _attribute_of(importlib.import_module(place), attribute)
        except (EdgecnnError, ModuleNotFoundError) as error:
            raise _hidden_file(place, attribute) or error from None


def is_file_name(place: str) -> bool:
    """Whether *place*, what stands before the colon, names a file of Python code rather than a module."""
    return place.endswith(".py")


@contextmanager
def explain_user_errors(what: str, where: str | None = None) -> Iterator[None]:
    """Make an EdgecnnError of whatever code of the user's raises in it: *what* failed, by name *where*."""
    try:
        yield
    except EdgecnnError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and where is not None:
            raise EdgecnnError(
                f"'{where}': no module named '{error.name}'; run edgecnn in the folder that holds it, or install it"
            ) from None
        raise EdgecnnError(f"{what}: {type(error).__name__}: {error}") from error


class _UserFolder(MetaPathFinder):
    """Finds modules in a folder of the user's: those *named* by the user, and what code in that folder imports.

    It stands last, behind what finds installed packages, so it never hides one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.named: set[str] = set()

    @classmethod
    def at(cls, folder: Path) -> _UserFolder:
        """Return the finder of *folder*, which is in place from here on: code may import as late as it runs."""
        importlib.invalidate_caches()  # a module may have been written since
        known = (finder for finder in sys.meta_path if isinstance(finder, cls) and finder.folder == folder)
        finder = next(known, None)
        if finder is None:
            finder = cls(folder)
            sys.meta_path.append(finder)
        return finder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the module is; None for a module in a package, which that finds, and for imports by others."""
        if path is not None or not (fullname in self.named or self._holds_importer()):
            return None
        return PathFinder.find_spec(fullname, [str(self.folder)])

    def _holds_importer(self) -> bool:
        frame = sys._getframe(2)  # who called `find_spec`
        while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "importlib":
            frame = frame.f_back
        return self.holds(Path(frame.f_code.co_filename))

    def holds(self, file: Path) -> bool:
        """Whether *file* is code of this folder; Python's own and a virtual environment in it are not."""
        return file.is_relative_to(self.folder) and not any(map(file.is_relative_to, filter(None, sys.path)))


def _module_of_file(path: Path) -> ModuleType:
    """Return the module in a file, under the name that an import from beside it would give it.

    Where something else has that name already, the file is loaded under a name of its own.

    Raises:
        EdgecnnError: there is no such file.
    """
    if not path.is_file():
        raise EdgecnnError(f"no file at '{path}'")
    path = path.resolve()
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file():  # a module of a package may import what stands beside it by `.name`
        parts.insert(0, folder.name)
        folder = folder.parent
    _UserFolder.at(folder).named.add(parts[0])
    if _origin_of(parts[0]) == (path if len(parts) == 1 else folder / parts[0] / "__init__.py"):
        return importlib.import_module(".".join(parts))
    name = _OF_FILE + re.sub(r"\W", "_", str(path))
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _origin_of(name: str) -> Path | None:
    """Return the file that `import name` reads, or has read; None where there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # of a module such as `__main__`, which no import made
        return None
    return Path(spec.origin).resolve() if spec is not None and spec.origin is not None else None


def _hidden_file(place: str, attribute: str) -> EdgecnnError | None:
    """Return what to say where the module *place* lies in this folder, but an installed one has its name."""
    top, file = place.partition(".")[0], Path(place.replace(".", "/") + ".py")
    origin = _origin_of(top)
    finders = [finder for finder in sys.meta_path if isinstance(finder, _UserFolder)]
    if not file.is_file() or origin is None or any(finder.holds(origin) for finder in finders):
        return None
    return EdgecnnError(
        f"'{place}:{attribute}': {file} is hidden by an installed module '{top}'; name the file: {file}:{attribute}"
    )


def _parts(where: str) -> tuple[str, str]:
    place, _, attribute = where.rpartition(":")
    if not place or not attribute:
        raise EdgecnnError(f"'{where}' is not of the form {FORM}")
    return place, attribute


def _attribute_of(module: ModuleType, attribute: str) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError:
        known = [name for name in vars(module) if not name.startswith("_")]
        # A file whose name is also that of another module is imported under one of our own.
        file = module.__name__.startswith(_OF_FILE) and module.__file__
        raise unknown_name(f"function in {Path(file).stem if file else module.__name__}:", attribute, known) from None
