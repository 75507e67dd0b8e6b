"""Whether the emulated board can be had here, for the tests that need a real ARM64 machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.targets.board.image import Image, build_board


def board_image() -> Image:
    """Return the image, built in the user's cache where it is not there yet, or skip: in CI that is a failure."""
    try:
        return build_board()
    except EdgecnnError as error:
        give_up(str(error))


def give_up(reason: str) -> NoReturn:
    """Skip for *reason*; fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
