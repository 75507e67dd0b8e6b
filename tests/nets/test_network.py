"""Networks by name, and what their weights may be."""

from __future__ import annotations

import zipfile
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
    with pytest.raises(EdgecnnError, match=r"would run code.*convert it once: torch\.save"):
        build("edgecnn:digits-cnn", weights=tmp_path / "w.pth")


class Declared:
    """Leaves a file behind where it is unpickled."""

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["mark"]).touch()


def test_what_others_declare_safe_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a class declared safe to torch's loader nor its environment variable lets a weight file run code."""
    thing = Declared()
    thing.mark = str(tmp_path / "ran")  # type: ignore[attr-defined]
    torch.save({"w": thing}, tmp_path / "w.pth")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with torch.serialization.safe_globals([Declared]):
        with pytest.raises(EdgecnnError, match="would run code"):
            build("edgecnn:digits-cnn", weights=tmp_path / "w.pth")
        assert Declared in torch.serialization.get_safe_globals()
    assert not (tmp_path / "ran").exists()


def test_compressed_weights_are_refused(tmp_path: Path) -> None:
    """A weight file whose records are compressed could be a thousand times as large in memory."""
    torch.save({"w": torch.zeros(1000)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as source,
        zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(EdgecnnError, match=r"c\.pth: its tensors are compressed"):
        build("edgecnn:digits-cnn", weights=tmp_path / "c.pth")


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
        ("resnet20", "unknown model 'resnet20'; did you mean edgecnn:resnet20[?] MODEL is one of"),
        ("resnet18", "did you mean torchvision:resnet18[?]"),
        ("resnet_20", "did you mean edgecnn:resnet20"),
        ("qqqq", "unknown model 'qqqq'; MODEL is one of"),
        ("net.w8a8.tflite", "net.w8a8.tflite is an exported file"),
        ("nowhere.at_all:net", "no module named 'nowhere'"),
        ("os:getcwd", "gave a str"),
        ("os:nothing", "unknown function in os:"),
        ("missing.safetensors", "no file at"),
        ("missing.pt2", "no file at"),
        ("weights.pth", "a weights file does not name its network"),
        ("weights.pth.tar", "a weights file does not name its network"),
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


def test_a_factory_is_given_the_classes_and_channels_it_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parameter without default gets what the data have, and the checkpoint notes it; one with a default keeps it."""
    (tmp_path / "asking.py").write_text(
        "from torch import nn\n\ndef make(num_classes, in_channels, width=3):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, width, 1), nn.Flatten(), nn.LazyLinear(num_classes))\n\n"
        "def own(num_classes=1):\n    return nn.Linear(4, num_classes)\n"
    )
    monkeypatch.chdir(tmp_path)
    network = build("asking.py:make", classes=5, channels=2)
    assert network.outputs(one_batch((2, 4, 4)))[0].shape == (2, 5)
    assert network.checkpoint is not None
    assert network.checkpoint.arguments == {"num_classes": 5, "in_channels": 2}
    assert build("asking.py:own", classes=5).outputs(one_batch((4,)))[0].shape == (2, 1)
    with pytest.raises(EdgecnnError, match="missing 1 required positional argument: 'in_channels'"):
        build("asking.py:make", classes=5)


class TwoInputs(nn.Module):
    """An image and values beside it."""

    def forward(self, image: torch.Tensor, meta: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        """Map both to [N, 1]."""
        return image.mean((1, 2, 3), keepdim=True)[:, :, 0, 0] + meta * scale


def test_several_inputs_are_named() -> None:
    """Whatever form the network comes in; an argument with a default is no input."""
    network = build(TwoInputs())
    assert network.input_names == ["image", "meta"]
    with pytest.raises(EdgecnnError, match=r"twoinputs takes 2 inputs \(image, meta\), but 1 were given"):
        network.outputs(one_batch((3, 4, 4)))
    rows = network.with_inputs([(3, 4, 4), (1,)]).outputs(one_batch((49,)))
    assert rows[0].shape == (2, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_type_than_float32_are_one_line(dtype: torch.dtype) -> None:
    """The type is named, and what the factory is to return."""
    told = f"network half has weights in {str(dtype)[6:]}; edgecnn takes float32 .* return module.float\\(\\)"
    with pytest.raises(EdgecnnError, match=told):
        Network("half", nn.Conv2d(3, 4, 1).to(dtype))


def test_detectors_and_segmenters_of_torchvision_are_built_by_name() -> None:
    """A detector is its heads, with the normalization and the size it is made for; one of two stages is refused."""
    network = build("torchvision:ssdlite320_mobilenet_v3_large", classes=4)
    assert network.input_shape == (3, 320, 320)
    assert network.normalization == Normalization((0.5,) * 3, (0.5,) * 3)
    boxes, scores = network.outputs(np.zeros((1, 3, 320, 320), np.float32))
    assert boxes.shape[2] == 4
    assert scores.shape[1:] == (boxes.shape[1], 5)  # and the background
    with pytest.raises(EdgecnnError, match="use a detector with one stage"):
        build("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn")
    segmenter = build("torchvision:lraspp_mobilenet_v3_large", classes=3)
    assert segmenter.outputs(np.zeros((1, 3, 64, 64), np.float32))[0].shape == (1, 3, 64, 64)


def test_networks_of_timm_are_built_by_name() -> None:
    """With timm's own preprocessing; an unknown name has a near match, and its weights are not downloaded."""
    pytest.importorskip("timm")
    network = build("timm:lcnet_035", classes=5)
    assert network.input_shape == (3, 224, 224)
    assert str(network.normalization) == "imagenet"
    assert network.outputs(np.zeros((1, 3, 32, 32), np.float32))[0].shape == (1, 5)
    with pytest.raises(EdgecnnError, match="did you mean"):
        build("timm:lcnet_03")
    with pytest.raises(EdgecnnError, match="downloads no weights of timm"):
        build("timm:lcnet_035", weights="DEFAULT")
