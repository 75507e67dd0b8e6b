"""Networks with several inputs: exported, verified, quantized and compared; refused in one line by what needs one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgecnn.datasets import DataSource, open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.compare import compare
from edgecnn.pipeline import ExportResult, compress_model, export_model
from edgecnn.recipe import load_recipe
from edgecnn.targets.execute import run_file

RNG = np.random.default_rng(0)
N = 40


class Two(nn.Module):
    """An image beside values of a sensor, whose range is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.sensors = nn.Linear(5, 4)
        self.head = nn.Linear(8, 3)

    def forward(self, image: torch.Tensor, sensors: torch.Tensor) -> torch.Tensor:
        """Map [N, 3, 8, 6] and [N, 5] to [N, 3]."""
        return self.head(torch.cat([self.image(image), torch.relu(self.sensors(sensors))], 1))


def two() -> Two:
    """Return the same network each time."""
    torch.manual_seed(0)
    return Two().eval()


def arrays(**others: Any) -> dict[str, npt.NDArray[Any]]:
    """Return samples whose inputs are in another order than the network's."""
    sensors = (RNG.standard_normal((N, 5)) * 20).astype(np.float32)
    images = RNG.integers(0, 256, (N, 3, 8, 6), dtype=np.uint8)
    return {"sensors": sensors, "image": images, "y": np.arange(N) % 3, **others}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """Float and int8 files in both formats, by arrays named as the inputs."""
    recipe = replace(load_recipe("board"), limits={})
    return export_model(two(), tmp_path_factory.mktemp("two"), recipe=recipe, data=arrays(), name="two")


def test_files_have_both_inputs_and_compute_what_torch_does(exported: ExportResult) -> None:
    """Arrays find their inputs by name; pixels become 0…1; int8 has a scale for each input."""
    assert not exported.failed
    for file in exported.files:
        images_last = file.artifact.format == "tflite"
        shapes = {spec.name: spec.shape for spec in file.artifact.inputs}
        assert shapes == {"image": (1, 8, 6, 3) if images_last else (1, 3, 8, 6), "sensors": (1, 5)}
        if file.artifact.precision == "fp32":
            assert file.parity.max_abs_diff < 1e-4
        else:
            assert file.parity.worst is None or (file.parity.worst.sqnr_db or 0) > 15
    image, sensors = RNG.random((2, 3, 8, 6), np.float32), RNG.standard_normal((2, 5)).astype(np.float32)
    with torch.no_grad():
        expected = two()(torch.from_numpy(image), torch.from_numpy(sensors)).numpy()
    tflite = next(file.artifact for file in exported.files if file.path.name == "two.fp32.tflite")
    ((given,),) = run_file(tflite, [[image.transpose(0, 2, 3, 1), sensors]])
    np.testing.assert_allclose(given, expected, atol=1e-4)


def test_files_are_compared_on_the_same_data(exported: ExportResult) -> None:
    """`compare` feeds both files by the names of their inputs, whatever the order of the arrays."""
    float_file, int8_file = exported.files[2].artifact, exported.files[1].artifact
    found = compare(float_file, int8_file, data=arrays())
    assert found.parity.n == 9  # three of each class
    assert found.parity.max_abs_diff < 1


def test_an_onnx_file_with_two_inputs_becomes_tflite(exported: ExportResult, tmp_path: Path) -> None:
    """Also on noise, of the shapes that the file says."""
    recipe = replace(load_recipe("board"), files={"tflite": ("fp32",)})
    source = next(file.path for file in exported.files if file.path.name == "two.fp32.onnx")
    result = export_model(source, tmp_path, recipe=recipe, name="again")
    assert [spec.name for spec in result.files[0].artifact.inputs] == ["image", "sensors"]
    assert result.files[0].parity.max_abs_diff < 1e-4


def test_numbered_arrays_are_in_the_order_of_the_inputs() -> None:
    """`x10` comes after `x2`; all are rows of one array of float32."""
    given = {f"x{number}": np.full((10, 2), number, np.float32) for number in (10, 0, 2)}
    samples = open_dataset(given).evaluation
    assert list(samples.inputs) == ["x0", "x2", "x10"]
    assert next(iter(samples)).x[0].tolist() == [0, 0, 2, 2, 10, 10]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"data": DataSource(input_shape=(3, 8, 6))},
            r"takes 2 inputs \(image, sensors\), but 1 were given; give --input for each",
        ),
        ({"data": arrays(sensors=np.zeros((7, 5), np.float32))}, "'image' has 40 samples, 'sensors' has 7"),
        ({"data": DataSource(arrays(), normalization="unit")}, "takes several inputs, and a normalization is for one"),
    ],
)
def test_what_does_not_fit_is_one_line(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    """The inputs are named."""
    with pytest.raises(EdgecnnError, match=message):
        export_model(two(), tmp_path, **given)


def test_several_arrays_are_nothing_for_one_input(tmp_path: Path) -> None:
    """A network with one input says that it has one."""
    with pytest.raises(EdgecnnError, match=r"takes 1 inputs \(input\), but 2 were given"):
        export_model(two().sensors, tmp_path, data=arrays())


def test_what_needs_one_input_says_so(tmp_path: Path) -> None:
    """Cutting, and corrections of int8 layer by layer."""
    with pytest.raises(EdgecnnError, match=r"cannot be cut: it takes several inputs \(image, sensors\)"):
        compress_model(two(), tmp_path / "small.safetensors", data=arrays())
    recipe = replace(load_recipe("board"), files={"onnx": ("w8a8",)})
    with pytest.raises(EdgecnnError, match="edgecnn corrects networks with one; give --quantize minmax"):
        export_model(two(), tmp_path, data=arrays(), recipe=recipe, quantize="bias")
