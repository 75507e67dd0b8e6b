"""Quantities as text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import EdgecnnError
from edgecnn.units import format_bytes, format_count, format_ns, format_share, parse_bytes, parse_ns, parse_share


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64KiB", 65536),
        ("64k", 65536),
        ("1.5M", 3 << 19),
        ("1.5MB", 1_500_000),
        ("512B", 512),
        (" 2 GiB ", 2 << 30),
        ("0B", 0),
        ("7b", 7),
        ("1kb", 1000),
    ],
)
def test_parse_bytes(text: str, size: int) -> None:
    """Sizes are read with binary and decimal units, in any case."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "KiB", "-1", "1 TB", "1,5MB", "1e3", "64 KiB RAM", "nan", "١", "9" * 400 + ".5", "9" * 5000]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    """A text that is no size is refused with an example of one."""
    with pytest.raises(EdgecnnError, match="64KiB"):
        parse_bytes(text)


@given(st.integers(0, 1 << 60), st.sampled_from(["", " "]))
def test_a_size_without_a_unit_is_refused(size: int, space: str) -> None:
    """20 could be bytes, KiB or MiB: it is refused, and the units are named."""
    with pytest.raises(EdgecnnError, match=f"'{size}' has no unit; write it like 64KiB"):
        parse_bytes(f"{space}{size}{space}")


@given(st.integers(0, 1 << 60), st.sampled_from([" B", "B", "b"]))
def test_a_plain_number_is_itself(size: int, unit: str) -> None:
    """Bytes written out are read back unchanged, however many."""
    assert parse_bytes(f"{size}{unit}") == size


@given(st.integers(0, 1 << 45))
def test_a_formatted_size_is_nearly_itself(size: int) -> None:
    """What is printed is within five percent of the size, half its last digit, and can be read back."""
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.05)


@given(st.integers(0, 10**13))
def test_a_formatted_duration_keeps_three_digits(duration_ns: int) -> None:
    """A printed duration is within half a percent of the duration."""
    number, unit = format_ns(duration_ns).split()
    scale = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}[unit]
    assert float(number) * scale == pytest.approx(duration_ns, rel=0.005)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), (" 0.5 % ", 0.005), ("0%", 0.0), ("150%", 1.5)])
def test_parse_share(text: str, share: float) -> None:
    """Percentages are read with and without a space."""
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "5", "0.05", "%", "-5%", "nan%", "5%%", "٥%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    """A number without its sign could be meant either way: it is refused with an example."""
    with pytest.raises(EdgecnnError, match="5%"):
        parse_share(text)


def test_what_is_not_known_is_a_dash() -> None:
    """A figure not taken is shown as a dash, never as 0."""
    assert {format_bytes(None), format_ns(None), format_count(None), format_share(None)} == {"-"}


def test_examples() -> None:
    """The examples of the docstrings hold, and 0 is shown as 0."""
    assert format_bytes(49152) == "48.0 KiB"
    assert format_ns(1234567) == "1.23 ms"
    assert format_count(41234567) == "41.2 M"
    assert format_share(0.8699) == "86.99 %"
    assert format_bytes(0) == "0 B"


@pytest.mark.parametrize(
    ("text", "ns"), [("12ms", 12e6), ("800us", 8e5), ("1.5 s", 1.5e9), ("7µs", 7e3), (" 40ns ", 40.0)]
)
def test_parse_ns(text: str, ns: float) -> None:
    """Every unit that people write a duration in."""
    assert parse_ns(text) == ns


@pytest.mark.parametrize("text", ["12", "ms", "-3ms", "1e3ms", "12 min", ""])
def test_a_duration_without_a_unit_is_refused(text: str) -> None:
    """One line says how to write it."""
    with pytest.raises(EdgecnnError, match=r"is not a duration; write it like 12ms, 800us or 1\.5s"):
        parse_ns(text)
