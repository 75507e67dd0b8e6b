"""HTML built as text: whatever is not `Markup` is escaped, so user-given text cannot become a tag."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable[str]

_WITHOUT_CONTENT = ("meta", "br", "col")


def escape(text: str) -> Markup:
    """Return *text* as HTML; `Markup` stays as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(text))


def join(parts: Iterable[str], between: str = "") -> Markup:
    """Return *parts*, escaped where they are not `Markup`, one after the other."""
    return Markup(str(escape(between)).join(map(escape, parts)))


def element(tag: str, *children: Content, **attributes: str) -> Markup:
    """Return `<tag attributes>children</tag>`; `class_` is written for `class`, `data_name` for `data-name`."""
    written = "".join(
        f' {name.removesuffix("_").replace("_", "-")}="{html.escape(value)}"' for name, value in attributes.items()
    )
    if tag in _WITHOUT_CONTENT:
        return Markup(f"<{tag}{written}>")
    inside = "".join(escape(child) if isinstance(child, str) else join(child) for child in children)
    return Markup(f"<{tag}{written}>{inside}</{tag}>")
