"""What many tests need: a trained network and its exported files, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecnn.pipeline import ExportResult, compress_model, export_model

SHARED = Path(__file__).parents[2] / "shared"


def shared(relative: str) -> Path:
    """Return a file of the shared folder beside the checkout, or skip the test where it is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"{relative} of the shared folder is not there")
    return path


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test measures goes into the history of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGECNN_HOME", raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def digits_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained digits network as a checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint") / "digits.safetensors"
    compress_model("edgecnn:digits-cnn", path, data="digits", pruning_ratio=0, epochs=12)
    return path


@pytest.fixture(scope="session")
def board(digits_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The trained network exported by the recipe `board`: ONNX and TFLite, fp32 and w8a8."""
    return export_model(str(digits_checkpoint), tmp_path_factory.mktemp("board"), recipe="board", data="digits")
