"""The emulated board's image, for the files that boot it."""

from __future__ import annotations

import pytest
from emulated_board import board_image

from edgecnn.targets.board.image import Image


@pytest.fixture(scope="session")
def image() -> Image:
    """The board's image."""
    return board_image()
