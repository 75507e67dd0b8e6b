"""Checkpoints: rebuilt by shapes, told when broken."""

from __future__ import annotations

import dataclasses
import json
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgecnn.checkpoint import Checkpoint
from edgecnn.compress.prune import prune
from edgecnn.compress.settings import Uniform
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from edgecnn.normalization import Normalization


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "mobilenet_v3_small", "mnasnet0_5"])
def test_a_pruned_network_is_rebuilt_to_the_last_bit(tmp_path: Path, name: str) -> None:
    """Residual, depthwise, concatenated and squeeze-excite layers take the size of their stored weights."""
    torch.manual_seed(0)
    network = build(f"torchvision:{name}", classes=5)
    small = prune(network.module, (3, 64, 64), Uniform(0.5))
    assert network.checkpoint is not None
    network.checkpoint.save(tmp_path / "small.safetensors", small)
    rebuilt = build(str(tmp_path / "small.safetensors")).module
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(rebuilt(x), small(x))


def test_every_field_round_trips(tmp_path: Path) -> None:
    """What is written is read: shapes, normalization, labels, accuracy, history."""
    module = build("edgecnn:digits-cnn").module
    checkpoint = Checkpoint(
        "edgecnn.nets.digits_cnn:digits_cnn",
        {"classes": 10},
        (),
        (1, 8, 8),
        Normalization((0.5,), (0.25,)),
        tuple("0123456789"),
        {"top1": 0.99, "n": 100, "low": 0.9, "high": 1.0},
        "digits",
        ({"step": "train", "epochs": 3},),
    )
    checkpoint.save(tmp_path / "a.safetensors", module)
    assert Checkpoint.read(tmp_path / "a.safetensors") == checkpoint


def test_a_removed_layer_becomes_an_identity(tmp_path: Path) -> None:
    """A layer named as removed is not there after rebuilding, and the rest is whole."""
    network = build("edgecnn:digits-cnn")
    checkpoint = network.checkpoint
    assert checkpoint is not None
    network.module.features[6] = torch.nn.Identity()  # type: ignore[index,operator]
    network.module.features[7] = torch.nn.Identity()  # type: ignore[index,operator]
    removed = dataclasses.replace(checkpoint, removed=("features.6", "features.7"))
    removed.save(tmp_path / "a.safetensors", network.module)
    x = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(build(str(tmp_path / "a.safetensors")).module(x), network.module(x))


def described(path: Path, factory: str, **document: object) -> Path:
    """Write a checkpoint of one weight that says what is given."""
    text = json.dumps({"schema_version": 1, "factory": factory, **document})
    save_file({"w": torch.zeros(1)}, str(path), metadata={"edgecnn": text})
    return path


def test_a_file_does_not_choose_the_code_that_runs(tmp_path: Path) -> None:
    """A checkpoint that names a factory of its own, or gives one a text, is refused before anything is called."""
    mark = tmp_path / "ran"
    for factory in ("subprocess:check_output", "torchvision.models:os", "edgecnn.nets.network:build", "os:getcwd"):
        with pytest.raises(EdgecnnError, match="not edgecnn's code; if you trust it, give"):
            build(str(described(tmp_path / "evil.safetensors", factory)))
    arguments = {"args": ["touch", str(mark)]}
    path = described(tmp_path / "evil.safetensors", "subprocess:check_output", arguments=arguments)
    for model, weights in ((str(path), None), ("subprocess:check_output", path)):
        with pytest.raises(EdgecnnError, match="args is a list; a file may only give a factory numbers"):
            build(model, weights=weights)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("factory", "arguments", "told"),
    [
        ("torchvision.models:resnet18", {"weights": "DEFAULT"}, "its argument weights = 'DEFAULT' would download"),
        ("torchvision.models:resnet18", {"pretrained": True}, "its argument pretrained = True would download"),
        ("torchvision.models.segmentation:fcn_resnet50", {"weights_backbone": "DEFAULT"}, "weights_backbone = 'DEF"),
        (
            "torchvision.models.segmentation:fcn_resnet50",
            {},
            "do not match|not of the form|which is not edgecnn's code",
        ),
        ("torchvision.models:resnet18", {"weights": None}, "do not match"),
    ],
)
def test_a_checkpoint_downloads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str, arguments: dict[str, object], told: str
) -> None:
    """No connection is tried, whatever weights a checkpoint asks torchvision for, alone or with its factory named."""
    asked: list[object] = []
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **_: asked.append(given))
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    path = described(tmp_path / "w.safetensors", factory, arguments=arguments)
    for model, weights in ((str(path), None), (factory, path)):
        with pytest.raises(EdgecnnError, match=told):
            build(model, weights=weights)
    assert asked == []


@pytest.mark.parametrize(
    ("factory", "arguments", "told"),
    [
        ("torchvision.models:alexnet", {"num_classes": 10**9}, "num_classes = 1000000000 is too large"),
        ("torchvision.models:alexnet", {"num_classes": float("nan")}, "num_classes: nan is not a finite number"),
        ("torchvision.models:vit_b_16", {"image_size": 32768}, "unknown argument in .*: 'image_size'"),
        ("edgecnn.nets.autoencoder:autoencoder_mnist", {"channels": 30_000}, "parameters; edgecnn takes up to"),
    ],
)
def test_a_small_file_asks_for_no_huge_network(
    tmp_path: Path, factory: str, arguments: dict[str, object], told: str
) -> None:
    """The sizes that a checkpoint gives a factory are looked at before memory is taken for them."""
    with pytest.raises(EdgecnnError, match=told):
        build(str(described(tmp_path / "w.safetensors", factory, arguments=arguments)))


@pytest.mark.parametrize("name", ["forward", "__class__", "features.weight", "features.99", ""])
def test_what_is_no_layer_cannot_be_removed(tmp_path: Path, name: str) -> None:
    """A name among the removed layers that is none of the network's is told."""
    path = described(tmp_path / "w.safetensors", "edgecnn.nets.digits_cnn:digits_cnn", removed=[name])
    with pytest.raises(EdgecnnError, match=f"has no layer '{name}' to remove"):
        build(str(path))


def test_the_users_own_network_is_rebuilt_when_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pruned network of the user's own code is refused by its file alone, and rebuilt by factory and --weights."""
    body = "nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(288, 4))"
    code = f"from torch import nn\n\ndef net():\n    return {body}\n"
    (tmp_path / "own_net_for_checkpoint.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    network = build("own_net_for_checkpoint:net")
    assert network.checkpoint is not None
    small = prune(network.module, (1, 8, 8), Uniform(0.5))
    network.checkpoint.save(tmp_path / "small.safetensors", small)
    with pytest.raises(EdgecnnError, match=r"own_net_for_checkpoint:net --weights"):
        build("small.safetensors")
    x = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(build("own_net_for_checkpoint:net", weights="small.safetensors").module(x), small(x))


def test_weights_alone_say_how_to_name_the_network(tmp_path: Path) -> None:
    """A safetensors file without our description is told from a checkpoint."""
    save_file({"conv.weight": torch.zeros(1)}, str(tmp_path / "w.safetensors"))
    with pytest.raises(EdgecnnError, match=r"weights alone \(conv.weight.*--weights"):
        build(str(tmp_path / "w.safetensors"))


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A checkpoint of a later edgecnn says so, instead of being misread."""
    metadata = {"edgecnn": json.dumps({"schema_version": 99, "factory": "a:b"})}
    save_file({"w": torch.zeros(1)}, str(tmp_path / "w.safetensors"), metadata=metadata)
    with pytest.raises(EdgecnnError, match="schema 99"):
        build(str(tmp_path / "w.safetensors"))


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path) -> None:
    """A module that cannot be saved leaves the checkpoint of before, whole, and nothing beside it."""
    network = build("edgecnn:digits-cnn")
    assert network.checkpoint is not None
    path = tmp_path / "a.safetensors"
    network.checkpoint.save(path, network.module)
    before = path.read_bytes()
    broken = dataclasses.replace(network.checkpoint, arguments={"classes": object()})
    with pytest.raises(TypeError):
        broken.save(path, network.module)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{broken", "not JSON"),
        ("[1]", "expected a table"),
        ('{"schema_version": 1}', "missing key 'factory'"),
        ('{"schema_version": 1, "factory": "a:b", "layers": 3}', "'layers'"),
        ('{"schema_version": 1, "factory": "a:b", "input_shape": ["x"]}', "expected int"),
        ('{"schema_version": 1, "factory": "a:b", "normalization": {"mean": 3}}', "expected a list"),
    ],
)
def test_a_damaged_description_is_told(tmp_path: Path, document: str, told: str) -> None:
    """What is written about the network is read strictly: the message names the file and what is wrong."""
    path = tmp_path / "damaged.safetensors"
    save_file({"weight": torch.zeros(1)}, path, metadata={"edgecnn": document})
    with pytest.raises(EdgecnnError, match=told) as caught:
        Checkpoint.read(path)
    assert "damaged.safetensors" in str(caught.value)


LAZY = """
from torch import nn

def net():
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(4))
"""


def test_lazy_layers_take_their_size_from_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebuilt from a checkpoint or from bare weights before any input, they are plain layers of the size stored."""
    (tmp_path / "own_lazy_layers.py").write_text(LAZY)
    monkeypatch.chdir(tmp_path)
    x = torch.rand(2, 1, 8, 8)
    network = build("own_lazy_layers:net")
    assert network.is_lazy
    network.outputs(x.numpy())
    assert network.checkpoint is not None
    small = prune(network.module, (1, 8, 8), Uniform(0.5))
    network.checkpoint.save(tmp_path / "small.safetensors", small)
    torch.save(network.module.state_dict(), "bare.pt")
    for weights, expected in (("small.safetensors", small), ("bare.pt", network.module)):
        again = build("own_lazy_layers:net", weights=weights)
        assert [type(layer) for layer in again.module.modules()] == [type(layer) for layer in network.module.modules()]
        assert "Lazy" not in str(again.module)
        with torch.no_grad():
            assert torch.equal(again.module(x), expected(x))
    save_file({"0.weight": torch.zeros(8, 1, 3, 3)}, "half.safetensors")
    with pytest.raises(EdgecnnError, match=r"0\.bias: its layer takes its size from an input"):
        build("own_lazy_layers:net", weights="half.safetensors")
