"""A file that cannot be made does not stop the others of its recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from forked import edgecnn
from torch import nn

from edgecnn.datasets import DataSource
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import Network
from edgecnn.pipeline import export_model
from edgecnn.recipe import Recipe, load_recipe

DETERMINANT = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)

    def forward(self, x):
        return torch.linalg.det(self.conv(x))

def net():
    torch.manual_seed(0)
    return Net()
"""
BOTH = 'title = "Both"\n[files]\nonnx = ["fp32"]\ntflite = ["fp32"]\n'


def network() -> Network:
    """Return a network that becomes an ONNX file and no TFLite file: that format has no determinant."""
    own: dict[str, nn.Module] = {}
    exec(DETERMINANT, own)
    return Network("net", own["net"]().eval())


def recipe_of(folder: Path) -> Recipe:
    """Return a recipe for a float file of each format."""
    (folder / "both.toml").write_text(BOTH)
    return load_recipe(str(folder / "both.toml"))


def test_the_others_are_written(tmp_path: Path) -> None:
    """The converter's error is the failed file's reason, in one line that names it; the other file is there."""
    result = export_model(
        network(), tmp_path / "out", recipe=recipe_of(tmp_path), data=DataSource(input_shape=(4, 6, 6))
    )
    assert [file.path.name for file in result.files] == ["net.fp32.onnx"]
    assert result.files[0].parity.max_abs_diff < 1e-5
    [failed] = result.failed
    assert failed.path == tmp_path / "out/net.fp32.tflite"
    assert failed.reason.startswith("TFLite export failed at the operator aten.linalg_det")
    assert "\n" not in failed.reason
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"net.fp32.onnx", "net.fp32.onnx.json"}


def test_an_earlier_file_of_that_name_is_told(tmp_path: Path) -> None:
    """What an earlier export left under the failed file's name is not taken for a new one."""
    earlier = tmp_path / "net.fp32.tflite"
    earlier.write_bytes(b"old")
    result = export_model(network(), tmp_path, recipe=recipe_of(tmp_path), data=DataSource(input_shape=(4, 6, 6)))
    assert f"{earlier} is from an earlier export; the one just made failed" in result.warnings


def test_a_row_and_exit_code_3(tmp_path: Path) -> None:
    """Table and JSON have a row for the failed file, with its reason; the last line is that of the error."""
    (tmp_path / "own.py").write_text(DETERMINANT)
    (tmp_path / "both.toml").write_text(BOTH)
    words = ["export", "own:net", "--input", "1x4x6x6", "--recipe", "both.toml", "-o", "out", "--json"]
    run = edgecnn(*words, cwd=tmp_path)
    assert run.returncode == 3, run.stderr
    good, failed = json.loads(run.stdout)["files"]
    assert good["failed"] is None
    assert failed["path"] is None
    assert failed["name"] == "own-net.fp32.tflite"
    assert "litert_torch raised" in failed["failed"]
    assert "Traceback" not in run.stderr
    assert " ".join(run.stderr.split()).endswith(failed["failed"])


class Unrunnable(nn.Module):
    """Gives NaN in half of its runs: fine as a network, an error in the file that is verified."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take a root that no exporter keeps the guard of."""
        return torch.sqrt(x) if torch.compiler.is_exporting() else torch.sqrt(x.abs())


def test_a_file_whose_outputs_are_not_finite_fails_alone(tmp_path: Path) -> None:
    """Verification is a step as well: its error is the file's reason, and where no file is left it is the export's."""
    with pytest.raises(EdgecnnError, match="NaN or infinite") as caught:
        export_model(
            Network("net", Unrunnable()), tmp_path / "out", recipe="x86", data=DataSource(input_shape=(1, 4, 4))
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_interruption_ends_the_export(tmp_path: Path) -> None:
    """Ctrl-C is no failure of a file: nothing more is written, nothing is left."""

    def interrupt(step: str, done: int = 0, total: int = 0) -> None:
        if step.startswith("verifying"):
            raise KeyboardInterrupt

    network = Network("net", nn.Sequential(nn.Conv2d(1, 2, 3)).eval())
    with pytest.raises(KeyboardInterrupt):
        export_model(
            network, tmp_path / "out", recipe="x86", progress=interrupt, data=DataSource(input_shape=(1, 4, 4))
        )
    assert not (tmp_path / "out").exists()
