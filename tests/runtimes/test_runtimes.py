"""Which runtime runs what, and that each gives what its own interface gives."""

from __future__ import annotations

import pytest

from edgecnn.errors import EdgecnnError
from edgecnn.runtimes import runtime_class, runtime_for, runtimes_for


def test_each_format_has_its_usual_runtime() -> None:
    """LiteRT runs .tflite and onnxruntime runs .onnx, unless somebody says otherwise."""
    assert runtime_for("tflite") == "litert"
    assert runtime_for("onnx") == "onnxruntime"
    assert runtimes_for("onnx") == ["onnxruntime"]


def test_a_runtime_of_another_format_is_refused() -> None:
    """The message says what the runtime runs, and which one runs the file."""
    with pytest.raises(EdgecnnError, match=r"onnxruntime runs \.onnx; for \.tflite use: litert"):
        runtime_for("tflite", "onnxruntime")


def test_an_unknown_runtime_is_refused() -> None:
    """The message gives the near match."""
    with pytest.raises(EdgecnnError, match="did you mean 'litert'"):
        runtime_for("tflite", "liter")


@pytest.mark.parametrize(("name", "extra"), [("litert", "litert"), ("onnxruntime", "onnx")])
def test_each_says_how_it_is_installed(name: str, extra: str) -> None:
    """The pip line names the extra that brings it, without importing it."""
    assert runtime_class(name).install == f"pip install 'edgecnn[{extra}]', or '.[{extra}]' in a checkout"
