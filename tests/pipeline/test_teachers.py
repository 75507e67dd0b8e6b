"""Trainings within a compression: who teaches, and with what dropout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgecnn.checkpoint import Checkpoint, read_weights
from edgecnn.compress.train import train
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from edgecnn.normalization import Normalization
from edgecnn.pipeline import Budget, Search, compress_model, steps
from edgecnn.pipeline.plan import read_plan
from edgecnn.pipeline.teachers import Ensemble

BRIEF: dict[str, Any] = {"data": "digits", "pruning_ratio": 0.5, "epochs": 1}


def same(a: Path, b: Path) -> bool:
    """Return whether two checkpoints hold the same network, bit for bit."""
    one, other = read_weights(a), read_weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_several_teach_by_the_mean_of_their_scores() -> None:
    """One module with the same inputs and scores."""
    members = [nn.Linear(3, 2), nn.Linear(3, 2)]
    x = torch.rand(4, 3)
    torch.testing.assert_close(Ensemble(members)(x), (members[0](x) + members[1](x)) / 2)


def test_another_network_teaches(digits_checkpoint: Path, tmp_path: Path) -> None:
    """With another teacher another network comes out; the plan and the history name it, and the plan asks for it."""
    other = build("edgecnn:digits-cnn")
    teachers = {"one": [str(digits_checkpoint)], "two": [str(digits_checkpoint), other], "none": []}
    found = {
        name: compress_model(str(digits_checkpoint), tmp_path / f"{name}.safetensors", teachers=given, **BRIEF)
        for name, given in teachers.items()
    }
    assert not same(found["one"].path, found["none"].path)
    assert not same(found["one"].path, found["two"].path)
    assert found["two"].plan is not None
    plan = read_plan(found["two"].plan)
    assert [one.partition(" ")[0] for one in plan.teachers] == [digits_checkpoint.stem, other.name]
    checkpoint = Checkpoint.read(found["two"].path)
    assert checkpoint is not None
    assert checkpoint.history[-1]["teachers"] == list(plan.teachers)
    assert any("random weights" in text for text in found["two"].warnings)

    again = {"data": "digits", "plan": found["two"].plan}
    for wrong in ([], [other, str(digits_checkpoint)]):
        with pytest.raises(EdgecnnError, match=r"as its teacher, not .*; name the same with --teacher"):
            compress_model(str(digits_checkpoint), tmp_path / "again.safetensors", teachers=wrong, **again)
    compress_model(str(digits_checkpoint), tmp_path / "again.safetensors", teachers=teachers["two"], **again)
    assert same(tmp_path / "again.safetensors", found["two"].path)


def test_a_stopped_run_asks_for_its_teachers(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on without them would end with another network."""
    settings: dict[str, Any] = {"data": "digits", "budget": Budget(macs=0.7), "search": Search(share=0.4), "epochs": 1}
    out, teachers = tmp_path / "small.safetensors", [build("edgecnn:digits-cnn")]

    def stopped(self: steps.Steps, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps.Steps, "finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            compress_model(str(digits_checkpoint), out, teachers=teachers, **settings)
    with pytest.raises(EdgecnnError, match="holds another run, with teachers"):
        compress_model(str(digits_checkpoint), out, resume=True, **settings)
    assert compress_model(str(digits_checkpoint), out, resume=True, teachers=teachers, **settings).path == out


def test_a_teacher_of_other_scores_or_inputs_is_refused(digits_checkpoint: Path, tmp_path: Path) -> None:
    """It could teach nothing."""
    out = tmp_path / "x.safetensors"
    with pytest.raises(EdgecnnError, match=r"gives scores of shape \[7\], .* \[10\]; use one that was trained"):
        compress_model(
            str(digits_checkpoint), out, teachers=[build("edgecnn:digits-cnn", classes=7, channels=1)], **BRIEF
        )
    teacher = build(str(digits_checkpoint))
    odd = Normalization.parse("mean=0.9,std=0.1")
    with pytest.raises(EdgecnnError, match="expects inputs by"):
        compress_model(str(digits_checkpoint), out, teachers=[teacher], normalization=odd, **BRIEF)
    assert list(tmp_path.iterdir()) == []


DROPPING = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Dropout(0.5), nn.Linear(40, 10)
    ).eval()
"""


def test_what_is_left_is_trained_with_less_dropout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the features, half of the dropout."""
    (tmp_path / "dropping.py").write_text(DROPPING)
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[float] = []

    def watched(module: nn.Module, *given: Any, **more: Any) -> nn.Module:
        seen.append(module.get_submodule("3").p)  # type: ignore[arg-type]
        return train(module, *given, **more)

    monkeypatch.setattr(steps, "train", watched)
    compress_model("dropping:net", tmp_path / "small.safetensors", **BRIEF)
    assert set(seen) == {0.25}
