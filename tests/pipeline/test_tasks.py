"""Networks of every task on their way: exported, judged and compressed by what the data say of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgecnn
from edgecnn import TaskChoice
from edgecnn.artifact import Artifact
from edgecnn.datasets import DataSource, open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.files import evaluate
from edgecnn.nets.network import Network
from edgecnn.pipeline import ExportResult, Training, Uniform, compress_model, export_model

SIDE = 32
FLOATS = edgecnn.Recipe("floats", "", files={"onnx": ("fp32",)}, evaluation_samples=40)
BOXES = DataSource("scenes:detection", input_shape=(3, SIDE, SIDE))

pytestmark = pytest.mark.slow


class Detector(nn.Module):
    """A grid of boxes in the layout of YOLOv8, [n, 4 + classes, k]."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Conv2d(8, 4 + classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, 3, H, W] to boxes and scores."""
        found = self.body(x).flatten(2)
        return torch.cat([SIDE * found[:, :4].sigmoid(), found[:, 4:].sigmoid()], 1)


def pixels(classes: int) -> nn.Module:
    """Return a segmenter with as many classes as it has channels where that is asked for."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, classes, 1)).eval()


@pytest.fixture(scope="module")
def detected(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportResult, Path]:
    """A detector exported with its decoder."""
    folder = tmp_path_factory.mktemp("detected")
    network = Network("det", Detector().eval(), input_shape=(3, SIDE, SIDE))
    task = TaskChoice(decode="yolov8:nms_threshold=0.5")
    return export_model(network, folder, task=task, data=BOXES, recipe=FLOATS), folder


def test_a_detector_is_judged_by_its_decoder(detected: tuple[ExportResult, Path]) -> None:
    """The file keeps its raw outputs and records the decoder; it scores what the network scores."""
    result, _ = detected
    assert result.reference is not None
    (file,) = result.files
    assert [score.name for score in file.scores] == ["mAP50-95", "mAP50"]
    assert file.scores[0].value == pytest.approx(result.reference.value, abs=1e-6)
    assert file.artifact.outputs[0].shape[1:] == (14, (SIDE // 8) ** 2)
    metadata = file.artifact.metadata
    assert (metadata["task"], metadata["metric"]) == ("detection", None)
    assert metadata["decode"] == {"decoder": "yolov8", "size": [SIDE, SIDE], "nms_threshold": 0.5}
    assert file.parity.top1_agreement is None


def test_a_file_is_judged_by_what_it_records(detected: tuple[ExportResult, Path]) -> None:
    """No option is needed for a file that says its task and its decoder."""
    artifact = Artifact.open(detected[0].files[0].path)
    data = open_dataset("scenes:detection", side=(SIDE, SIDE))
    found = evaluate(artifact, data)
    assert [score.name for score in found.scores] == ["mAP50-95", "mAP50"]


@pytest.mark.parametrize(
    ("decode", "told"),
    [
        (None, "detection"),
        ("mine.py:fails", "decoder mine.py:fails failed: ValueError: no luck"),
        ("mine.py:outside", "has a box outside of the input of 32x32 pixels"),
        ("mine.py:nan", "not finite"),
        ("yolov9", "unknown decoder 'yolov9'"),
    ],
)
def test_a_decoder_that_does_not_fit_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decode: str | None, told: str
) -> None:
    """It is told with the name of the network, before anything is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def fails(outputs):\n    raise ValueError('no luck')\n"
        "def outside(outputs):\n"
        "    return [(np.array([[40, 40, 99, 99.0]]), np.ones(1), np.zeros(1, int)) for _ in outputs[0]]\n"
        "def nan(outputs):\n"
        "    return [(np.array([[0, 0, 9, 9.0]]), np.array([np.nan]), np.zeros(1, int)) for _ in outputs[0]]\n"
    )
    network = Network("det", Detector().eval(), input_shape=(3, SIDE, SIDE))
    with pytest.raises(EdgecnnError, match=told):
        export_model(network, tmp_path / "out", task=TaskChoice(decode=decode), data=BOXES, recipe=FLOATS)
    assert not (tmp_path / "out").exists()


def test_a_segmenter_of_as_many_classes_as_channels_is_one(tmp_path: Path) -> None:
    """Three channels in, the scenes' classes out: the data say what it is; for class numbers it is refused."""
    classes = len(open_dataset("scenes:segmentation", side=(SIDE, SIDE)).labels or ())
    network = Network("pixels", pixels(classes), input_shape=(3, SIDE, SIDE))
    scenes = DataSource("scenes:segmentation", input_shape=(3, SIDE, SIDE))
    result = export_model(network, tmp_path / "out", data=scenes, recipe=FLOATS)
    assert [score.name for score in result.files[0].scores] == ["mIoU", "pixel accuracy"]
    assert result.files[0].parity.top1_agreement == pytest.approx(1, abs=1e-3)
    x = np.random.default_rng(0).random((20, 3, SIDE, SIDE), dtype=np.float32)
    three = Network("three", pixels(3), input_shape=(3, SIDE, SIDE))
    with pytest.raises(EdgecnnError, match="three: classification takes one score for each class"):
        export_model(three, tmp_path / "b", data=(x, np.arange(20) % 3), recipe=FLOATS)
    alone = export_model(three, tmp_path / "c", data={"x": x}, recipe=FLOATS)
    assert (alone.reference, alone.files[0].scores) == (None, ())


def test_a_detector_is_compressed_by_its_own_outputs(tmp_path: Path) -> None:
    """Distillation needs no boxes; the mAP is told, and the checkpoint says how it is decoded."""
    module = Detector().eval()
    found = compress_model(
        module,
        tmp_path / "s.safetensors",
        Uniform(0.5),
        data=BOXES,
        task=TaskChoice(decode="yolov8"),
        training=Training(epochs=0.1),
    )
    assert found.after.params < found.before.params
    assert found.score_after.name == "mAP50-95"
    checkpoint = edgecnn.Checkpoint.read(found.path)
    assert checkpoint is not None
    assert checkpoint.decode is not None
    assert (checkpoint.task, checkpoint.decode["decoder"]) == ("detection", "yolov8")
