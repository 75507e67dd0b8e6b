"""Where int8 loses more than is allowed, the layers that lose it stay in float, and what that costs is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgecnn.artifact import Artifact
from edgecnn.evaluate.layers import layer_noise
from edgecnn.nets.network import Network
from edgecnn.pipeline import ExportResult, export_model
from edgecnn.recipe import Calibration, Limits, Recipe
from edgecnn.samples import Samples


class Torn(nn.Module):
    """A network whose `wide` gives one channel 1000 times as large as the others, which two layers read.

    One scale for all of them leaves nothing of the others, and no equalization reaches past two readers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv2d(1, 8, 3, padding=1)
        self.wide, self.left, self.right = (nn.Conv2d(8, 8, 1) for _ in range(3))
        self.end = nn.Linear(8, 3)
        with torch.no_grad():
            self.wide.weight[0] *= 1000
            for reader in (self.left, self.right):
                reader.weight[:, 0] /= 1000

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 1, 8, 8] to [N, 3]."""
        x = self.wide(self.start(x).relu())
        scores: Tensor = self.end((self.left(x).relu() + self.right(x).relu()).mean((2, 3)))
        return scores


@pytest.fixture(scope="module")
def torn() -> tuple[Network, tuple[np.ndarray, np.ndarray]]:
    """The network, and images with its own answers."""
    torch.manual_seed(1)
    module = Torn().eval()
    draw = np.random.default_rng(0)
    kinds = draw.random((3, 1, 8, 8), np.float32)[np.arange(300) % 3]
    images = kinds * np.linspace(0, 2, 3, dtype=np.float32)[np.arange(300) % 3, None, None, None]
    images += 0.1 * draw.random(images.shape, np.float32)
    with torch.no_grad():
        scores = module(torch.from_numpy(images))
        module.end.weight.div_(scores.std(0)[:, None])
        module.end.bias.sub_(scores.mean(0)).div_(scores.std(0))  # else one class is always ahead
        return Network("torn", module), (images, module(torch.from_numpy(images)).argmax(1).numpy())


Export = Callable[..., ExportResult]


@pytest.fixture(scope="module")
def export(torn: tuple[Network, tuple[np.ndarray, np.ndarray]]) -> Export:
    """Export the network to *folder* with at most two points lost."""
    network, data = torn
    limits = {"w8a8": Limits(max_drop=0.02)}

    def exported(folder: Path, *formats: str, **options: Any) -> ExportResult:
        files = dict.fromkeys(formats, ("w8a8",))
        recipe = Recipe("own", "", files, limits=limits, quantize="auto", calibration=Calibration(96))
        return export_model(network, folder, recipe=recipe, data=data, **options)

    return exported


@pytest.fixture(scope="module")
def mixed(export: Export, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The network as TFLite, with layers in float."""
    return export(tmp_path_factory.mktemp("mixed"), "tflite")


@pytest.mark.slow
def test_the_layers_that_lose_the_signal_stay_in_float(mixed: ExportResult) -> None:
    """The layers around the torn tensor stay in float: the file is called mixed, keeps the score and says why."""
    [file] = mixed.files
    artifact = file.artifact
    assert file.rejected is None
    assert file.path.name == "torn.mixed.tflite"
    assert artifact.precision == "mixed" == artifact.metadata["precision"]
    assert not artifact.contradictions
    integers = [one for one in file.attempts if not one.in_float]
    floats = [one for one in file.attempts if one.in_float]
    assert max(one.agreement or 0 for one in integers) < 0.9 < (floats[-1].agreement or 0)
    assert 1 <= len(floats[-1].in_float) <= 3
    assert floats[-1].kept
    [step] = [step for step in artifact.history if step["step"] == "quantize"]
    assert set(floats[-1].in_float) <= set(step["in_float"])
    assert step["precision"] == "mixed"
    [told] = [text for text in mixed.warnings if "in float" in text]
    assert "accuracy falls by 0.00 instead of" in told
    assert "times the latency, measured briefly on this machine" in told


@pytest.mark.slow
def test_integer_only_keeps_all_layers_in_int8(export: Export, tmp_path: Path) -> None:
    """The file stays w8a8 and is rejected for what it loses; layers in float are tried to say what that costs."""
    result = export(tmp_path, "tflite", integer_only=True, device="rpi4")
    [file] = result.files
    assert file.path.name == "torn.w8a8.tflite.rejected"
    assert not file.float_operators
    assert any(one.in_float for one in file.attempts)
    assert not any(one.in_float and one.kept for one in file.attempts)
    [told] = [text for text in result.warnings if "integer-only" in text]
    assert "instead of 0.00 points" in told
    assert "estimated for rpi4" in told


@pytest.mark.slow
def test_an_onnx_file_keeps_its_layers_too(export: Export, tmp_path: Path) -> None:
    """The ONNX file of the same network is mixed, and what it computes in float is what was chosen."""
    [file] = export(tmp_path, "onnx").files
    assert file.rejected is None
    assert file.artifact.precision == "mixed"
    assert sum(kind == "Conv" for kind, _ in file.float_operators) == len(file.attempts[-1].in_float)


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["tflite", "onnx"])
def test_the_noise_of_layers_is_the_same_in_both_formats(
    torn: tuple[Network, tuple[np.ndarray, np.ndarray]], tmp_path: Path, format_name: str
) -> None:
    """Of a file without corrections, the layer that writes the torn tensor adds the most noise."""
    network, (images, labels) = torn
    recipe = Recipe("own", "", {format_name: ("fp32", "w8a8")}, calibration=Calibration(32))
    files = export_model(network, tmp_path, recipe=recipe, data=(images[:64], labels[:64])).files
    layers = layer_noise(files[0].artifact, files[1].artifact, Samples.of(images[:8]))
    convolutions = [layer for layer in layers if "CONV" in layer.kind.upper()]
    assert len(convolutions) == 4
    names = [operator.name for operator in files[0].artifact.graph.operators]
    assert {layer.source for layer in layers} <= set(names)
    assert convolutions[0].output_db > 25 > convolutions[-1].output_db


@pytest.mark.slow
def test_the_first_ctrl_c_keeps_the_best_file_so_far(export: Export, tmp_path: Path) -> None:
    """Interrupted in its third attempt, an export leaves the better of two whole files, and tells which."""
    started: list[str] = []

    def interrupting(step: str, done: int = 0, total: int | None = None) -> None:
        if step == "searching int8" and done == 2:
            started.append(step)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interruption:
        export(tmp_path, "tflite", "onnx", progress=interrupting)
    [file] = tmp_path.glob("*.tflite.rejected")
    assert started == ["searching int8"]
    assert interruption.value.__notes__ == [f"the best int8 file so far is '{file}'"]
    assert Artifact.open(file).history[-2]["attempts"][-1]["quantize"] == "bias"
    assert {path.name for path in tmp_path.iterdir()} == {file.name, f"{file.name}.json"}
