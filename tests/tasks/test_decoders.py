"""Decoders in numpy find what torchvision's own code finds."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torchvision.models.detection import _utils, anchor_utils
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet as TorchRetinaNet
from torchvision.models.detection.ssd import SSD as TorchSsd  # noqa: N811

from edgecnn.errors import EdgecnnError
from edgecnn.tasks.boxes import Detections
from edgecnn.tasks.decoders import (
    DECODERS,
    Decoder,
    OwnDecoder,
    decoder_from_json,
    decoder_to_json,
    open_decoder,
)
from edgecnn.tasks.heads import RetinaNet, Ssd, YoloV5, YoloV8
from edgecnn.tasks.nms import nms

SIZE = (48, 64)
GRIDS = ((6, 8), (3, 4))
RNG = np.random.default_rng(0)

SSD = Ssd(size=SIZE, grids=GRIDS, aspect_ratios=((2.0,), (2.0, 3.0)), scales=(0.2, 0.5, 0.9), detections=50)
RETINA = RetinaNet(
    size=SIZE, grids=GRIDS, anchor_sizes=((8, 12), (20, 28)), aspect_ratios=((0.5, 1.0, 2.0),) * 2, candidates=60
)


def images() -> tuple[ImageList, list[torch.Tensor]]:
    """Return two images and their feature maps, as torchvision's generators of anchors take them."""
    return ImageList(torch.zeros(2, 3, *SIZE), [SIZE] * 2), [torch.zeros(2, 1, *grid) for grid in GRIDS]


def assert_same(found: list[Detections], expected: list[dict[str, torch.Tensor]], first_class: int) -> None:
    """See that both have the same boxes, in order, and some of them."""
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs["boxes"]) > 5
        assert np.allclose(ours.xyxy, theirs["boxes"], atol=1e-3)
        assert np.allclose(ours.scores, theirs["scores"], atol=1e-6)
        assert ours.classes.tolist() == (theirs["labels"] - first_class).tolist()


def test_nms_keeps_what_torchvisions_does() -> None:
    """The same boxes are kept, in the same order, whatever the threshold."""
    corners = RNG.uniform(0, 20, (300, 2))
    boxes, scores = np.concatenate([corners, corners + RNG.uniform(1, 12, (300, 2))], axis=1), RNG.random(300)
    for threshold in (0.0, 0.3, 0.7, 1.0):
        expected = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
        assert nms(boxes, scores, threshold).tolist() == expected.tolist()


@pytest.mark.parametrize("steps", [None, (8.0, 16.0)])
def test_ssd_finds_what_torchvisions_does(steps: tuple[float, ...] | None) -> None:
    """Anchors, offsets, softmax, thresholds and suppression are those of torchvision's SSD."""
    generator = anchor_utils.DefaultBoxGenerator(
        [[2], [2, 3]], scales=list(SSD.scales), steps=None if steps is None else [8, 16]
    )
    anchors = generator(*images())
    own = SSD if steps is None else Ssd(**{**vars(SSD), "steps": steps})
    assert np.allclose(own.anchors, anchors[0], atol=1e-4)
    head = {
        "bbox_regression": torch.from_numpy(RNG.normal(size=(2, len(anchors[0]), 4)).astype(np.float32)),
        "cls_logits": torch.from_numpy(RNG.normal(0, 2, size=(2, len(anchors[0]), 5)).astype(np.float32)),
    }
    how = SimpleNamespace(
        box_coder=_utils.BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)),
        score_thresh=0.01,
        nms_thresh=0.45,
        topk_candidates=400,
        detections_per_img=50,
    )
    expected = TorchSsd.postprocess_detections(how, head, anchors, [SIZE] * 2)
    outputs = [part.numpy() for part in head.values()]
    assert_same(own(outputs), expected, first_class=1)
    assert_same(own(outputs[::-1]), expected, first_class=1)


def test_retinanet_finds_what_torchvisions_does() -> None:
    """Anchors, offsets, sigmoid, the best of each map and suppression are those of torchvision's RetinaNet."""
    generator = anchor_utils.AnchorGenerator(RETINA.anchor_sizes, RETINA.aspect_ratios)
    anchors = generator(*images())
    per_map = [rows * columns * 6 for rows, columns in GRIDS]
    offsets = torch.from_numpy(RNG.normal(0, 0.5, size=(2, sum(per_map), 4)).astype(np.float32))
    logits = torch.from_numpy(RNG.normal(-2, 2, size=(2, sum(per_map), 3)).astype(np.float32))
    how = SimpleNamespace(
        box_coder=_utils.BoxCoder(weights=(1.0, 1.0, 1.0, 1.0)),
        score_thresh=0.05,
        nms_thresh=0.5,
        topk_candidates=60,
        detections_per_img=300,
    )
    head = {"cls_logits": logits.split(per_map, 1), "bbox_regression": offsets.split(per_map, 1)}
    split = [list(one.split(per_map)) for one in anchors]
    expected = TorchRetinaNet.postprocess_detections(how, head, split, [SIZE] * 2)
    assert_same(RETINA([logits.numpy(), offsets.numpy()]), expected, first_class=0)


@pytest.mark.parametrize("version", [5, 8])
def test_yolo_finds_the_boxes_of_its_head(version: int) -> None:
    """Both layouts give the boxes over the threshold, suppressed within their class as torchvision does."""
    centred = np.concatenate([RNG.uniform(10, 40, (200, 2)), RNG.uniform(4, 16, (200, 2))], axis=1)
    scores, objectness = RNG.random((200, 3)), RNG.random((200, 1))
    how: dict[str, Any] = {"size": SIZE, "score_threshold": 0.4, "nms_threshold": 0.5}
    if version == 8:
        head = np.concatenate([centred, scores], axis=1).T[None]
        found = YoloV8(**how)([head])[0]
        for parts in ([head[:, :4], head[:, 4:]], [head[:, 4:], head[:, :4]]):
            assert YoloV8(**how)(parts)[0].xyxy.tolist() == found.xyxy.tolist()
    else:
        found = YoloV5(**how)([np.concatenate([centred, objectness, scores], axis=1)[None]])[0]
        scores = scores * objectness
    at, classes = np.nonzero(scores > 0.4)
    half = centred[:, 2:] / 2
    boxes = np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)[at].clip(0, [64, 48, 64, 48])
    given = (torch.from_numpy(boxes), torch.from_numpy(scores[at, classes]), torch.from_numpy(classes))
    kept = torchvision.ops.batched_nms(*given, 0.5).numpy()
    assert len(found) == len(kept) > 10
    assert np.allclose(found.xyxy, boxes[kept])
    assert found.classes.tolist() == classes[kept].tolist()


def test_output_classes_are_mapped() -> None:
    """A head that counts the background and gaps gives the class numbers of the data, and nothing for the others."""
    head = np.zeros((1, 4 + 3, 3))
    head[0, :4] = np.asarray([[8, 8, 4, 4], [20, 20, 4, 4], [30, 30, 4, 4]]).T
    head[0, 4:] = np.eye(3)
    found = YoloV8(classes=(-1, 5, 0))([head])[0]
    assert sorted(found.classes) == [0, 5]
    background = SSD([np.zeros((1, len(SSD.anchors), 4)), np.tile([9.0, 0, 0, 4], (1, len(SSD.anchors), 1))])[0]
    assert set(background.classes) <= {2}
    with pytest.raises(EdgecnnError, match="names 2 output classes, the head has 3"):
        YoloV8(classes=(0, 1))([head])


@pytest.mark.parametrize("decoder", [SSD, RETINA, YoloV5(detections=7), YoloV8(size=SIZE, classes=(-1, 0))])
def test_parameters_travel_as_json(decoder: Decoder) -> None:
    """What is written is read again, the same."""
    document = json.loads(json.dumps(decoder_to_json(decoder)))
    assert decoder_from_json(document, "x.json") == decoder


def test_a_decoder_is_named_in_many_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, with parameters, by a file of them, and by the user's own function."""
    assert open_decoder("yolov8", SIZE) == YoloV8(size=SIZE)
    assert open_decoder("yolov5:nms_threshold=0.5,detections=9") == YoloV5(nms_threshold=0.5, detections=9)
    (tmp_path / "ssd.json").write_text(json.dumps(decoder_to_json(SSD)))
    assert open_decoder(str(tmp_path / "ssd.json"), (1, 1)) == SSD
    (tmp_path / "own.py").write_text("def decode(outputs):\n    return [outputs[0][0, 0]]\n")
    monkeypatch.chdir(tmp_path)
    own = open_decoder("own.py:decode")
    assert own([np.full((1, 1), 7)]) == [7]
    assert decoder_to_json(own) == {"decoder": "own.py:decode"}
    assert isinstance(open_decoder(lambda outputs: outputs), OwnDecoder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("yolo8", "unknown decoder 'yolo8'; did you mean 'yolov8'"),
        ("yolov8:nms=0.5", "unknown key in --decode yolov8:nms=0.5: 'nms'"),
        ("yolov8:fast", "'fast' is no parameter"),
        ("yolov8:nms_threshold=2", "nms_threshold is from 0 to 1, found 2"),
        ("ssd", "missing keys 'size', 'grids', 'aspect_ratios', 'scales'"),
        ("none.json", "no file at 'none.json'"),
        ("nowhere:decode", "no module named 'nowhere'"),
    ],
)
def test_what_names_no_decoder_is_told(given: str, message: str) -> None:
    """Each mistake ends in one line that says what is known."""
    with pytest.raises(EdgecnnError, match=message):
        open_decoder(given)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "expected an object with the name of a 'decoder'"),
        ({"decoder": "os:system"}, "unknown decoder in x.json: 'os:system'; known: fcos, .* with --decode"),
        ({"decoder": "yolov8", "size": [1, 2, 3]}, r"are height and width in pixels, found \[1, 2, 3\]"),
        ({"decoder": "yolov8", "size": "big"}, "expected a list"),
        ({**decoder_to_json(SSD), "scales": [0.1]}, "2 feature maps need .* scales of 3 numbers, found 2, 2 and 1"),
        ({**decoder_to_json(RETINA), "anchor_sizes": [[8]]}, "need as many anchor_sizes"),
        ({**decoder_to_json(SSD), "weights": [10, 10, 0, 5]}, "weights holds 0.0; it has to be above 0"),
        ({**decoder_to_json(SSD), "aspect_ratios": [[-2], [1]]}, "aspect_ratios holds -2.0"),
        ({**decoder_to_json(SSD), "grids": [[9999, 9999], [1, 1]]}, "more than 1048576 cells"),
        ({"decoder": "yolov5", "detections": 0}, "detections holds 0"),
    ],
)
def test_no_file_chooses_code(document: Any, message: str) -> None:
    """Metadata names a decoder of edgecnn and its numbers; anything else is refused in one line."""
    with pytest.raises(EdgecnnError, match=message):
        decoder_from_json(document, "x.json")


@pytest.mark.parametrize(
    ("decoder", "shapes", "message"),
    [
        (YoloV8(), [(1, 4, 9)], r"expected an output \[n, 4 \+ classes, k\].*found \[1, 4, 9\]"),
        (YoloV8(), [(1, 4)], r"expected 1 or 2 outputs of 3 dimensions, found \[1, 4\]"),
        (YoloV5(), [(1, 9, 5)], r"expected an output \[n, k, 5 \+ classes\], found \[1, 9, 5\]"),
        (SSD, [(1, 9, 4), (1, 9, 3)], r"for its .* anchors, found \[1, 9, 4\], \[1, 9, 3\]"),
        (RETINA, [(1, 360, 5), (1, 360, 3)], "expected box offsets"),
    ],
)
def test_outputs_of_another_head_are_told(decoder: Decoder, shapes: list[tuple[int, ...]], message: str) -> None:
    """A decoder says which outputs it needs and which it got."""
    with pytest.raises(EdgecnnError, match=message):
        decoder([np.zeros(shape) for shape in shapes])


def test_a_function_that_raises_is_told() -> None:
    """The error of the user's own decoder is one line with its name."""

    def broken(outputs: Any) -> Any:
        return outputs[3]

    with pytest.raises(EdgecnnError, match=r"decoder .*broken failed: IndexError"):
        open_decoder(broken)([np.zeros(1)])


def test_every_row_is_there() -> None:
    """Each name in the table stands for a decoder of that name."""
    assert [DECODERS.load(name).__name__.lower() for name in DECODERS.rows] == list(DECODERS.rows)
