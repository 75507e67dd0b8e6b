"""The quantizer's two names give the same files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.datasets.noise import noise
from edgecnn.export import CalibrationInputs, quantize
from edgecnn.export.quantizer import PACKAGES, Quantizer
from edgecnn.export.tflite import to_tflite


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A network of one convolution and one linear layer as an fp32 TFLite file."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16))
    return to_tflite(module.eval(), tmp_path_factory.mktemp("floats") / "net.fp32.tflite", (3, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_each_name_writes_each_precision(
    floats: Artifact, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under either name a file of every precision is what it says it is, and says what wrote it."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    monkeypatch.setattr(Quantizer, "find", classmethod(lambda cls: cls(package)))
    calibration = CalibrationInputs(noise((3, 8, 8), 8).evaluation, None, "noise")
    for precision in ("w8a8", "w8a16", "fp16", "w8", "w4"):
        made = quantize(floats, tmp_path / f"net.{precision}.tflite", precision, calibration=calibration)
        # Layers as small as these keep their weights in float in w8 and w4 files.
        assert made.precision in (precision, "fp32") if precision in ("w8", "w4") else made.precision == precision
        assert PACKAGES[package] in made.metadata["tools"]


def test_the_newer_name_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both are installed the maintained one is used, else the one that is there."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert Quantizer.find().distribution == "litert-quantizer"
