"""Smaller blocks in the search: they compete with filters and layers, and what comes of them is a network like any."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked import program

from edgecnn.checkpoint import SUBSTITUTES, Checkpoint, read_weights
from edgecnn.compress.unit import FILTERS, SUBSTITUTION, kind_of
from edgecnn.datasets import DataSource
from edgecnn.errors import EdgecnnError
from edgecnn.fit import check_fit
from edgecnn.nets.network import build
from edgecnn.pipeline import (
    Budget,
    CompressResult,
    Plan,
    Search,
    Training,
    compress_model,
    export_model,
    measure_sensitivity,
)
from edgecnn.pipeline.plan import Round, layers_of
from edgecnn.recipe import load_recipe

SHORT = Training(epochs=1)
DIGITS = DataSource("digits", input_shape=(1, 8, 8))
ALL = tuple(SUBSTITUTES.names())
ALONE = Search(share=0.4, layers=False, filters=False, substitutes=ALL, samples=64)
GOAL = Budget(max_macs_ratio=0.45, search=ALONE)


def same(a: Path, b: Path) -> bool:
    """Return whether two checkpoints hold the same network, bit for bit."""
    one, other = read_weights(a), read_weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def small(digits_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressResult:
    """The digits network with less than half of its MACs, by blocks alone."""
    out = tmp_path_factory.mktemp("small") / "small.safetensors"
    return compress_model(str(digits_checkpoint), out, GOAL, data="digits", training=SHORT)


def test_blocks_alone_meet_a_goal(small: CompressResult) -> None:
    """Each cut is a block, the accuracy is kept, and where a block cannot stand is told."""
    cuts = [name for one in small.attempts for name in one.cuts]
    assert cuts
    assert all(kind_of(name, 1) == SUBSTITUTION for name in cuts)
    assert small.after.macs <= 0.45 * small.before.macs
    assert small.score_before.value - small.score_after.value < 0.1
    assert ("features.0:grouped", "its channels do not make 2 groups") in [
        (one.name, one.reason) for one in small.unsubstituted
    ]
    assert small.to_json()["unsubstituted"]


def test_the_checkpoint_rebuilds_the_blocks(small: CompressResult) -> None:
    """From the file alone, and it can be looked at and cut again."""
    stored = Checkpoint.read(small.path)
    assert stored is not None
    assert stored.substituted
    assert stored.history[-1]["step"] == "train"
    network = build(str(small.path))
    assert sum(parameter.numel() for parameter in network.module.parameters()) == small.after.params
    found = measure_sensitivity(str(small.path), data="digits", ratios=(0.5,), agreement=0.5)
    assert any(row.kind == FILTERS for row in found.rows)


def test_the_plan_repeats_the_blocks(digits_checkpoint: Path, small: CompressResult, tmp_path: Path) -> None:
    """The same weights, bit for bit, and the same plan."""
    assert small.plan is not None
    plan = Plan.read(small.plan)
    assert set(plan.substitutes) <= set(ALL)
    again = tmp_path / "again.safetensors"
    result = compress_model(str(digits_checkpoint), again, small.plan, data="digits")
    assert same(again, small.path)
    assert result.plan is not None
    assert result.plan.read_text() == small.plan.read_text()


def test_blocks_compete_with_filters(digits_checkpoint: Path, tmp_path: Path) -> None:
    """In one search both may go, and no layer in two ways at once."""
    search = Search(share=0.4, substitutes=("depthwise", "nx1-1xn"), ratios=(0.5,), samples=64, epochs_between=0)
    out = tmp_path / "both.safetensors"
    budget = Budget(max_macs_ratio=0.3, search=search)
    result = compress_model(str(digits_checkpoint), out, budget, data="digits", training=Training(epochs=0))
    kinds = {kind_of(name, ratio) for one in result.attempts for name, ratio in one.cuts.items()}
    assert {FILTERS, SUBSTITUTION} <= kinds
    for one in result.attempts:
        layers = [name.partition(":")[0] for name in one.cuts]
        assert len(layers) == len(set(layers))
    assert sum(parameter.numel() for parameter in build(str(out)).module.parameters()) == result.after.params


KILLED = f"""
import os, signal, sys
from edgecnn.pipeline import Budget, Search, Training, compress_model

def progress(step, done=0, total=None):
    if step.startswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

search = Search(share=0.4, layers=False, filters=False, substitutes={ALL}, samples=64)
compress_model(sys.argv[2], sys.argv[3], Budget(max_macs_ratio=0.45, search=search), data="digits",
    training=Training(epochs=1), progress=progress)
"""


def test_a_run_that_was_killed_goes_on_with_its_blocks(
    digits_checkpoint: Path, small: CompressResult, tmp_path: Path
) -> None:
    """Killed in its last training, it is resumed from the network of blocks, and ends as if it had not been."""
    out = tmp_path / "killed.safetensors"
    run = program(KILLED, "final-", digits_checkpoint, out)
    assert run.returncode == -signal.SIGKILL, run.stderr
    told: list[str] = []
    compress_model(
        str(digits_checkpoint),
        out,
        GOAL,
        data="digits",
        training=SHORT,
        resume=True,
        progress=lambda step, done=0, total=None: told.append(step),
    )
    assert not any(step.startswith("round-01") for step in told)
    assert same(out, small.path)


OWN = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).eval()
"""


@pytest.mark.slow
def test_a_network_of_ones_own_with_every_block_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plan puts each block somewhere; both formats are verified against torch, and the file fits a device."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    network = build("own.py:make")
    blocks = dict(zip(("2", "4", "6", "8", "10"), ALL, strict=True))
    cuts = {f"{layer}:{block}": 1.0 for layer, block in blocks.items()}
    Plan("own", layers_of(network), rounds=(Round(cuts),), data="digits").write(Path("own.plan.toml"))
    compress_model("own.py:make", Path("own.safetensors"), "own.plan.toml", data=DIGITS)
    stored = Checkpoint.read(Path("own.safetensors"))
    assert stored is not None
    assert stored.substituted == blocks
    recipe = replace(load_recipe("board"), files={"onnx": ("fp32",), "tflite": ("fp32", "w8a8")}, limits={}, bundle=())
    model = build("own.py:make", weights="own.safetensors")
    result = export_model(model, "out", recipe=recipe, data="digits")
    kinds = [(one.artifact.format, one.artifact.precision) for one in result.files]
    assert kinds == [("onnx", "fp32"), ("tflite", "fp32"), ("tflite", "w8a8")]
    # Weights of one's own code are drawn anew, untrained: the outputs are what is compared, and they are the same.
    assert all(one.parity is not None and one.parity.sqnr_db > 80 for one in result.files[:2])
    tflite = result.files[1].artifact.path
    assert check_fit(tflite, "rpi4").fits


def test_blocks_that_fit_nowhere_are_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the layers and the reasons; nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    Path("points.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), "
        "nn.Conv2d(6, 8, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)).eval()\n"
    )
    budget = Budget(max_macs_ratio=0.5, search=Search(substitutes=("depthwise", "nx1-1xn")))
    with pytest.raises(EdgecnnError) as error:
        compress_model("points.py:make", Path("x.safetensors"), budget, data=DIGITS)
    assert str(error.value) == (
        "depthwise and nx1-1xn cannot take the place of any layer: 0:depthwise, 0:nx1-1xn: its kernel is 1x1; "
        "2: it is grouped"
    )
    assert not list(tmp_path.glob("x.*"))


def test_what_is_no_block_or_no_search_is_refused() -> None:
    """A name with a typing error, a plan that cuts a part of a layer by a block, and a search of nothing."""
    with pytest.raises(EdgecnnError, match=r"unknown block 'gost'; did you mean 'ghost'\?"):
        Search(substitutes=("gost",))
    with pytest.raises(EdgecnnError, match=r"^conv1:ghost: a block takes the place of a layer whole; its ratio is 1"):
        Round({"conv1:ghost": 0.5})
    with pytest.raises(EdgecnnError, match="the search has nothing to cut"):
        Search(filters=False, layers=False)
