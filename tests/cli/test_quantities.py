"""How commands read fractions, points and sizes."""

from __future__ import annotations

import pytest

from edgecnn.cli.quantities import Fraction, Percent, Points, Size
from edgecnn.errors import EdgecnnError


@pytest.mark.parametrize("text", ["0.4", "40%", " 40 % "])
def test_a_fraction_may_be_in_percent(text: str) -> None:
    """Both forms are the same share."""
    assert Fraction().convert(text, None, None) == pytest.approx(0.4)


@pytest.mark.parametrize("text", ["0.5", "0.5%", "0.5 %"])
def test_points_may_have_a_percent_sign(text: str) -> None:
    """Half a point of accuracy, however it is written."""
    assert Points().convert(text, None, None) == pytest.approx(0.005)


def test_few_points_need_the_percent_sign() -> None:
    """0.01 alone is taken for a fraction and refused; with the sign it is a hundredth of a point."""
    with pytest.raises(EdgecnnError, match=r"^a drop is in points: for 1 point of accuracy give 1$"):
        Points().convert("0.01", None, None)
    assert Points().convert("0.01%", None, None) == pytest.approx(0.0001)


def test_a_score_may_have_a_percent_sign() -> None:
    """Both forms are the same score."""
    assert Percent().convert("93.4%", None, None) == Percent().convert("93.4", None, None) == pytest.approx(0.934)


def test_a_size_has_a_unit() -> None:
    """It is returned in bytes; a number alone is refused."""
    assert Size().convert("64KiB", None, None) == 65536
    with pytest.raises(EdgecnnError, match="has no unit"):
        Size().convert("64", None, None)


@pytest.mark.parametrize("points", ["-1", "100", "nan"])
def test_a_drop_is_within_its_range(points: str) -> None:
    """Nobody loses less than nothing or all of the accuracy."""
    with pytest.raises(EdgecnnError, match="from 0 to below 100 points"):
        Points().convert(points, None, None)
