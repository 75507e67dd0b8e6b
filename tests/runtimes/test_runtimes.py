"""Which runtime runs what, and that each gives what its own interface gives."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgecnn.errors import EdgecnnError
from edgecnn.formats import FORMATS
from edgecnn.runtimes import runtime_class, runtime_for, runtimes_for


def test_each_format_has_its_usual_runtime() -> None:
    """LiteRT runs .tflite and onnxruntime runs .onnx, unless somebody says otherwise."""
    assert runtime_for("tflite") == "litert"
    assert runtime_for("onnx") == "onnxruntime"
    assert runtimes_for("onnx") == ["onnxruntime", "openvino"]
    assert {name: row.runtime for name, row in FORMATS.items()} == {name: runtime_for(name) for name in FORMATS}


def test_a_runtime_of_another_format_is_refused() -> None:
    """The message says what the runtime runs, and which one runs the file."""
    with pytest.raises(EdgecnnError, match=r"onnxruntime runs \.onnx; for \.tflite use: litert"):
        runtime_for("tflite", "onnxruntime")


def test_an_unknown_runtime_is_refused() -> None:
    """The message gives the near match."""
    with pytest.raises(EdgecnnError, match="did you mean 'litert'"):
        runtime_for("tflite", "liter")


@pytest.mark.parametrize(("name", "extra"), [("litert", "litert"), ("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_each_says_how_it_is_installed(name: str, extra: str) -> None:
    """The pip line names the extra that brings it, without importing it."""
    assert runtime_class(name).install == f"pip install 'edgecnn[{extra}]', or '.[{extra}]' in a checkout"


def test_a_file_does_not_set_up_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that an ONNX file has in its metadata are not followed, though a variable asks for it: no profile."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = {"session_options": {"enable_profiling": 1}}
    model.metadata_props.add(key="ort_config", value=json.dumps(options))
    onnx.save(model, tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    runtime = runtime_class("onnxruntime")()
    runtime.open("net.onnx", 1).close()
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
