"""Tables of named things: heavy modules are named by string and imported only when one is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from edgecnn.errors import EdgecnnError, unknown_name


@dataclass(frozen=True)
class Table:
    """Rows of `name: "package.module:attribute"`; third parties add rows by the entry point group `edgecnn.<kind>`."""

    kind: str
    rows: Mapping[str, str] = field(default_factory=dict)
    takes_own: bool = False  # `package.module:attribute` is a name as well; for names that a user gives, not a file

    def _all_rows(self) -> dict[str, str]:
        others = {point.name: point.value for point in entry_points(group=f"edgecnn.{self.kind}")}
        return {**others, **self.rows}

    def names(self) -> list[str]:
        """Return every known name, sorted."""
        return sorted(self._all_rows())

    def load(self, name: str) -> Any:
        """Import and return what *name* stands for.

        Raises:
            EdgecnnError: no such row; the message gives the near match and the known names; or no such code.
        """
        if self.takes_own and ":" in name:
            return load_own(name)
        where = self.rows.get(name) or self._all_rows().get(name)
        if where is None:
            raise unknown_name(self.kind, name, self.names())
        return load_attribute(where)


def load_own(where: str) -> Any:
    """Return the user's `package.module:attribute`; the folder one stands in counts as importable.

    Raises:
        EdgecnnError: there is none, or its module cannot be imported.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
        importlib.invalidate_caches()
    with telling_own_failures(f"'{where}' failed", where):
        return load_attribute(where)


@contextmanager
def telling_own_failures(what: str, where: str | None = None) -> Iterator[None]:
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


def load_attribute(where: str) -> Any:
    """Return the object named `package.module:attribute`.

    Raises:
        EdgecnnError: the text has another form, or the module has no such attribute.
        ModuleNotFoundError: the module, or one that it imports, is not there.
    """
    module_name, colon, attribute = where.partition(":")
    if not colon or not module_name or not attribute:
        raise EdgecnnError(f"'{where}' is not of the form package.module:attribute")
    module = importlib.import_module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        known = [name for name in vars(module) if not name.startswith("_")]
        raise unknown_name(f"attribute of {module_name}", attribute, known) from None
