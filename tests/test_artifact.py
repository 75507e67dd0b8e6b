"""What an exported file says of itself is read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tflite_builder import Builder

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.export.tflite import save_tflite


def written(path: Path, **metadata: object) -> Artifact:
    """Return a linear layer over vectors, [1, 8] to [1, 4], with these metadata."""
    builder = Builder("float32")
    x = builder.tensor((1, 8))
    save_tflite(builder.file([x], [builder.dense(x, 4)]), path / "net.tflite", metadata)
    return Artifact.open(path / "net.tflite")


@pytest.mark.parametrize("layout", ["NC", "NCHW", "NHWC"])
def test_every_layout_that_exports_write_is_read(tmp_path: Path, layout: str) -> None:
    """Files of vectors say NC, those of images where their channels are."""
    assert written(tmp_path, layout=layout, notes=["kept unchanged"]).layout == layout


def test_another_layout_is_named(tmp_path: Path) -> None:
    """One that no export writes is an error that names the key and those there are."""
    with pytest.raises(EdgecnnError, match=r"metadata\.layout.*NC, NCHW, NHWC"):
        _ = written(tmp_path, layout="CHWN").layout
