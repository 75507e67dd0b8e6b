"""What an export leaves in its folder, whatever was there and whatever interrupts it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edgecnn.artifact import METADATA_KEY, Artifact
from edgecnn.datasets import DataSource
from edgecnn.errors import EdgecnnError
from edgecnn.locks import Lock
from edgecnn.pipeline import export_model
from edgecnn.recipe import load_recipe

FLOAT = dataclasses.replace(load_recipe("board"), files={"onnx": ("fp32",)})

#: Exports to argv[2]; told to stop, it says so and waits just before the file or its JSON takes its name.
EXPORT = """
import dataclasses, sys, time
import edgecnn.files, edgecnn.pipeline.export
from edgecnn.datasets import DataSource
from edgecnn.pipeline import export_model
from edgecnn.recipe import load_recipe
real = edgecnn.files.os.replace
left = int(sys.argv[3])
def replace(source, target):
    global left
    if ".edgecnn-" not in str(target):
        left -= 1
        if left == 0:
            print("now", flush=True)
            time.sleep(60)
    real(source, target)
edgecnn.files.os.replace = replace
recipe = dataclasses.replace(load_recipe("board"), files={"onnx": ("fp32",)})
export_model(sys.argv[1], sys.argv[2], recipe=recipe, data=DataSource(input_shape=(4,)))
"""


def network(path: Path, value: float, labels: list[str] | None = None) -> str:
    """Write an ONNX file whose weights all are *value*, with edgecnn's metadata of *labels*; return its path."""
    weights = numpy_helper.from_array(np.full((4, 3), value, np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("y", 3))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if labels is not None:
        model.metadata_props.add(key=METADATA_KEY, value=json.dumps({"labels": labels}))
    save(model, path)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2])
def test_a_killed_export_leaves_no_file_beside_another_ones_json(tmp_path: Path, step: int) -> None:
    """Killed before the file or before its JSON takes its name, no JSON is there that is of another file."""
    out = tmp_path / "out"
    export_model(network(tmp_path / "m.onnx", 1), out, recipe=FLOAT, data=DataSource(input_shape=(4,)))
    before = Artifact.open(out / "m.fp32.onnx").sha256
    command = [sys.executable, "-c", EXPORT, network(tmp_path / "m.onnx", 2), str(out), str(step)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as export:
        assert export.stdout is not None
        assert export.stdout.readline() == "now\n"
        with pytest.raises(EdgecnnError, match=rf"^process {export.pid} is exporting to '.*out': wait for it"):
            export_model(str(tmp_path / "m.onnx"), out, recipe=FLOAT, data=DataSource(input_shape=(4,)))
        export.send_signal(signal.SIGKILL)
    file = Artifact.open(out / "m.fp32.onnx")
    assert (file.sha256 == before) == (step == 1)
    assert file.history == []
    export_model(str(tmp_path / "m.onnx"), out, recipe=FLOAT, data=DataSource(input_shape=(4,)))
    assert sorted(os.listdir(out)) == ["m.fp32.onnx", "m.fp32.onnx.json"]
    assert [entry["step"] for entry in Artifact.open(out / "m.fp32.onnx").history] == ["build", "to_onnx", "verify"]


def test_a_history_of_another_file_is_told(tmp_path: Path) -> None:
    """A JSON that lies beside another file than its own is not taken for that file's."""
    export_model(network(tmp_path / "m.onnx", 1), tmp_path / "out", recipe=FLOAT, data=DataSource(input_shape=(4,)))
    network(tmp_path / "out/m.fp32.onnx", 2)
    with pytest.raises(EdgecnnError, match=r"m\.fp32\.onnx\.json does not belong to .*m\.fp32\.onnx: its sha256 is"):
        _ = Artifact.open(tmp_path / "out/m.fp32.onnx").history


def test_an_export_writes_through_links(tmp_path: Path) -> None:
    """A link in the place of a file or of its JSON stays, and what it leads to is written."""
    real, out = tmp_path / "real", tmp_path / "out"
    real.mkdir()
    out.mkdir()
    for name in ("m.fp32.onnx", "m.fp32.onnx.json"):
        (out / name).symlink_to(real / name)
    export_model(network(tmp_path / "m.onnx", 1), out, recipe=FLOAT, data=DataSource(input_shape=(4,)))
    assert all((out / name).is_symlink() for name in os.listdir(out))
    assert sorted(os.listdir(real)) == ["m.fp32.onnx", "m.fp32.onnx.json"]


def test_an_export_waits_for_nobody_dead(tmp_path: Path) -> None:
    """A lock that is held refuses; the file of one that is not held any more is no hindrance."""
    model = network(tmp_path / "m.onnx", 1)
    with Lock(tmp_path / ".edgecnn.lock"), pytest.raises(EdgecnnError, match=f"process {os.getpid()} is exporting"):
        export_model(model, tmp_path, recipe=FLOAT, data=DataSource(input_shape=(4,)))
    (tmp_path / ".edgecnn.lock").write_text("1\n")
    export_model(model, tmp_path, recipe=FLOAT, data=DataSource(input_shape=(4,)))
    assert not (tmp_path / ".edgecnn.lock").exists()


def test_labels_are_as_many_as_the_classes(tmp_path: Path) -> None:
    """A classifier that carries another number of labels than it tells classes apart is refused before any work."""
    with pytest.raises(EdgecnnError, match="m has 2 labels for 3 classes; leave the labels out"):
        export_model(
            network(tmp_path / "m.onnx", 1, ["a", "b"]),
            tmp_path,
            recipe=FLOAT,
            task="classification",
            data=DataSource(input_shape=(4,)),
        )
    export_model(
        network(tmp_path / "m.onnx", 1, ["a", "b", "c"]), tmp_path, recipe=FLOAT, data=DataSource(input_shape=(4,))
    )
    assert Artifact.open(tmp_path / "m.fp32.onnx").metadata["labels"] == ["a", "b", "c"]
