"""A short `repr` for the dataclasses that people meet in a notebook or a debugger."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence, Set
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from typing import Any

LONGEST = 160  # characters of the whole
_LONGEST_VALUE = 60


def short_repr(self: Any) -> str:
    """Return the type and the fields of a dataclass that differ from their defaults, in one line of 160 characters.

    Arrays are shown by type and shape, collections by their length, dataclasses by their name; fields that would not
    fit are left out, and `...` says so. Use it as `__repr__ = short_repr` in the class.

    Example:
        >>> from edgecnn.samples import Samples
        >>> import numpy as np
        >>> Samples.of(np.zeros((5, 1, 8, 8), np.uint8))
        Samples(images=uint8[5, 1, 8, 8], labels=None, indices=int64[5])
    """
    parts: list[str] = []
    room = LONGEST - len(type(self).__name__) - len("(, ...)")
    for one in fields(self):
        value = getattr(self, one.name)
        if inspect.isroutine(value) or isinstance(value, partial):
            continue  # how to read something, which says nothing of what it is
        if not one.repr or _is_default(one, value):
            continue
        part = f"{one.name}={_short(value)}"
        if sum(map(len, parts)) + 2 * len(parts) + len(part) > room:
            parts.append("...")
            break
        parts.append(part)
    return f"{type(self).__name__}({', '.join(parts)})"


def _is_default(one: Any, value: object) -> bool:
    default = one.default_factory() if one.default_factory is not MISSING else one.default
    return default is not MISSING and type(default) is type(value) and bool(default == value)


def _short(value: Any) -> str:
    """Return *value* in at most 60 characters."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}"
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return _cut(repr(value))
    if isinstance(value, (tuple, list)) and len(value) < 5 and all(isinstance(x, (str, int, float)) for x in value):
        listed = f"({', '.join(map(_short, value))}{',' * (len(value) == 1)})"
        return listed if len(listed) <= _LONGEST_VALUE else f"<{len(value)} items>"
    if isinstance(value, (Mapping, Sequence, Set)):
        return f"<{len(value)} items>"
    if is_dataclass(value):
        text = str(value) if "__str__" in vars(type(value)) or type(value).__repr__ is short_repr else ""
        return text if 0 < len(text) <= _LONGEST_VALUE else f"{type(value).__name__}(...)"
    if hasattr(value, "__fspath__"):
        return _cut(repr(str(value)))
    return f"<{type(value).__name__}>"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
