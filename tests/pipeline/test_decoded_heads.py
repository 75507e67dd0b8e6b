"""A detector whose output is decoded, boxes in pixels beside scores: int8 keeps its mAP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgecnn
from edgecnn import TaskChoice
from edgecnn.nets.network import Network
from edgecnn.pipeline import export_model
from edgecnn.tasks.boxes import Boxes, per_image

SIDE, CELL = 192, 8
COUNT = SIDE // CELL

pytestmark = pytest.mark.slow


class Squares(nn.Module):
    """Finds squares in three colours, with weights set by hand: [n, 4 + 3, cells], as YOLOv8 has it.

    A cell that is wholly of a colour scores 0.12 for it. The width of a square is the root of the area in 3x3 cells;
    its edges are found from the middle of the cell, and centre and size from the edges.
    """

    def __init__(self) -> None:
        super().__init__()
        self.area, self.cover = nn.Conv2d(3, 1, 3 * CELL, CELL, CELL), nn.Conv2d(3, 3, CELL, CELL)
        with torch.no_grad():
            self.area.weight.fill_(1)
            self.area.bias.zero_()  # type: ignore[union-attr]
            self.cover.weight.copy_(40 / CELL**2 * torch.eye(3).reshape(3, 3, 1, 1).expand(3, 3, CELL, CELL))
            self.cover.bias.fill_(-42)  # type: ignore[union-attr]
        middle = CELL * (torch.arange(COUNT) + 0.5)
        middles = torch.stack(torch.meshgrid(middle, middle, indexing="xy"))[None].flatten(2)
        self.register_buffer("middles", middles, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, 3, 192, 192] to boxes and scores."""
        half = self.area(x).clamp(1, 600).sqrt().flatten(2) / 2
        near, far = self.middles - half, self.middles + half
        boxes = torch.cat([(near + far) / 2, far - near], 1)
        return torch.cat([boxes, self.cover(x).sigmoid().flatten(2)], 1)


def squares(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images with a square of 10 to 22 pixels in the middle of a cell, and its box."""
    rng = np.random.default_rng(0)
    images, truth = np.zeros((count, 3, SIDE, SIDE), np.float32), []
    for image in images:
        colour, half = rng.integers(3), rng.integers(5, 12)
        x, y = CELL * rng.integers(1, COUNT - 1, 2) + CELL // 2
        image[colour, y - half : y + half, x - half : x + half] = 1
        truth.append(Boxes([[x - half, y - half, x + half, y + half]], [colour], size=(SIDE, SIDE)))  # type: ignore[arg-type]
    return images, per_image(truth)


@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_int8_keeps_boxes_and_scores_of_a_decoded_output(tmp_path: Path, format_name: str) -> None:
    """Decoding stays in float where the outputs are; where they must be int8, less than half of the mAP is left."""
    network = Network("squares", Squares().eval())
    recipe = edgecnn.Recipe("both", "", files={format_name: ("fp32", "w8a8")}, evaluation_samples=40)
    task = TaskChoice(task="detection", decode="yolov8")

    def scores(recipe: edgecnn.Recipe) -> list[float]:
        out = tmp_path / recipe.output_dtype
        data = edgecnn.DataSource(squares(80), normalization="pixels")
        found = export_model(network, out, recipe=recipe, data=data, task=task)
        return [file.scores[0].value for file in found.files]

    real, kept = scores(recipe)
    assert real > 0.99
    assert kept > real - 0.01
    assert scores(replace(recipe, files={format_name: ("w8a8",)}, output_dtype="int8"))[0] < 0.5 * real
