"""What onnxsim gives is kept only where it computes the same as the exporter's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.datasets import DataSource
from edgecnn.evaluate.compare import compare
from edgecnn.export import FileFacts
from edgecnn.export.onnx import simplify_onnx, to_onnx
from edgecnn.export.simplify import outputs_of_noise, simplified

onnx = pytest.importorskip("onnx")
onnxsim = pytest.importorskip("onnxsim")


def model_of(*, scale: float = 1.0) -> Any:
    """Return `mean(relu(x) * (1 + 1) * scale)` over height and width, its two constants still to be added."""
    nodes = [
        onnx.helper.make_node("Add", ["one", "one"], ["two"]),
        onnx.helper.make_node("Relu", ["x"], ["a"]),
        onnx.helper.make_node("Mul", ["a", "two"], ["b"]),
        onnx.helper.make_node("ReduceMean", ["b", "axes"], ["y"], keepdims=1),
    ]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2, 4, 4])
    b = onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [1, 2, 4, 4])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2, 1, 1])
    stored = {"one": np.float32(scale).reshape(1), "axes": np.array([2, 3], np.int64)}
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], constants, value_info=[b])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def kinds(model: Any) -> list[str]:
    """Return the kinds of its operators."""
    return [node.op_type for node in model.graph.node]


def test_what_is_the_same_is_kept() -> None:
    """Constants are folded and the mean is a pool; nothing is said, and the model given is left as it was."""
    model = model_of()
    made, notes = simplified(model)
    assert kinds(made) == ["Relu", "Mul", "GlobalAveragePool"]
    assert notes == ()
    assert kinds(model) == ["Add", "Relu", "Mul", "ReduceMean"]
    assert np.allclose(outputs_of_noise(model)[0], outputs_of_noise(made)[0])


def raising(model: Any) -> Any:
    """Stand for a release of onnxsim that fails."""
    raise RuntimeError("no\nsuch shape")


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda model: (model_of(scale=1.01), True), "onnxsim changed what the network computes: the exporter's"),
        (lambda model: (model, False), "onnxsim failed (ValueError: its own check of the result failed)"),
        (raising, "onnxsim failed (RuntimeError: no such shape)"),
    ],
)
def test_what_is_not_the_same_is_left_out(broken: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where onnxsim changes values by a hundredth, doubts itself or raises, the exporter's model stays, with a note."""
    monkeypatch.setattr(onnxsim, "simplify", broken)
    model = model_of()
    made, [note] = simplified(model)
    assert note.startswith(told)
    assert kinds(made) == ["Add", "Relu", "Mul", "GlobalAveragePool"]
    assert np.allclose(outputs_of_noise(model)[0], outputs_of_noise(made)[0])


@pytest.mark.slow
def test_the_note_travels_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was kept as it came from the exporter runs, and says so in its metadata."""
    monkeypatch.setattr(onnxsim, "simplify", raising)
    artifact = to_onnx(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval(), tmp_path / "net.onnx", (1, 4, 4))
    assert artifact.metadata["notes"] == [
        "onnxsim failed (RuntimeError: no such shape): the exporter's ONNX is kept unchanged"
    ]
    assert [tuple(spec.shape) for spec in artifact.outputs] == [tuple(torch.Size((1, 2, 2, 2)))]


def open_onnxsim(model: Any) -> Any:
    """Stand for an onnxsim that changes nothing."""
    return model, True


@pytest.mark.parametrize("simplify", [onnxsim.simplify, open_onnxsim, raising])
def test_an_open_batch_becomes_1(simplify: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose batch is open is written for a batch of 1, whatever onnxsim does."""
    model = model_of()
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, tmp_path / "open.onnx")
    monkeypatch.setattr(onnxsim, "simplify", simplify)
    artifact = simplify_onnx(Artifact.open(tmp_path / "open.onnx"), tmp_path / "net.onnx", FileFacts("net"))
    [given] = onnx.load(artifact.path).graph.input
    assert [size.dim_value for size in given.type.tensor_type.shape.dim] == [1, 2, 4, 4]
    assert (
        compare(
            tmp_path / "open.onnx", artifact.path, samples=3, data=DataSource(input_shape=(2, 4, 4))
        ).parity.max_abs_diff
        < 1e-6
    )
