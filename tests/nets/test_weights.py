"""Weight files as training scripts leave them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from edgecnn.nets.weights import Weights, read_weight_file

OWN = ("conv.weight", "conv.bias", "norm.num_batches_tracked")
Tensors = dict[str, torch.Tensor]


def state(value: float = 1.0, prefix: str = "") -> Tensors:
    """Return the tensors of a small network, all of one value."""
    return {f"{prefix}conv.weight": torch.full((2, 1), value), f"{prefix}conv.bias": torch.full((2,), value)}


def read(folder: Path, content: Any, name: str = "w.pth") -> Weights:
    """Return what is read of *content*, saved by torch."""
    torch.save(content, folder / name)
    return read_weight_file(folder / name, OWN)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (state(), None),
        ({"state_dict": state(), "epoch": 3}, "took its 'state_dict'"),
        ({"model_state_dict": state(), "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, "'model_state_dict'"),
        ({"model": {"weights": state()}}, "took its 'model.weights'"),
        (state(prefix="module."), "without the prefix 'module.'"),
        ({"model": state(prefix="_orig_mod.")}, "took its 'model'"),
        ({"model": state(prefix="module._orig_mod.")}, "took its 'model', without the prefix 'module.'"),
        ({"state_dict": state(prefix="model."), "hyper_parameters": {"lr": 0.1}}, "without the prefix 'model.'"),
        ({"state_dict": state(prefix="net."), "hyper_parameters": {}}, "without the prefix 'net.'"),
        (state() | {"total_ops": torch.ones(1), "conv.total_params": torch.ones(1)}, "ignored total_ops, conv.total"),
        (state(prefix="model.") | {"loss.weight": torch.ones(2)}, "ignored loss.weight"),
        ((state(), 3), "took its '0'"),
    ],
)
def test_the_networks_tensors_are_found_in_a_checkpoint(tmp_path: Path, content: Any, note: str | None) -> None:
    """Wrapped, prefixed or beside other tensors, the network's own are taken, and a note says what was taken."""
    found = read(tmp_path, content)
    assert sorted(found.tensors) == ["conv.bias", "conv.weight"]
    assert all(bool((tensor == 1).all()) for tensor in found.tensors.values())
    assert (note is None) == (not found.notes)
    assert note is None or note in " ".join(found.notes)


@pytest.mark.parametrize("name", ["w.pt", "w.ckpt", "w.th", "w.bin", "w.pth.tar"])
def test_all_usual_endings_are_read(tmp_path: Path, name: str) -> None:
    """What torch writes is read under each of the names that people give it."""
    assert len(read(tmp_path, {"state_dict": state()}, name).tensors) == 2


def test_safetensors_may_have_prefixes_as_well(tmp_path: Path) -> None:
    """The prefix of data-parallel training goes in safetensors as in pickles."""
    save_file(state(prefix="module."), str(tmp_path / "w.safetensors"))
    assert sorted(read_weight_file(tmp_path / "w.safetensors", OWN).tensors) == ["conv.bias", "conv.weight"]


@pytest.mark.parametrize("pair", [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema")])
def test_an_average_is_preferred_and_the_other_named(tmp_path: Path, pair: tuple[str, str]) -> None:
    """Of a state dict and its moving average the average is taken; the note names both."""
    found = read(tmp_path, {pair[0]: state(1.0), pair[1]: state(2.0)})
    assert float(found.tensors["conv.bias"][0]) == 2.0
    assert f"took its '{pair[1]}' (a moving average" in found.notes[0]
    assert f"'{pair[0]}' fits as well" in found.notes[1]


def test_a_state_dict_of_another_network_is_passed_over(tmp_path: Path) -> None:
    """What has the network's names is taken, even if another dict stands under a more usual key."""
    other = {"layer.weight": torch.zeros(2)}
    assert "conv.bias" in read(tmp_path, {"state_dict": other, "student": state()}).tensors


def test_a_network_that_is_there_twice_is_told(tmp_path: Path) -> None:
    """A student and a teacher of the same names cannot be told apart; both prefixes are named."""
    with pytest.raises(EdgecnnError, match=r"2 times, under 'student\.', 'teacher\.'"):
        read(tmp_path, state(prefix="student.") | state(prefix="teacher."))


def test_weights_of_another_network_keep_their_names(tmp_path: Path) -> None:
    """Tensors that do not fit are passed on, for the message that compares the names."""
    found = read(tmp_path, {"module.a": torch.zeros(1), "module.b": torch.zeros(1)})
    assert sorted(found.tensors) == ["a", "b"]


class Settings:
    """Leaves a file behind where it is unpickled."""

    def __setstate__(self, values: dict[str, str]) -> None:
        Path(values["mark"]).touch()


def test_a_training_scripts_objects_are_passed_over_unread(tmp_path: Path) -> None:
    """Arguments, numpy scalars, paths and classes of the user's beside the tensors are not built, the tensors read."""
    settings = Settings()
    settings.mark = str(tmp_path / "ran")  # type: ignore[attr-defined]
    content = {
        "state_dict": state(),
        "args": argparse.Namespace(lr=0.1, out=tmp_path),
        "best": np.float64(0.9),
        "settings": settings,
    }
    declared = set(torch.serialization.get_safe_globals())
    assert len(read(tmp_path, content).tensors) == 2
    assert not (tmp_path / "ran").exists()
    assert set(torch.serialization.get_safe_globals()) == declared


def test_torchs_older_format_is_read(tmp_path: Path) -> None:
    """Tensors in the format before 1.6 are read; beside other objects the line that saves them anew is given."""
    old, new = tmp_path / "old.th", tmp_path / "new.th"
    torch.save({"state_dict": state()}, old, _use_new_zipfile_serialization=False)
    assert len(read_weight_file(old, OWN).tensors) == 2
    torch.save({"state_dict": state(), "args": argparse.Namespace()}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(EdgecnnError, match=r"save it anew: torch\.save\(torch\.load\(FILE, weights_only=False\), OUT"):
        read_weight_file(old, OWN)
    torch.save(torch.load(old, weights_only=False), new)
    assert len(read_weight_file(new, OWN).tensors) == 2


@pytest.mark.parametrize(("content", "where"), [(nn.Linear(2, 2), ""), ({"model": nn.Linear(2, 2)}, "['model']")])
def test_a_pickled_module_is_refused_with_the_line_that_converts_it(tmp_path: Path, content: Any, where: str) -> None:
    """A whole module needs its class; the line names the place where it lies in the file."""
    with pytest.raises(EdgecnnError) as caught:
        read(tmp_path, content)
    assert f"torch.save(torch.load(FILE, weights_only=False){where}.state_dict(), OUT)" in str(caught.value)


def test_the_network_carries_the_note(tmp_path: Path) -> None:
    """`build` passes the note on as a warning, and the weights are the file's."""
    values = {
        name: torch.zeros_like(tensor) for name, tensor in build("edgecnn:digits-cnn").module.state_dict().items()
    }
    torch.save({"state_dict": values}, tmp_path / "w.pth.tar")
    network = build("edgecnn:digits-cnn", weights=tmp_path / "w.pth.tar")
    assert (network.name, network.warnings) == ("w", ("w.pth.tar: a training checkpoint: took its 'state_dict'",))
    assert not any(bool(tensor.any()) for tensor in network.module.state_dict().values())
