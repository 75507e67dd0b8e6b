"""How pixels become what a network expects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization, Placement, Resize

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


@pytest.mark.parametrize(
    ("text", "resize"),
    [
        ("256", Resize(256)),
        ("256:224", Resize(256, crop=224)),
        ("236:224:bicubic", Resize(236, "bicubic", 224)),
        ("64:nearest", Resize(64, "nearest")),
    ],
)
def test_resize_is_read_and_written(text: str, resize: Resize) -> None:
    """The shorter side, the crop and the interpolation go from text and back."""
    assert Resize.parse(text) == resize
    assert str(resize) == text


@pytest.mark.parametrize("text", ["", "0", "224:256", "256:", "256x224", "256:224:lanczos", "99999", "-1", "2.5"])
def test_what_is_no_resize_is_refused(text: str) -> None:
    """The message shows the form, or says that the crop is larger than the side."""
    with pytest.raises(EdgecnnError, match=r"256:224 or 256:224:bicubic|crop of 256"):
        Resize.parse(text)


@pytest.mark.parametrize(
    ("resize", "image", "side", "scaled"),
    [
        (Resize(256), (500, 1000), (224, 224), (256, 512)),
        (Resize(256, crop=224), (500, 1000), (224, 224), (256, 512)),
        (Resize(256, crop=224), (1000, 500), (192, 192), (439, 219)),  # 192 * 256 / 224 = 219.4
        (Resize(256), (1000, 500), (192, 192), (512, 256)),  # the side as given, whatever the network's
        (Resize(16), (500, 500), (32, 32), (32, 32)),  # never smaller than what is cut out
        (Resize(256, crop=224), (300, 300), (224, 112), (256, 256)),
    ],
)
def test_resize_gives_the_size_to_scale_to(
    resize: Resize, image: tuple[int, int], side: tuple[int, int], scaled: tuple[int, int]
) -> None:
    """The shorter side becomes what is asked for, in proportion to the network's size where a crop is given."""
    assert resize.size(image, side) == scaled


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_normalization_of_other_channels_is_refused(count: int) -> None:
    """Means and deviations are one for all channels or one for each: 3 are not for a grey network, nor 2 for three."""
    of_many = Normalization((0.5,) * count, (0.25,) * count)
    with pytest.raises(EdgecnnError, match=rf"{count} means, the input has 1 channel: give one of mean and std"):
        of_many.check_channels((1, 8, 8))
    of_many.check_channels((count, 8, 8))
    Normalization().check_channels((count, 8, 8))


@pytest.mark.parametrize(("mean", "std"), [((0.5,) * 3, (0.5,)), ((0.5,), (0.5,) * 3), ((), ())])
def test_means_and_deviations_come_in_pairs(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """A mean without its deviation is refused where it is made."""
    with pytest.raises(EdgecnnError, match="as many means as standard deviations"):
        Normalization(mean, std)


@pytest.mark.parametrize("text", ["stretch", "letterbox", "letterbox:bicubic"])
def test_other_ways_to_fit_are_read_and_written(text: str) -> None:
    """`stretch` and `letterbox` are read, with an interpolation or without, and written the same."""
    assert str(Resize.parse(text)) == text
    with pytest.raises(EdgecnnError, match="or stretch, or letterbox"):
        Resize.parse(f"{text}:7")


@pytest.mark.parametrize(
    ("text", "image", "side", "place"),
    [
        ("256", (500, 1000), (224, 224), Placement(256, 512, -144, -16)),
        ("stretch", (500, 1000), (224, 96), Placement(224, 96, 0, 0)),
        ("letterbox", (500, 1000), (224, 224), Placement(112, 224, 0, 56)),
        ("letterbox", (1000, 500), (101, 100), Placement(101, 50, 25, 0)),
    ],
)
def test_an_image_lies_in_the_middle(
    text: str, image: tuple[int, int], side: tuple[int, int], place: Placement
) -> None:
    """What is too much is cut off on both sides, what is too little is filled on both."""
    assert Resize.parse(text).place(image, side) == place
