"""The one place where raw quantities (bytes, nanoseconds, counts) become text, and text becomes them."""

from __future__ import annotations

import re

from edgecnn.errors import EdgecnnError

#: `64k` is what linker scripts and data sheets of microcontrollers call 64 KiB.
_BYTE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}


def parse_bytes(text: str) -> int:
    """Return the number of bytes *text* says: `64KiB` and `64k` → 65536, `1.5MB` → 1500000, `512B` → 512.

    Raises:
        EdgecnnError: the text is not a size, or a number without a unit.
    """
    match = re.fullmatch(r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([A-Za-z]*)\s*", text)
    if match is not None and not match[2]:
        number = match[1]
        raise EdgecnnError(f"size '{number}' has no unit; write it like 64KiB (or 64k), 1.5MB or 65536B")
    if match is None or match[2].lower() not in _BYTE_UNITS:
        raise EdgecnnError(f"'{text}' is not a size; write it like 64KiB (or 64k), 1.5MB or 65536B")
    factor = _BYTE_UNITS[match[2].lower()]
    return int(match[1]) * factor if match[1].isdigit() else round(float(match[1]) * factor)


def format_bytes(size: float | None) -> str:
    """Return *size* bytes in binary units: `49152` → `48.0 KiB`; None → `-`."""
    if size is None:
        return "-"
    if abs(size) < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if abs(size) < 1024 or unit == "GiB":
            break
    return f"{size:.1f} {unit}" if abs(size) < 100 else f"{size:.0f} {unit}"


def parse_share(text: str) -> float:
    """Return the fraction that a percentage says: `5%` → 0.05, `0.5 %` → 0.005.

    Raises:
        EdgecnnError: the text is no percentage.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", text, re.ASCII)
    if match is None:
        raise EdgecnnError(f"'{text}' is not a percentage; write it like 5%")
    return float(match[1]) / 100


def parse_ns(text: str) -> float:
    """Return the nanoseconds that a duration says: `12ms` → 12000000.0, `800us` → 800000.0, `1.5s` → 1500000000.0.

    Raises:
        EdgecnnError: the text is no duration, or a number without a unit.
    """
    match = re.fullmatch(r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*(ns|us|µs|ms|s)\s*", text)
    if match is None:
        raise EdgecnnError(f"'{text}' is not a duration; write it like 12ms, 800us or 1.5s")
    return float(match[1]) * {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}[match[2]]


def format_ns(duration_ns: float | None) -> str:
    """Return a duration given in nanoseconds with three significant digits: `1234567` → `1.23 ms`."""
    if duration_ns is None:
        return "-"
    for unit, factor in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6)):
        if abs(duration_ns) < 999.5 * factor:
            return f"{duration_ns / factor:.3g} {unit}"
    return f"{duration_ns / 1e9:.4g} s"


def format_count(count: float | None) -> str:
    """Return a count in thousands: `41234567` → `41.2 M`; None → `-`."""
    if count is None:
        return "-"
    if abs(count) < 1000:
        return f"{count:.0f}"
    for unit in ("k", "M", "G"):
        count /= 1000
        if abs(count) < 1000 or unit == "G":
            break
    return f"{count:.3g} {unit}"


def format_share(share: float | None) -> str:
    """Return a fraction as percent with two decimals: `0.8699` → `86.99 %`; None → `-`."""
    return "-" if share is None else f"{100 * share:.2f} %"


def check_fraction(what: str, value: float) -> None:
    """See that *value*, which *what* names, is a fraction of filters or weights to remove.

    Raises:
        EdgecnnError: it is negative, or 1 or more; percents are the usual reason.
    """
    if not 0 <= value < 1:
        percent = f"; {value:g} % is {value / 100:g}" if 1 < value < 100 else ""
        raise EdgecnnError(f"a {what} is at least 0 and less than 1, not {value:g}{percent}")


def format_score(value: float | None, *, is_share: bool = True) -> str:
    """Return a score: a share as percent, `0.8699` → `86.99 %`; an error with four digits; None → `-`."""
    return format_share(value) if value is None or is_share else f"{value:.4g}"
