"""What is odd about calibration samples is told before a network is quantized by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.export import CalibrationInputs
from edgecnn.export.calibration import check_calibration, check_halves
from edgecnn.samples import Samples
from edgecnn.tasks.boxes import Boxes, per_image


def images(count: int = 20) -> npt.NDArray[np.float32]:
    """Return images of noise, [count, 1, 4, 4]."""
    return np.random.default_rng(0).standard_normal((count, 1, 4, 4)).astype(np.float32)


def told(x: npt.NDArray[Any], labels: npt.NDArray[Any] | None = None, asked: int = 20) -> tuple[str, ...]:
    """Return what is told of these samples."""
    return check_calibration(CalibrationInputs(Samples.of(x, labels), None), asked, 10)


def test_nothing_is_told_of_good_samples() -> None:
    """As many as asked for, of several classes, all different; boxes and label images are no classes."""
    assert told(images(), np.arange(20) % 10) == ()
    assert told(images(), per_image(Boxes([[0, 0, 1, 1]], [3]) for _ in range(20))) == ()  # type: ignore[arg-type]
    assert told(images(), np.zeros((20, 4, 4), np.uint8)) == ()
    assert told((255 * np.random.default_rng(0).random((20, 3, 4, 4))).astype(np.uint8)) == ()


@pytest.mark.parametrize(
    ("x", "labels", "asked", "words"),
    [
        (images(), np.full(20, 3), 20, ("all 20", "class 3", "every class")),
        (np.tile(images(5), (4, 1, 1, 1)), None, 20, ("15 of 20", "copies")),
        (images() * (np.arange(20) > 2)[:, None, None, None], None, 20, ("3 of 20", "blank")),
        (np.rint(np.abs(100 * images())), None, 20, ("pixels", "--normalize")),
        (images(), None, 64, ("20 samples", "asks for 64", "add more")),
    ],
    ids=["one class", "copies", "blank", "pixels", "few"],
)
def test_each_oddity_is_told_with_what_to_do(
    x: npt.NDArray[Any], labels: npt.NDArray[Any] | None, asked: int, words: tuple[str, ...]
) -> None:
    """One sentence, the count and the remedy in it."""
    [sentence] = told(x, labels, asked)
    assert all(word in sentence for word in words)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_that_is_not_finite_is_refused(value: float) -> None:
    """With its number: no range can be taken from it."""
    x = images()
    x[7, 0, 1, 2] = value
    with pytest.raises(EdgecnnError, match="sample 7"):
        told(x)


@pytest.mark.parametrize("loud", [False, True])
def test_halves_that_disagree_are_told(loud: bool, tmp_path: Path) -> None:
    """Where a single sample is ten times as loud as the others, and not where all are alike."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1, 1, 4, 4]) for name in ("x", "y")]
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Neg", ["r"], ["y"])]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    x = np.clip(images(40), -1, 1)
    x[:, 0, 0, 0] = 1.0
    x[3] *= 10 if loud else 1
    found = check_halves(Artifact.open(tmp_path / "net.onnx"), CalibrationInputs(Samples.of(x), None))
    assert len(found) == loud
    assert all("more samples" in sentence for sentence in found)
