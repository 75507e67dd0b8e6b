"""Networks by name, and what their weights may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import GoogLeNet_Weights, googlenet

from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import Network, build
from edgecnn.normalization import Normalization
from tests.conftest import shared


def one_batch(shape: tuple[int, ...], n: int = 2) -> np.ndarray:  # type: ignore[type-arg]
    """Return a repeatable batch of noise."""
    return np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)


def test_resnets_have_the_published_size() -> None:
    """ResNet-20 and ResNet-56 have the parameters of the paper's table 6: 0.27 M and 0.85 M."""
    for name, millions in (("resnet20", 0.27), ("resnet56", 0.85)):
        params = sum(p.numel() for p in build(f"edgecnn:{name}").module.parameters())
        assert round(params / 1e6, 2) == millions


def test_real_weights_fit_resnet20() -> None:
    """Weights that nobody here made load into the network, keys and shapes."""
    path = shared("models/resnet20-cifar10.safetensors")
    network = build("edgecnn:resnet20", weights=path)
    assert network.input_shape == (3, 32, 32)
    assert network.normalization == Normalization.parse("imagenet")
    assert np.isfinite(network.outputs(one_batch((3, 32, 32)))[0]).all()


def test_weights_of_another_network_are_told_by_their_keys(tmp_path: Path) -> None:
    """The first three keys that differ are named, missing and unknown ones."""
    save_file({name: torch.zeros(1) for name in ("a", "b", "c", "d")}, str(tmp_path / "w.safetensors"))
    with pytest.raises(EdgecnnError, match=r"missing: features.0.weight.*4 unknown: a, b, c$"):
        build("edgecnn:digits-cnn", weights=tmp_path / "w.safetensors")


def test_pth_loads_as_tensors_alone(tmp_path: Path) -> None:
    """A state dict is read, wrapped or prefixed by data-parallel training as it may be."""
    state = build("edgecnn:digits-cnn").module.state_dict()
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    loaded = build("edgecnn:digits-cnn", weights=tmp_path / "w.pth").module.state_dict()
    assert all(torch.equal(state[name], loaded[name]) for name in state)


def test_a_pickle_that_needs_code_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """A pickled module is not unpickled; the message says how to convert it."""
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(EdgecnnError, match=r"would run code.*safetensors"):
        build("edgecnn:digits-cnn", weights=tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_broken_weight_files_are_told(tmp_path: Path, content: bytes, suffix: str) -> None:
    """Empty, random and cut files end in one line that names the file."""
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(EdgecnnError, match=rf"w\.{suffix}"):
        build("edgecnn:digits-cnn", weights=path)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("edgecnn:resnet21", "did you mean 'resnet"),
        ("torchvision:resnet19", "did you mean 'resnet"),
        ("resnet20", "MODEL is one of"),
        ("nowhere.at_all:net", "no module named 'nowhere'"),
        ("os:getcwd", "gave a str"),
        ("os:nothing", "unknown attribute of os"),
        ("missing.safetensors", "no file at"),
        ("missing.pt2", "no file at"),
        ("weights.pth", "weights alone"),
    ],
)
def test_what_is_no_network_is_told(model: str, told: str) -> None:
    """Each unusable MODEL ends in one line that says what is known."""
    with pytest.raises(EdgecnnError, match=told):
        build(model)


def test_the_users_own_factory_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`package.module:factory` reads the code of the folder one stands in; its failure is told as its own."""
    (tmp_path / "own_nets_for_test.py").write_text(
        "from torch import nn\n\ndef tiny():\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))\n\n"
        "def bad():\n    raise KeyError('width')\n"
    )
    monkeypatch.chdir(tmp_path)
    assert build("own_nets_for_test:tiny").outputs(one_batch((1, 2, 2)))[0].shape == (2, 2)
    with pytest.raises(EdgecnnError, match=r"'own_nets_for_test:bad' failed: KeyError: 'width'"):
        build("own_nets_for_test:bad")


@pytest.mark.parametrize("dynamic", [False, True])
def test_an_exported_program_gives_what_its_network_gives(tmp_path: Path, dynamic: bool) -> None:
    """A `.pt2` with a batch of 1 or an open batch runs any number of samples and says its input's shape."""
    network = build("edgecnn:digits-cnn")
    shapes = {"x": {0: torch.export.Dim("n")}} if dynamic else None
    example = torch.zeros(2 if dynamic else 1, 1, 8, 8)
    torch.export.save(torch.export.export(network.module, (example,), dynamic_shapes=shapes), tmp_path / "n.pt2")
    program = build(str(tmp_path / "n.pt2"))
    assert program.input_shape == (1, 8, 8)
    x = one_batch((1, 8, 8), 3)
    np.testing.assert_allclose(program.outputs(x)[0], network.outputs(x)[0], atol=1e-5)


def test_an_exported_program_with_objects_that_run_code_is_refused(tmp_path: Path) -> None:
    """An archive with an opaque object is refused before torch unpickles it; a random file is told."""
    import zipfile

    network = build("edgecnn:digits-cnn")
    path = tmp_path / "n.pt2"
    torch.export.save(torch.export.export(network.module, (torch.zeros(1, 1, 8, 8),)), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("n/data/constants/opaque_obj_0", b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(EdgecnnError, match="opaque_obj_0, which would run code"):
        build(str(path))
    path.write_bytes(b"no archive")
    with pytest.raises(EdgecnnError, match="not a whole exported program"):
        build(str(path))


def test_a_shape_the_network_does_not_take_is_told() -> None:
    """Inputs of another channel count end in one line with the shape."""
    with pytest.raises(EdgecnnError, match=r"does not take inputs of shape \[2, 3, 8, 8\]"):
        build("edgecnn:digits-cnn").outputs(one_batch((3, 8, 8)))


def test_torchvisions_own_weights_are_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights of its own, torchvision builds googlenet otherwise than without: the checkpoint says how."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = GoogLeNet_Weights.DEFAULT.url.rpartition("/")[2]
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(googlenet(init_weights=False).state_dict(), folder / file)
    network = build("torchvision:googlenet", weights="DEFAULT")
    assert network.checkpoint is not None
    network.checkpoint.save(tmp_path / "kept.safetensors", network.module)
    x = one_batch((3, 64, 64))
    kept = build(str(tmp_path / "kept.safetensors"))
    assert np.array_equal(network.outputs(x)[0], kept.outputs(x)[0])


def test_inputs_are_left_as_they_are() -> None:
    """A network that writes over its input does so to a copy."""

    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x *= 0.5
            return x

    x = one_batch((3,))
    before = x.copy()
    assert np.array_equal(Network("scaled", Scaled()).outputs(x)[0], before * 0.5)
    assert np.array_equal(x, before)
