"""Tables of named things: heavy modules are named by string and imported only when one is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from edgecnn.errors import unknown_name
from edgecnn.user_code import load_attribute, load_own


@dataclass(frozen=True)
class Table:
    """Rows of `name: "package.module:attribute"`; third parties add rows by the entry point group `edgecnn.<kind>`."""

    kind: str
    rows: Mapping[str, str] = field(default_factory=dict)
    takes_own: bool = False  # the user's own code (`load_own`) is a name as well; for names that no file gives

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
        return load_attribute(self.where(name))

    def where(self, name: str) -> str:
        """Return the `package.module:attribute` that *name* stands for.

        Raises:
            EdgecnnError: no such row; the message gives the near match and the known names.
        """
        where = self.rows.get(name) or self._all_rows().get(name)
        if where is None:
            raise unknown_name(self.kind, name, self.names())
        return where
