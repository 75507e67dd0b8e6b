"""A file that cannot be made does not stop the others of its recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked import edgecnn
from torch import nn

from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import Network
from edgecnn.pipeline import export_model
from edgecnn.recipe import load_recipe

GROUPED = """
import torch
from forked import edgecnn
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=2))
"""


def grouped() -> nn.Module:
    """Return a network whose w8a8 ONNX file onnxruntime's quantizer cannot write: it takes no grouped deconvolution."""
    own: dict[str, nn.Module] = {}
    exec(GROUPED, own)
    return own["net"]().eval()  # type: ignore[operator,no-any-return]


def test_the_others_are_written(tmp_path: Path) -> None:
    """The quantizer's error is the failed file's reason, in one line that names it; the float file is there."""
    recipe = replace(load_recipe("x86"), limits={})
    result = export_model(Network("net", grouped()), tmp_path, recipe=recipe, input_shape=(4, 6, 6))
    assert [file.path.name for file in result.files] == ["net.fp32.onnx"]
    assert result.files[0].parity.max_abs_diff < 1e-5
    [failed] = result.failed
    assert failed.path == tmp_path / "net.w8a8.onnx"
    assert failed.reason.startswith("ONNX w8a8 quantization failed: onnxruntime raised ")
    assert "\n" not in failed.reason
    assert {path.name for path in tmp_path.iterdir()} == {"net.fp32.onnx", "net.fp32.onnx.json"}


def test_an_earlier_file_of_that_name_is_told(tmp_path: Path) -> None:
    """What an earlier export left under the failed file's name is not taken for a new one."""
    (tmp_path / "net.w8a8.onnx").write_bytes(b"old")
    recipe = replace(load_recipe("x86"), limits={})
    result = export_model(Network("net", grouped()), tmp_path, recipe=recipe, input_shape=(4, 6, 6))
    assert f"{tmp_path / 'net.w8a8.onnx'} is from an earlier export; the one just made failed" in result.warnings


def test_a_row_and_exit_code_3(tmp_path: Path) -> None:
    """Table and JSON have a row for the failed file, with its reason; the last line is that of the error."""
    (tmp_path / "own.py").write_text(GROUPED)
    words = ["export", "own:net", "--input", "1x4x6x6", "--recipe", "x86", "-o", "out", "--json"]
    run = edgecnn(*words, cwd=tmp_path)
    assert run.returncode == 3, run.stderr
    good, failed = json.loads(run.stdout)["files"]
    assert good["failed"] is None
    assert failed["path"] is None
    assert failed["name"] == "own-net.w8a8.onnx"
    assert "onnxruntime raised" in failed["failed"]
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
        export_model(Network("net", Unrunnable()), tmp_path / "out", recipe="x86", input_shape=(1, 4, 4))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_interruption_ends_the_export(tmp_path: Path) -> None:
    """Ctrl-C is no failure of a file: nothing more is written, nothing is left."""

    def interrupt(step: str, done: int = 0, total: int = 0) -> None:
        if step.startswith("verifying"):
            raise KeyboardInterrupt

    network = Network("net", nn.Sequential(nn.Conv2d(1, 2, 3)).eval())
    with pytest.raises(KeyboardInterrupt):
        export_model(network, tmp_path / "out", recipe="x86", input_shape=(1, 4, 4), progress=interrupt)
    assert not (tmp_path / "out").exists()
