"""How commands read fractions, points of accuracy and sizes: `0.4` or `40%`, `0.5` or `0.5%`, `64KiB`."""

from __future__ import annotations

from typing import Any

import click

from edgecnn.errors import EdgecnnError
from edgecnn.units import parse_bytes, parse_ns, parse_share

_FEWEST_POINTS = 0.05  # of accuracy, less than one of 2 000 samples


class _Quantity(click.ParamType):  # type: ignore[type-arg]  # older clicks have no type arguments
    """Reads the text of an option; a default that is a number already stays as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what *value* says.

        Raises:
            EdgecnnError: as `read`, with the name of the option.
        """
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except EdgecnnError as error:
            raise EdgecnnError(f"{param.opts[0]}: {error}" if param else str(error)) from None

    def read(self, text: str) -> float:
        """Return the quantity that *text* says."""
        raise NotImplementedError


class Fraction(_Quantity):
    """A fraction: `0.4`, or `40%`."""

    name = "fraction"

    def read(self, text: str) -> float:
        """Return 0.4 for both.

        Raises:
            EdgecnnError: it is neither.
        """
        return parse_share(text) if text.strip().endswith("%") else _number(text, "0.4 or 40%")


class Points(_Quantity):
    """Points of accuracy, returned as a fraction: `0.5` and `0.5%` are 0.005."""

    name = "points"

    def read(self, text: str) -> float:
        """Return the fraction.

        Raises:
            EdgecnnError: no number, none from 0 to below 100, or so few points that a fraction was meant.
        """
        points = _percentage(text, "0.5 or 0.5%")
        if not 0 <= points < 100:
            raise EdgecnnError(f"a drop is from 0 to below 100 points of accuracy, not {points:g}")
        if 0 < points < _FEWEST_POINTS and "%" not in text:
            meant = f"{100 * points:g}"
            raise EdgecnnError(f"a drop is in points: for {meant} point{'s' * (meant != '1')} of accuracy give {meant}")
        return points / 100


class Percent(_Quantity):
    """A score or share in percent, returned as a fraction: `93.4` and `93.4%` are 0.934."""

    name = "percent"

    def read(self, text: str) -> float:
        """Return the fraction.

        Raises:
            EdgecnnError: no number.
        """
        return _percentage(text, "93.4 or 93.4%") / 100


class Size(_Quantity):
    """A size in bytes, with its unit: `64KiB`."""

    name = "size"

    def read(self, text: str) -> int:
        """Return the bytes.

        Raises:
            EdgecnnError: no size, or a number without a unit.
        """
        return parse_bytes(text)


class Duration(_Quantity):
    """A duration with its unit, returned in nanoseconds: `12ms`."""

    name = "duration"

    def read(self, text: str) -> float:
        """Return the nanoseconds.

        Raises:
            EdgecnnError: no duration, or a number without a unit.
        """
        return parse_ns(text)


def _percentage(text: str, forms: str) -> float:
    return _number(text.strip().removesuffix("%"), forms)


def _number(text: str, forms: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise EdgecnnError(f"'{text}' is not a number; write it like {forms}") from None
