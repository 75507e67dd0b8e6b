"""Trainings within a compression: who teaches, and with what dropout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgecnn.checkpoint import Checkpoint, read_weights
from edgecnn.compress.teacher import Ensemble, Renormalised
from edgecnn.compress.train import train
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from edgecnn.normalization import Normalization
from edgecnn.pipeline import Budget, CompressResult, Plan, Search, Training, Uniform, compress_model, steps


def brief(model: str, out: Path, *teachers: Any, **more: Any) -> CompressResult:
    """Halve a network and train it for an epoch."""
    return compress_model(
        model, out, Uniform(0.5), data="digits", training=Training(epochs=1, teachers=teachers), **more
    )


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
        name: brief(str(digits_checkpoint), tmp_path / f"{name}.safetensors", *given)
        for name, given in teachers.items()
    }
    assert not same(found["one"].path, found["none"].path)
    assert not same(found["one"].path, found["two"].path)
    assert found["two"].plan is not None
    plan = Plan.read(found["two"].plan)
    assert [one.partition(" ")[0] for one in plan.teachers] == [digits_checkpoint.stem, other.name]
    checkpoint = Checkpoint.read(found["two"].path)
    assert checkpoint is not None
    assert checkpoint.history[-1]["teachers"] == list(plan.teachers)
    assert any("random weights" in text for text in found["two"].warnings)

    named = tmp_path / "rate=0.01.safetensors"
    named.write_bytes(digits_checkpoint.read_bytes())
    brief(str(digits_checkpoint), tmp_path / "three.safetensors", str(named))
    assert same(tmp_path / "three.safetensors", found["one"].path)

    again = {"data": "digits", "how": found["two"].plan}
    for wrong in ([], [other, str(digits_checkpoint)]):
        with pytest.raises(
            EdgecnnError, match=r"was made with the teacher .*, not .*; give the same one with --teacher"
        ):
            compress_model(
                str(digits_checkpoint), tmp_path / "again.safetensors", training=Training(teachers=wrong), **again
            )
    with pytest.raises(EdgecnnError, match="was made without --teacher; leave --teacher out"):
        compress_model(
            str(digits_checkpoint),
            tmp_path / "again.safetensors",
            found["none"].plan,
            data="digits",
            training=Training(teachers=[other]),
        )
    compress_model(
        str(digits_checkpoint), tmp_path / "again.safetensors", training=Training(teachers=teachers["two"]), **again
    )
    assert same(tmp_path / "again.safetensors", found["two"].path)


def test_a_stopped_run_asks_for_its_teachers(
    digits_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on without them would end with another network."""
    settings: dict[str, Any] = {
        "data": "digits",
        "how": Budget(max_macs_ratio=0.7, search=Search(share=0.4)),
    }
    out, taught = tmp_path / "small.safetensors", Training(epochs=1, teachers=[build("edgecnn:digits-cnn")])

    def stopped(self: steps.Steps, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps.Steps, "finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            compress_model(str(digits_checkpoint), out, training=taught, **settings)
    with pytest.raises(EdgecnnError, match="holds another run, with teachers"):
        compress_model(str(digits_checkpoint), out, resume=True, training=Training(epochs=1), **settings)
    compress_model(str(digits_checkpoint), out, resume=True, training=taught, **settings)
    whole = compress_model(
        str(digits_checkpoint),
        tmp_path / "whole.safetensors",
        training=taught,
        **settings,
    )
    assert same(out, whole.path)


def test_a_teacher_of_other_scores_is_refused(digits_checkpoint: Path, tmp_path: Path) -> None:
    """It could teach nothing; what has no name for its weights is told how to give it."""
    out = tmp_path / "x.safetensors"
    seven = build("edgecnn:digits-cnn", classes=7, channels=1)
    mixed = replace(build(str(digits_checkpoint)), labels=tuple("9876543210"))
    bare = tmp_path / "bare.safetensors"
    save_file(read_weights(digits_checkpoint), bare)
    for wrong, told in (
        ([seven], r"gives scores of shape \[7\], .* \[10\]; use one that was trained"),
        ([mixed], r"knows the classes 9, 8, 7, 6, …, digits 0, 1, 2, 3, …"),
        ([str(bare)], r"teacher .*: .*name the network: package.module:factory=.*bare.safetensors"),
        (str(bare), "teachers is a list"),
    ):
        training = Training(epochs=1, teachers=wrong)
        with pytest.raises(EdgecnnError, match=told):
            compress_model(str(digits_checkpoint), out, Uniform(0.5), data="digits", training=training)
    assert list(tmp_path.iterdir()) == [bare]
    brief(str(digits_checkpoint), out, f"edgecnn:digits-cnn={bare}")


def test_a_teacher_gets_the_inputs_that_it_expects() -> None:
    """Pixels are normalised in another way for it; its scores are those that it gives by itself."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    given, expected = Normalization.parse("imagenet"), Normalization.parse("mean=0.5,std=0.2")
    module = nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten())
    with torch.no_grad():
        alone = module(torch.from_numpy(expected.apply(pixels)))
        taught = Renormalised(module, given, expected)(torch.from_numpy(given.apply(pixels)))
    torch.testing.assert_close(taught, alone, rtol=1e-4, atol=1e-5)


DROPPING = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Dropout(0.5), nn.Linear(40, 10)
    ).eval()
"""


def test_what_is_left_is_trained_with_less_dropout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the features, half of the dropout; half of these, cut by another run, a quarter of it."""
    (tmp_path / "dropping.py").write_text(DROPPING)
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[float] = []

    def watched(module: nn.Module, *given: Any, **more: Any) -> nn.Module:
        seen.append(module.get_submodule("3").p)  # type: ignore[arg-type]
        return train(module, *given, **more)

    monkeypatch.setattr(steps, "train", watched)
    brief("dropping:net", tmp_path / "small.safetensors")
    assert set(seen) == {0.25}
    seen.clear()
    brief("dropping:net", tmp_path / "smaller.safetensors", weights=tmp_path / "small.safetensors")
    assert set(seen) == {0.125}
