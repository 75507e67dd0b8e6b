"""Detectors and segmenters through the whole loop: a file runs, its heads are decoded, its answers judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper

from edgecnn.artifact import Artifact
from edgecnn.datasets import Dataset, in_memory
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.choice import TaskChoice
from edgecnn.evaluate.files import evaluate
from edgecnn.samples import Samples
from edgecnn.tasks.boxes import Boxes, per_image

SIZE = (50, 100)


def echo(path: Path, shape: Sequence[int]) -> Artifact:
    """Write a file whose output is its input [1, *shape]: what the samples hold is what the network says."""
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, *shape)) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "echo", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return Artifact.open(path)


def data_of(x: npt.NDArray[Any], y: Any, task: str) -> Dataset:
    """Return a data set for evaluation."""
    samples = Samples.of(x, y)
    return replace(in_memory("data", samples, samples, None, None), task=task)


@pytest.fixture(scope="module")
def detection() -> Dataset:
    """Thirty images with two objects each, as the head of a YOLO that finds all of them, and half of them twice."""
    rng = np.random.default_rng(0)
    heads, truth = [], []
    for _ in range(30):
        centres, sides = rng.uniform([20, 15], [80, 35], (2, 2)), rng.uniform(6, 20, (2, 2))
        classes = rng.permutation(3)[:2]
        head = np.zeros((4 + 3, 4), np.float32)
        head[:4, :2] = np.concatenate([centres, sides], axis=1).T
        head[4 + classes, [0, 1]] = 0.9
        head[:, 2], head[:4, 3] = head[:, 0] * 0.999, 5  # the third is suppressed, the fourth has no score
        heads.append(head)
        truth.append(Boxes(np.concatenate([centres - sides / 2, centres + sides / 2], axis=1), classes, size=SIZE))
    return data_of(np.stack(heads), per_image(truth), "detection")


def test_a_detector_is_judged_by_what_its_decoder_finds(tmp_path: Path, detection: Dataset) -> None:
    """Raw outputs become boxes, boxes become mAP with its interval; a sloppier decoder finds less."""
    file = echo(tmp_path / "yolo.onnx", (7, 4))
    found = evaluate(file, detection, task=TaskChoice(decode="yolov8:score_threshold=0.25")).scores
    assert [(score.name, score.n) for score in found] == [("mAP50-95", 30), ("mAP50", 30)]
    assert [score.value for score in found] == pytest.approx([1.0, 1.0], abs=0.01)

    def shifted(outputs: Any) -> Any:
        head = outputs[0]
        boxes = np.concatenate([head[:, :2] - head[:, 2:4] / 2, head[:, :2] + head[:, 2:4] / 2], axis=1) + 1.5
        return [(one.T[:2], raw[4:].max(0)[:2], raw[4:].argmax(0)[:2]) for one, raw in zip(boxes, head, strict=True)]

    worse = evaluate(file, detection, task=TaskChoice(decode=shifted)).scores
    assert worse[0].value < worse[1].value
    assert worse[0].high < 0.9


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (None, r"yolo\.onnx: detection: the outputs \[\d+, 7, 4\] have to be decoded to boxes: add --decode"),
        (lambda outputs: outputs[9], "decoder .* failed: IndexError"),
        (lambda outputs: [([], [], [])], "gives 1 images for"),
        (lambda outputs: [([[0, 0, np.nan, 1]], [1], [0])] * len(outputs[0]), "an edge that is not finite"),
        (lambda outputs: [([[0, 70, 9, 90]], [1], [0])] * len(outputs[0]), "outside of the input of 100x50 pixels"),
        ("yolov5", r"decoder yolov5: expected an output \[n, k, 5 \+ classes\], found \[\d+, 7, 4\]"),
    ],
)
def test_a_decoder_that_does_not_suit_is_one_line(
    tmp_path: Path, detection: Dataset, decode: Any, message: str
) -> None:
    """None at all, one that raises, or one whose boxes are none: each names the file and what is wrong."""
    file = echo(tmp_path / "yolo.onnx", (7, 4))
    with pytest.raises(EdgecnnError, match=message) as told:
        evaluate(file, detection, task=TaskChoice(decode=decode))
    assert "\n" not in str(told.value)
    assert "yolo.onnx" in str(told.value)


def test_a_segmenter_is_judged_at_the_resolution_of_its_masks(tmp_path: Path) -> None:
    """Logits at half of the resolution are resized; a mask with a value that is no class is told with the file."""
    masks = np.repeat(np.repeat(np.arange(4).reshape(1, 2, 2), 4, 1), 4, 2)
    logits = 9 * np.eye(4, dtype=np.float32)[masks[:, ::2, ::2]].transpose(0, 3, 1, 2)
    file = echo(tmp_path / "unet.onnx", logits.shape[1:])
    x = np.concatenate([logits, logits[:, ::-1]])
    found = evaluate(file, data_of(x, np.concatenate([masks, masks]), "segmentation")).scores
    assert [score.name for score in found] == ["mIoU", "pixel accuracy"]
    assert found[0].value == pytest.approx(1 / 3)  # half of the pixels of each class, and as many wrong ones
    assert found[1].value == pytest.approx(1 / 2)
    with pytest.raises(EdgecnnError, match=r"unet\.onnx: segmentation: a mask holds the value 7, the output has 4"):
        evaluate(file, data_of(logits, np.full((1, 8, 8), 7), "segmentation"))
