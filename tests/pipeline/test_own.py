"""The user's own modules and data in Python, and folders of grayscale images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edgecnn
from edgecnn.datasets import DataSource
from edgecnn.errors import EdgecnnError
from edgecnn.normalization import Normalization
from edgecnn.pipeline.subject import load_subject
from edgecnn.recipe import Limits


class Own(nn.Module):
    """A small grayscale classifier of two classes, which no factory builds."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores [n, 2]."""
        scores: torch.Tensor = self.head(self.features(x).mean((2, 3)))
        return scores


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of colour images of 12x10 pixels, dark ones and light ones."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 150)):
        (root / label).mkdir()
        for number in range(10):
            pixels = rng.integers(low, low + 100, (10, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


def flat(row: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return the columns that `pandas.json_normalize` makes of *row*: nested keys joined by dots."""
    columns: dict[str, Any] = {}
    for key, value in row.items():
        columns |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return columns


def pixels_of(folder: Path, mode: str) -> npt.NDArray[np.uint8]:
    """Return one image of *folder* as Pillow reads it in *mode*."""
    return np.asarray(Image.open(folder / "dark" / "0.png").convert(mode))


def test_a_folder_follows_the_networks_channels(images: Path) -> None:
    """A network of one channel reads grayscale, normalised to 0…1; one of three reads RGB, as ImageNet."""
    for channels, normalization, mode in ((1, "unit", "L"), (3, "imagenet", "RGB")):
        subject = load_subject(Own(channels), data=f"folder:{images}")
        assert subject.shape == (channels, 10, 12)
        assert str(subject.normalization) == normalization
        files = subject.data.training.images
        read = np.moveaxis(files[np.arange(1)][0], 0, -1)
        assert np.array_equal(read.reshape(pixels_of(images, mode).shape), pixels_of(images, mode))


def test_input_sets_channels_and_size_of_a_folder(images: Path) -> None:
    """An input shape decides how images are read, whatever the network's first layer would take."""
    subject = load_subject(Own(1), data=DataSource(f"folder:{images}", input_shape=(1, 6, 8)))
    assert subject.shape == (1, 6, 8)
    assert any("images are scaled to cover 8x6 pixels" in text for text in subject.warnings)
    with pytest.raises(EdgecnnError, match=r"does not take inputs of shape \[1, 3, 6, 8\]"):
        load_subject(Own(1), data=DataSource(f"folder:{images}", input_shape=(3, 6, 8)))
    with pytest.raises(EdgecnnError, match=r"grayscale \(1 channel\) or RGB \(3\), and the network takes 4"):
        load_subject(Own(4), data=DataSource(f"folder:{images}", input_shape=(4, 6, 8)))


class Dim(nn.Module):
    """Knows dark images, whose pixels are about 0.2 of white, and calls all others light."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores [n, 2] of images [n, 3, H, W]."""
        off = (x.mean((1, 2, 3)) - 0.2).abs()
        return torch.stack([0.3 - off, off - 0.3], dim=1)


def test_another_normalization_that_suits_better_is_named(images: Path) -> None:
    """ImageNet's is assumed and stays, with a warning that 0…1 does better; where it is given there is none."""
    subject = load_subject(Dim(), data=f"folder:{images}")
    assert str(subject.normalization) == "imagenet"
    (text,) = (text for text in subject.warnings if "training samples" in text)
    assert text == (
        "dim: accuracy is 100.00 % with --normalize unit, and 50.00 % with the assumed imagenet, on 16 training "
        "samples: give the one of the training"
    )
    assert not load_subject(Dim(), data=DataSource(f"folder:{images}", normalization="imagenet")).warnings
    # The other two confuse dark and light, or do no better than by chance: nothing to name.
    assert not any("training samples" in text for text in load_subject(Own(3), data=f"folder:{images}").warnings)


def test_a_size_that_nothing_says_is_named(tmp_path: Path) -> None:
    """Images of several sizes and a network of any: the assumed size is told; with --input there is nothing to tell."""
    for number, side in enumerate((8, 12, 16, 8, 12, 16)):
        folder = tmp_path / ("dark", "light")[number % 2]
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (side, side)).save(folder / f"{number}.png")
    told = "the images differ in size, and the network does not record its input size: assumed 224x224 pixels"
    data = f"folder:{tmp_path}"
    assert any(told in text for text in load_subject(Own(3), data=data).warnings)
    given = load_subject(Own(3), data=DataSource(data, input_shape=(3, 12, 12))).warnings
    assert not any(told in text or "256:224" in text for text in given)


def test_networks_of_ours_keep_their_channels_with_a_folder(images: Path) -> None:
    """`edgecnn:digits-cnn` is made for one channel, `edgecnn:resnet20` for three; a folder does not change that."""
    for name, channels in (("digits-cnn", 1), ("resnet20", 3)):
        assert load_subject(f"edgecnn:{name}", data=f"folder:{images}").shape[0] == channels


def test_images_of_16_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    """The upper 8 of 16 bits are read; Pillow's own conversion would make nearly all of them white."""
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    (tmp_path / "one").mkdir()
    Image.fromarray(deep).save(tmp_path / "one" / "1.png")
    read = edgecnn.open_dataset(f"folder:{tmp_path}", channels=1).evaluation.images[np.arange(1)]
    assert np.array_equal(read[0, 0], deep >> 8)


def test_files_read_a_folder_with_their_channels(images: Path, tmp_path: Path) -> None:
    """Compared, an ONNX file of one channel is given grayscale images."""
    file = tmp_path / "mean.onnx"
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, *size])
        for name, size in (("x", (6, 8)), ("y", (1, 1)))
    ]
    node = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    graph = helper.make_graph([node], "mean", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    result = edgecnn.compare(file, file, data=edgecnn.DataSource(f"folder:{images}", normalization="unit"))
    assert result.parity.n == 4


def test_what_is_no_exported_file_is_told() -> None:
    """Where files are measured or compared, a module or a lone path is told; an artifact is taken."""
    file = Path(__file__).parents[1] / "data/classifier.tflite"
    for wrong in (Own(), None):
        with pytest.raises(EdgecnnError, match=r"path of a \.tflite or \.onnx file, not an object of type"):
            edgecnn.compare(wrong, file, data=edgecnn.DataSource(input_shape=(1, 8, 8)))  # type: ignore[arg-type]
    with pytest.raises(EdgecnnError, match="give a list of paths"):
        next(edgecnn.measure_files(str(file)))
    artifact = edgecnn.Artifact.open(file)
    assert edgecnn.Artifact.open(artifact) is artifact


def test_a_module_is_exported_as_it_is(tmp_path: Path) -> None:
    """A module with an input shape becomes verified files, with arrays and a named normalization; it is not changed."""
    net = Own().train()
    x = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    recipe = edgecnn.Recipe("floats", "", files={"onnx": ("fp32",)}, limits={"fp32": Limits(max_drop=0.01)})
    source = edgecnn.DataSource((x, np.arange(20) % 2), input_shape=(1, 8, 8), normalization="mean=0.5,std=0.5")
    result = edgecnn.export_model(net, tmp_path, data=source, recipe=recipe)
    assert [file.path.name for file in result.files] == ["own.fp32.onnx"]
    assert result.files[0].artifact.normalization == Normalization((0.5,), (0.5,))
    assert result.reference is not None
    assert result.reference.n == 4
    assert any(text.startswith("4 samples are few: own.fp32.onnx may have lost up to ") for text in result.warnings)
    assert net.training
    row = flat(result.files[0].to_json())
    assert {"name", "precision", "size_bytes", "accuracy.top1", "parity.top1_agreement", "rejected"} <= set(row)


def test_a_module_is_compressed_and_built_again(tmp_path: Path) -> None:
    """A module is cut and trained on a DataLoader; its checkpoint is read with the module, or with a factory of it."""
    torch.manual_seed(0)
    x = torch.rand(40, 1, 8, 8)
    loader = DataLoader(TensorDataset(x, torch.arange(40) % 2), batch_size=8)
    net, path = Own(), tmp_path / "small.safetensors"
    result = edgecnn.compress_model(net, path, edgecnn.Uniform(0.5), data=loader, training=edgecnn.Training(epochs=1))
    assert result.after.params < result.before.params
    small = edgecnn.build(net, weights=path)
    assert small.input_shape == (1, 8, 8)
    first = small.module.get_submodule("features.0")
    assert isinstance(first, nn.Conv2d)
    assert first.out_channels == 4
    (tmp_path / "own_net_again.py").write_text("from tests.pipeline.test_own import Own as make\n")
    again = edgecnn.build(f"{tmp_path}/own_net_again.py:make", weights=path)
    sample = x[:2].numpy()
    assert np.array_equal(again.outputs(sample)[0], small.outputs(sample)[0])
    with pytest.raises(EdgecnnError, match=r"module given in Python \(Own\).*FILE\.py:factory --weights"):
        edgecnn.build(path)


def test_a_modules_layers_are_measured(tmp_path: Path) -> None:
    """Sensitivity takes a module and arrays."""
    x = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    found = edgecnn.measure_sensitivity(Own(), data={"x": x, "y": np.arange(40) % 2}, ratios=(0.5,))
    assert [row.unit for row in found.rows] == ["features.0"]
    rows = [flat(row) for row in found.to_json()["rows"]]
    assert {"unit", "ratio", "accuracy.top1", "bytes_saved", "loss_increase.mean"} <= set(rows[0])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (Own, {}, "a model cannot be an object of type type; edgecnn takes an nn.Module"),
        (5, {}, "a model cannot be an object of type int"),
        (Own(), {}, "give --data, or --input 1x3x224x224 .in Python data=DataSource.input_shape="),
        (Own(), {"input_shape": "1x1x8x8"}, "input_shape is .channels, height, width."),
        (Own(), {"input_shape": (1, 0, 8)}, "input_shape is .channels, height, width."),
        (Own(), {"input_shape": (1, 8, 8), "normalization": "imgnet"}, "'imgnet' is not understood"),
        (Own(), {"input_shape": (1, 8, 8), "normalization": 0.5}, "a Normalization or a text"),
        (Own(), {"data": 5, "input_shape": (1, 8, 8)}, "data cannot be an object of type int"),
    ],
)
def test_what_is_not_taken_is_told(model: object, options: dict[str, object], message: str) -> None:
    """Anything that is no model, shape, normalization or data ends in one line that says what is taken."""
    with pytest.raises(EdgecnnError, match=message):
        load_subject(model, data=DataSource(**options))  # type: ignore[arg-type]
