"""Single weights set to 0: the share asked for, in the file as well, and what it is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgecnn.checkpoint import Checkpoint, read_weights
from edgecnn.compress.magnitude import sparsity_of
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from edgecnn.pipeline import CompressResult, Plan, Sparsity, Training, Uniform, compress_model, export_model
from edgecnn.recipe import load_recipe

BRANCHING = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(8 * 36, 10)

    def forward(self, x):
        y = self.conv(x)
        if y.sum() > 0:
            y = torch.relu(y)
        return self.head(y.flatten(1))

def net():
    return Net()
"""


@pytest.fixture(scope="module")
def sparse(digits_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressResult:
    """The digits network with four of five weights 0."""
    path = tmp_path_factory.mktemp("sparse") / "sparse.safetensors"
    return compress_model(str(digits_checkpoint), path, Sparsity(0.8), data="digits", training=Training(epochs=3))


def test_the_weights_are_zero_and_the_shapes_are_as_before(sparse: CompressResult) -> None:
    """The checkpoint bears the zeros, the network as many parameters as before, and knows the digits still."""
    assert sparsity_of(build(str(sparse.path)).module) == pytest.approx(0.8, abs=0.001)
    assert (sparse.before.params, sparse.before.macs) == (sparse.after.params, sparse.after.macs)
    assert sparse.score_before.value - sparse.score_after.value <= 0.05


def test_the_file_is_as_large_and_its_zip_smaller(sparse: CompressResult, tmp_path: Path) -> None:
    """What is told of the w8a8 file is what an export writes."""
    assert sparse.sparse_size is not None
    before, after = sparse.sparse_size
    assert abs(before.size_bytes - after.size_bytes) < 0.01 * before.size_bytes
    assert after.zip_bytes < 0.75 * before.zip_bytes
    recipe = replace(load_recipe("board"), files={"tflite": ("w8a8",)})
    (file,) = export_model(str(sparse.path), tmp_path, recipe=recipe, data="digits").files
    assert abs(file.path.stat().st_size - after.size_bytes) < 64  # their names differ
    document = sparse.to_json()["sparse_size"]
    assert document["after"] == {
        "sparsity": after.sparsity,
        "size_bytes": after.size_bytes,
        "zip_bytes": after.zip_bytes,
    }


def test_the_plan_does_the_same_again(sparse: CompressResult, digits_checkpoint: Path, tmp_path: Path) -> None:
    """It has a round for each step; another run by it ends with the same weights."""
    assert sparse.plan is not None
    plan = Plan.read(sparse.plan)
    steps = [one.sparsity for one in plan.rounds]
    assert steps == sorted(steps)
    assert steps[-1] == 0.8
    again = compress_model(str(digits_checkpoint), tmp_path / "again.safetensors", sparse.plan, data="digits")
    one, other = read_weights(sparse.path), read_weights(again.path)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert again.sparse_size is not None


def test_the_history_tells_the_steps(sparse: CompressResult) -> None:
    """Sparser, trained, sparser, …; and that zeros were kept."""
    checkpoint = Checkpoint.read(sparse.path)
    assert checkpoint is not None
    added = [step for step in checkpoint.history if step["step"] == "sparsify" or step.get("keep_zeros")]
    assert [step["step"] for step in added] == ["sparsify", "train"] * 5 + ["train"]


def test_a_network_that_cannot_be_traced_can_be_sparse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shape changes, so what stands in the way of cutting filters does not matter; its file cannot be weighed."""
    (tmp_path / "branching.py").write_text(BRANCHING)
    monkeypatch.syspath_prepend(tmp_path)
    result = compress_model(
        "branching:net", tmp_path / "s.safetensors", Sparsity(0.5), data="digits", training=Training(epochs=0)
    )
    assert sparsity_of(build("branching:net", weights=result.path).module) == pytest.approx(0.5, abs=0.01)
    assert result.sparse_size is None
    with pytest.raises(EdgecnnError, match=r"branching\.py:\d+"):
        compress_model(
            "branching:net", tmp_path / "x.safetensors", Uniform(0.5), data="digits", training=Training(epochs=0)
        )


def test_no_epochs_between_are_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, without training at all, gives the zeros as well."""
    (tmp_path / "untrained.py").write_text(BRANCHING)
    monkeypatch.syspath_prepend(tmp_path)
    path, given = tmp_path / "bare.safetensors", {"data": "digits", "training": Training(epochs=0)}
    compress_model("untrained:net", path, Sparsity(0.5, epochs_between=0), **given)  # type: ignore[arg-type]
    assert sparsity_of(build("untrained:net", weights=path).module) == pytest.approx(0.5, abs=0.01)
