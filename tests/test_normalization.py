"""How pixels become what a network expects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization

NUMBERS = st.floats(-4, 4).map(lambda x: float(f"{x:g}"))
SPREADS = st.floats(0.01, 4).map(lambda x: float(f"{x:g}"))


@pytest.mark.parametrize("text", ["pixels", "unit", "imagenet", "mean=0.5,std=0.25", "mean=0.1,0.2,0.3,std=1,2,4"])
def test_text_round_trips(text: str) -> None:
    """A normalization prints as the text it is read from."""
    assert str(Normalization.parse(text)) == text


@given(st.lists(st.tuples(NUMBERS, SPREADS), min_size=1, max_size=4))
def test_any_normalization_round_trips(channels: list[tuple[float, float]]) -> None:
    """Any normalization is read back from its text, to the digits it prints."""
    normalization = Normalization(tuple(m for m, _ in channels), tuple(s for _, s in channels))
    assert Normalization.parse(str(normalization)) == normalization


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Pixels",
        "mean=1",
        "mean=,std=",
        "mean=1,2,std=1",
        "mean=0,std=0",
        "mean=a,std=b",
        "mean=1e999,std=1",
        "mean=1,std=1e-300",
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    """Another text is refused with the known ones."""
    with pytest.raises(EdgecnnError, match="known: pixels, unit, imagenet"):
        Normalization.parse(text)


@given(hnp.arrays(np.uint8, (2, 3, 2, 2)))
def test_apply_is_its_formula(pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    """`apply` gives (pixel / 255 - mean) / std, channel by channel, in float32."""
    normalization = Normalization.parse("imagenet")
    mean, std = (np.reshape(values, (1, 3, 1, 1)) for values in (normalization.mean, normalization.std))
    result = normalization.apply(pixels)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, (pixels / 255 - mean) / std, atol=2e-6)


def test_pixels_and_unit() -> None:
    """`pixels` leaves 0…255 as they are, `unit` makes them 0…1."""
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    np.testing.assert_allclose(Normalization.parse("pixels").apply(pixels), pixels, rtol=1e-6)
    np.testing.assert_allclose(Normalization.parse("unit").apply(pixels), pixels / 255, rtol=1e-6)
