"""An int8 file is corrected by the numbers of its weights and biases alone, in both formats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError
from edgecnn.export import CalibrationInputs, quantize
from edgecnn.export.int8.onnx_program import OnnxProgram
from edgecnn.export.int8.refine import refine
from edgecnn.export.onnx import to_onnx
from edgecnn.export.tflite import to_tflite
from edgecnn.recipe import Recipe
from edgecnn.runtimes import runtime_class, runtime_for
from edgecnn.samples import Samples

pytestmark = pytest.mark.slow
SHAPE = (3, 12, 12)
FORMATS = ("onnx", "tflite")
METHODS = ("minmax", "adaround", "bias", "adaround,bias")


def lossy() -> nn.Module:
    """A network whose pointwise layer has one large weight a filter, and many that the nearest integer makes 0."""
    torch.manual_seed(0)
    pointwise = nn.Conv2d(16, 24, 1)
    with torch.no_grad():
        pointwise.weight.uniform_(0.2, 0.45).mul_(1 / 127)
        pointwise.weight[torch.arange(24), torch.arange(24) % 16] = 1.0
    layers = [
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.ReLU6(),
        pointwise,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    ]
    return nn.Sequential(*layers).eval()


def images(seed: int, count: int = 48) -> npt.NDArray[np.float32]:
    """Return noise that varies slowly over the image."""
    coarse = np.random.default_rng(seed).standard_normal((count, 3, 3, 3))
    return np.repeat(np.repeat(coarse, 4, 2), 4, 3).astype(np.float32)


def outputs(artifact: Artifact, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return what the file gives for each image in its own runtime, [n, 10]."""
    session = runtime_class(runtime_for(artifact.format))().open(str(artifact.path), 1)
    found = []
    for image in x:
        session.write(
            [np.ascontiguousarray(image[None].transpose(0, 2, 3, 1))] if artifact.format == "tflite" else [image[None]]
        )
        session.invoke()
        found.append(session.read()[0].copy())
    session.close()
    return np.concatenate(found).astype(np.float64)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Artifact]:
    """The network in float, and in int8 by each of METHODS, in both formats: (format, method) → file."""
    folder = tmp_path_factory.mktemp("lossy")
    calibration = CalibrationInputs(Samples.of(images(0)), None)
    found = {}
    for name, write in (("onnx", to_onnx), ("tflite", to_tflite)):
        plain = found[name, "fp32"] = write(lossy(), folder / f"a.fp32.{name}", SHAPE)
        for method in METHODS:
            recipe = replace(Recipe("own", "", {}), quantize=method)
            path = folder / f"{method}.{name}"
            found[name, method] = quantize(plain, path, "w8a8", recipe=recipe, calibration=calibration)
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_corrections_bring_back_the_outputs(name: str, files: dict[tuple[str, str], Artifact]) -> None:
    """On images that it was not made with, each step brings the file's outputs nearer to the network's."""
    x = images(1)
    expected = outputs(files[name, "fp32"], x)
    centred = expected - expected.mean(0)
    noise = {method: expected - outputs(files[name, method], x) for method in METHODS}
    minmax, adaround, bias, both = (10 * np.log10((centred**2).sum() / (rest**2).sum()) for rest in noise.values())
    assert min(adaround, bias) > minmax + 6
    assert both > bias - 0.1


@pytest.mark.parametrize("name", FORMATS)
def test_the_mean_error_of_each_output_is_gone(name: str, files: dict[tuple[str, str], Artifact]) -> None:
    """Over the calibration samples each output has the network's mean, to an eighth of the error before."""
    x = images(0)
    expected = outputs(files[name, "fp32"], x)
    before, after = (np.abs((expected - outputs(files[name, m], x)).mean(0)).max() for m in ("minmax", "bias"))
    assert after < before / 8


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_but_numbers_changes(name: str, files: dict[tuple[str, str], Artifact]) -> None:
    """Operators, shapes, types and scales are those of the uncorrected file: it is as fast and as large."""
    plain = files[name, "minmax"].graph
    for method in METHODS[1:]:
        corrected = files[name, method].graph
        assert [(o.kind, o.inputs, o.outputs) for o in corrected.operators] == [
            (o.kind, o.inputs, o.outputs) for o in plain.operators
        ]
        assert [(t.shape, t.dtype, t.quant) for t in corrected.tensors] == [
            (t.shape, t.dtype, t.quant) for t in plain.tensors
        ]
        assert corrected.weights_bytes == plain.weights_bytes


@pytest.mark.parametrize("name", FORMATS)
def test_the_file_tells_what_was_done(name: str, files: dict[tuple[str, str], Artifact]) -> None:
    """Its metadata name the steps and what they brought; a file of ranges alone has neither."""
    assert "quantize" not in files[name, "minmax"].metadata
    for method in METHODS[1:]:
        metadata = files[name, method].metadata
        assert metadata["quantize"] == method
        done = metadata["corrections"]
        assert (done["layers"], done["samples"]) == (4, 48)
        assert done["sqnr_db_after"] > done["sqnr_db_before"]
        assert (done["weights_moved"] > 0) == ("adaround" in method)


def program(filters: int) -> OnnxProgram:
    """Return a float network of one convolution with so many filters."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1, size, 4, 4]) for name, size in (("input", 3), ("y", filters))]
    weights = onnx.numpy_helper.from_array(np.ones((filters, 3, 1, 1), np.float32), "w")
    node = helper.make_node("Conv", ["input", "w"], ["y"])
    return OnnxProgram(helper.make_model(helper.make_graph([node], "net", ends[:1], ends[1:], [weights])))


def test_layers_that_stay_in_float_are_left_alone() -> None:
    """There is nothing to round in them, and no bias in int32."""
    same = program(4)
    assert refine(program(4), same, [np.ones((1, 3, 4, 4), np.float32)], rounding=True, bias=True) == ()
    assert same.pack() == program(4).pack()


def test_a_file_of_another_network_is_refused() -> None:
    """Its layers have other shapes."""
    with pytest.raises(EdgecnnError, match="other layers"):
        refine(program(4), program(5), [np.ones((1, 3, 4, 4), np.float32)], rounding=True, bias=True)


def test_an_unknown_step_is_named() -> None:
    """With the steps that there are."""
    with pytest.raises(EdgecnnError, match=r"biass.*minmax"):
        replace(Recipe("own", "", {}), quantize="biass")
