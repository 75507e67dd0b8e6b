"""An ONNX file with data files beside it is one artifact, and reads nothing from elsewhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgecnn.artifact import Artifact
from edgecnn.datasets import DataSource
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.compare import compare
from edgecnn.formats import read_graph
from edgecnn.targets.execute import run_file

onnx = pytest.importorskip("onnx")


def save_split(path: Path, seed: int = 0, location: str = "") -> Path:
    """Write `y = x @ w`, [1, 64] to [1, 32], with its weights in a data file."""
    weights = np.random.default_rng(seed).normal(size=(64, 32)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 32])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path, save_as_external_data=True, location=location or f"{path.name}.data", size_threshold=0)
    return path


def relocate(path: Path, **entries: str) -> None:
    """Give the data of the one weight of *path* another place."""
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


def test_other_weights_are_another_artifact(tmp_path: Path) -> None:
    """Two networks whose `.onnx` files are the same to the byte and whose data files differ have two sha256."""
    a, b = (save_split(tmp_path / folder / "net.onnx", seed) for seed, folder in enumerate("ab"))
    assert a.read_bytes() == b.read_bytes()
    first, second = map(Artifact.open, (a, b))
    assert first.sha256 != second.sha256
    assert first.files == (a, a.with_name("net.onnx.data"))
    assert first.size_bytes == sum(file.stat().st_size for file in first.files)
    same = save_split(tmp_path / "c" / "net.onnx", 0)
    assert Artifact.open(same).sha256 == first.sha256


def test_the_sha256_is_what_the_shell_gives(tmp_path: Path) -> None:
    """That of one file is the file's own; that of several is of their sha256, a line each, the model first."""
    path = save_split(tmp_path / "net.onnx", location="a.bin")
    single = tmp_path / "single.onnx"
    onnx.save(onnx.load(path), single)

    def said(line: str) -> str:
        return subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, check=True).stdout.decode()[:64]

    assert Artifact.open(path).sha256 == said("sha256sum net.onnx a.bin | cut -c -64 | sha256sum")
    assert Artifact.open(single).sha256 == said("sha256sum single.onnx")


def test_a_copy_brings_all_files(tmp_path: Path) -> None:
    """A copy under the name of a rejected file runs, and gives what the first gives."""
    artifact = Artifact.open(save_split(tmp_path / "net.onnx"))
    copy = artifact.copied_to(tmp_path / "out" / "net.onnx.rejected")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"net.onnx.rejected", "net.onnx.data"}
    assert Artifact.open(copy.path).sha256 == artifact.sha256
    assert compare(artifact.path, copy.path, samples=3, data=DataSource(input_shape=(64,))).parity.max_abs_diff == 0


def test_a_link_runs_with_the_data_beside_the_link(tmp_path: Path) -> None:
    """The worker opens the file under the name it was given: data files lie beside that."""
    save_split(tmp_path / "real" / "net.onnx", 0)
    linked = tmp_path / "net.onnx"
    linked.symlink_to(tmp_path / "real" / "net.onnx")
    other = save_split(tmp_path / "other" / "net.onnx", 1)
    (tmp_path / "net.onnx.data").write_bytes(other.with_name("net.onnx.data").read_bytes())
    x = np.ones((1, 64), np.float32)
    [a], [b] = (next(run_file(Artifact.open(path), [[x]])) for path in (linked, other))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret", ""])
def test_data_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    """A file does not choose which other files of the machine are read."""
    (tmp_path / "secret").write_bytes(bytes(64 * 32 * 4))
    path = save_split(tmp_path / "in" / "net.onnx")
    relocate(path, location=name)
    with pytest.raises(EdgecnnError, match=r"its weights are in '.*', outside its folder") as caught:
        read_graph(path)
    assert "\n" not in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A link is followed within the folder alone; a loop of links is a file that is not there."""
    path = save_split(tmp_path / "in" / "net.onnx")
    data = path.with_name("net.onnx.data")
    moved = data.rename(tmp_path / "in" / "moved")
    data.symlink_to(moved)
    assert read_graph(path).data_files == ("net.onnx.data",)
    data.unlink()
    data.symlink_to(moved.rename(tmp_path / "outside"))
    with pytest.raises(EdgecnnError, match="a link to outside its folder"):
        read_graph(path)
    data.unlink()
    data.symlink_to(data)
    with pytest.raises(EdgecnnError, match="which is not beside it"):
        read_graph(path)


def test_data_that_end_too_soon_are_told(tmp_path: Path) -> None:
    """A data file that was cut off, or an offset behind its end, is one line that names the weights and the file."""
    path = save_split(tmp_path / "net.onnx")
    data = path.with_name("net.onnx.data")
    relocate(path, offset="4096")
    with pytest.raises(EdgecnnError, match=r"'w' are bytes 4096 to 12288 of 'net\.onnx\.data', which has 8192"):
        read_graph(path)
    relocate(path, offset="0")
    os.truncate(data, 8191)
    with pytest.raises(EdgecnnError, match="which has 8191; copy both"):
        read_graph(path)
    relocate(path, offset="-4")
    with pytest.raises(EdgecnnError, match="are bytes -4"):
        read_graph(path)


def test_data_of_a_constant_within_a_branch_count(tmp_path: Path) -> None:
    """Weights of graphs within operators are found as those of the graph are."""
    path = save_split(tmp_path / "net.onnx")
    model = onnx.load(path, load_external_data=False)
    constant = onnx.helper.make_node("Constant", [], ["k"], value=model.graph.initializer[0])
    branch = onnx.helper.make_graph(
        [constant], "b", [], [onnx.helper.make_tensor_value_info("k", onnx.TensorProto.FLOAT, [64, 32])]
    )
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))
    del model.graph.initializer[:]
    path.write_bytes(model.SerializeToString())
    path.with_name("net.onnx.data").unlink()
    with pytest.raises(EdgecnnError, match=r"its weights are in 'net\.onnx\.data'"):
        read_graph(path)
