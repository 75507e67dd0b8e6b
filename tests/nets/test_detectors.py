"""The heads of torchvision's detectors and their decoders find what the detectors themselves find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.mobilenetv3 import mobilenet_v3_small

from edgecnn.errors import EdgecnnError
from edgecnn.nets.detectors import heads_of, is_detector
from edgecnn.tasks.decoders import decoder_to_json

SIZE = (64, 96)


class Pyramid(torch.nn.Module):
    """Two small feature maps."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 32, 3, 8, 1)
        self.second = torch.nn.Conv2d(32, 32, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return maps at strides of 8 and 16."""
        first = torch.relu(self.first(x))
        return {"0": first, "1": torch.relu(self.second(first))}


def detector(kind: str) -> Any:
    """Return a small detector of random weights whose scores are spread out."""
    torch.manual_seed(0)
    more: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    if kind == "SSD":
        anchors = DefaultBoxGenerator([[2], [2, 3]], scales=[0.2, 0.4, 0.7], clip=False)
        made: Any = detection.ssd.SSD(
            Pyramid(),
            anchors,
            SIZE,
            4,
            head=detection.ssd.SSDHead([32, 32], anchors.num_anchors_per_location(), 4),
            **more,
        )
        made.transform.fixed_size = SIZE[::-1]
    else:
        sizes = ((12,), (24,)) if kind == "FCOS" else ((12, 16), (24, 30))
        ratios = ((1.0,),) * 2 if kind == "FCOS" else ((0.5, 1.0),) * 2
        cls = detection.FCOS if kind == "FCOS" else detection.RetinaNet
        made = cls(
            Pyramid(), 4, anchor_generator=AnchorGenerator(sizes, ratios), min_size=SIZE[0], max_size=SIZE[1], **more
        )
    for name, parameter in made.head.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.07 if "conv" in name or "cls" in name else 0.02)
        elif "cls" in name:
            torch.nn.init.zeros_(parameter)
    return made.eval()


@pytest.mark.parametrize("kind", ["SSD", "RetinaNet", "FCOS"])
def test_heads_and_decoder_do_what_the_detector_does(kind: str) -> None:
    """Boxes, scores and classes are those of the whole detector on the same image."""
    module = detector(kind)
    heads, image = heads_of(module), torch.rand(3, *SIZE)
    with torch.no_grad():
        (expected,) = module([image])
        normalized = heads.normalization.apply((image[None] * 255).numpy())  # type: ignore[arg-type]
        outputs = heads(torch.from_numpy(normalized))
    found = heads.decoder(SIZE)([output.numpy() for output in outputs.values()])[0]
    assert len(found) == len(expected["boxes"]) > 3
    assert np.allclose(found.scores, expected["scores"], atol=1e-5)
    assert np.allclose(found.xyxy, expected["boxes"], atol=1e-2)
    assert found.classes.tolist() == (expected["labels"] - int(kind == "SSD")).tolist()


def test_categories_with_gaps_are_numbered_as_the_data_are() -> None:
    """The background and the gaps of COCO's list are no classes."""
    heads = heads_of(detector("SSD"), ["__background__", "person", "N/A", "car"])
    assert decoder_to_json(heads.decoder(SIZE))["classes"] == [-1, 0, -1, 1]
    assert heads.labels == ("person", "car")


def test_two_stages_are_told_what_to_use() -> None:
    """A detector with two stages is refused before any converter sees it; another network is no detector."""
    backbone = torch.nn.Conv2d(3, 8, 3, 8, 1)
    backbone.out_channels = 8  # type: ignore[assignment]
    two = detection.FasterRCNN(backbone, 4, rpn_anchor_generator=AnchorGenerator(((16,),), ((1.0,),)))
    assert is_detector(two)
    with pytest.raises(EdgecnnError, match=r"FasterRCNN looks closer at the boxes .* use a detector with one stage"):
        heads_of(two)
    assert not is_detector(mobilenet_v3_small())
