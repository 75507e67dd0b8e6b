"""Exported programs: the same values as torch's own loader gives, and nothing of a file is run."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.cli import main
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from tests.conftest import shared


class Mixed(nn.Module):
    """Constants, buffers, lists, sizes computed from the batch, work in place, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding="same", padding_mode="zeros")
        self.norm = nn.BatchNorm2d(4)
        self.scale = torch.full((4, 1, 1), 0.5)
        self.register_buffer("shift", torch.ones(1), persistent=False)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map [N, 1, H, W] to the three largest values [N, 3] and a map [N, 2, H, W]."""
        x = nn.functional.relu6(self.norm(self.conv(x)) * self.scale + self.shift, inplace=True)
        first, second = x.split(2, 1)
        n = x.shape[0]
        joined = torch.cat([second, first], 1).reshape(n * 2, -1).reshape(n, -1) + torch.zeros(n, 1)
        return {"values": joined.topk(3)[0], "map": nn.functional.gelu(first, approximate="tanh")}


def export(module: nn.Module, path: Path, *, batch: int | None = 1, side: int = 8) -> Path:
    """Write *module* for images of [1, side, side] as a `.pt2`; a batch of None is open."""
    example = torch.zeros(batch or 2, 1, side, side)
    shapes = None if batch else ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=shapes), path)
    return path


@pytest.mark.parametrize("batch", [1, None])
def test_a_program_gives_what_torch_gives(tmp_path: Path, batch: int | None) -> None:
    """A `.pt2` with a batch of 1 or an open one runs any number of samples, says its input's shape, keeps its names."""
    torch.manual_seed(0)
    module = Mixed()
    program = build(str(export(module, tmp_path / "n.pt2", batch=batch)))
    assert program.input_shape == (1, 8, 8)
    assert {"conv.weight", "norm.running_mean", "scale", "shift"} <= set(program.module.state_dict())
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        expected = module(x.clone())
    for got, wanted in zip(program.outputs(x.numpy()), expected.values(), strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-6)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small exported program."""
    layers = (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4))
    return export(nn.Sequential(*layers), tmp_path_factory.mktemp("program") / "base.pt2")


def changed(base: Path, path: Path, record: str, change: Callable[[Any], None]) -> Path:
    """Write *base* to *path* with the JSON of one *record* changed."""
    with zipfile.ZipFile(base) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == f"base/{record}":
                document = json.loads(content)
                change(document)
                content = json.dumps(document).encode()
            target.writestr(name, content)
    return path


def graph(document: Any) -> Any:
    """Return the graph of a program's JSON."""
    return document["graph_module"]["graph"]


def sized(text: str) -> Callable[[Any], None]:
    """Return a change that gives the input a size by an expression."""

    def change(document: Any) -> None:
        size = {"as_expr": {"expr_str": text, "hint": {"as_int": 1}}}
        graph(document)["tensor_values"][graph(document)["inputs"][-1]["as_tensor"]["name"]]["sizes"][0] = size

    return change


def operator(target: str, **arguments: Any) -> Callable[[Any], None]:
    """Return a change that puts an operator in the place of the first one, with arguments of the schema."""

    def change(document: Any) -> None:
        inputs = [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments.items()]
        graph(document)["nodes"][0].update(target=target, inputs=inputs)

    return change


X = {"as_tensor": {"name": "input"}}
CODE = "__import__('pathlib').Path('ran').touch()"

#: What is done to the graph → what is told.
GRAPHS: dict[str, tuple[Callable[[Any], None], str]] = {
    "guards": (lambda document: document.update(guards_code=[f"(lambda: {CODE})()"]), "guards_code"),
    "size": (sized(CODE + "+1"), 'size "__import__'),
    "size, a symbol's name": (sized(f"Symbol('s0', positive={CODE})"), "size"),
    "function": (operator("os.system", command={"as_string": "touch ran"}), "operator 'os.system'"),
    "file": (operator("torch.ops.aten.from_file.default", filename={"as_string": "ran"}), "from_file"),
    "words": (operator("torch.ops.aten.gelu.default", self=X, filename={"as_string": "ran"}), "text 'ran'"),
    "inner": (operator("torch.ops.aten._sparse_coo_tensor_unsafe.default", indices=X), "_sparse_coo_tensor_unsafe"),
    "no operator": (operator("torch.ops.aten.__class__.default", self=X), "__class__"),
    "no overload": (operator("torch.ops.aten.relu.__init__", self=X), "relu.__init__"),
    "other namespace": (operator("torch.ops.prims.conj.default", self=X), "prims"),
    "branch": (operator("torch.ops.aten.relu.default", self={"as_graph": {}}), "as_graph"),
    "huge": (operator("torch.ops.aten.zeros.default", size={"as_ints": [2**40]}), "values"),
    "schema": (lambda document: document["schema_version"].update(major=9), "schema 9, this edgecnn reads 8"),
    "lacks": (lambda document: graph(document).pop("nodes"), "broken exported program"),
    "batch": (
        lambda document: graph(document)["tensor_values"]["input"]["sizes"].__setitem__(0, {"as_int": 4}),
        "of 4",
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_asks_for_nothing_but_operators(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Code in place of guards, sizes and operators, files, inner operators and huge tensors are refused in one line."""
    monkeypatch.chdir(tmp_path)
    change, told = GRAPHS[name]
    path = changed(base, tmp_path / "bad.pt2", "models/model.json", change)
    with pytest.raises(EdgecnnError, match=told) as caught:
        build(str(path))
    assert "bad.pt2" in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.pt2"]


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (CODE,)


@pytest.mark.parametrize(
    "record",
    [
        "data/constants/opaque_obj_0",
        "data/constants/OPAQUE_OBJ_0",
        "data/constants/custom_obj_0",
        "data/constants/script_obj_0",
        "data/aotinductor/m/m.wrapper.so",
        "serialized_state_dict.pt",
        "../outside",
    ],
)
def test_other_records_are_refused(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str) -> None:
    """An archive with an object, a library or an older torch's pickle in it is refused before that is read."""
    monkeypatch.chdir(tmp_path)
    path = Path(shutil.copy(base, tmp_path / "bad.pt2"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"base/{record}", pickle.dumps(Payload()))
    with pytest.raises(EdgecnnError, match="not part of a network"):
        build(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["bad.pt2"]


def of_tensor(**changes: Any) -> Callable[[Any], None]:
    """Return a change to the entry of the first tensor; `size` and `offset` to what is said of its bytes."""

    def change(document: Any) -> None:
        entry = next(iter(document["config"].values()))
        if "size" in changes:
            entry["tensor_meta"]["sizes"][0]["as_int"] = changes["size"]
        if "offset" in changes:
            entry["tensor_meta"]["storage_offset"]["as_int"] = changes["offset"]
        entry.update({key: value for key, value in changes.items() if key not in ("size", "offset")})

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (of_tensor(use_pickle=True), "as an object, and reading it would run code"),
        (of_tensor(tensor_meta=None), "as an object"),
        (of_tensor(size=2**40), "has 72 bytes for '0.weight'"),
        (of_tensor(offset=1), "broken exported program"),
        (of_tensor(offset=-1), "broken exported program"),
        (of_tensor(path_name="../../../etc/passwd"), "broken exported program"),
    ],
)
def test_tensors_are_bytes_of_the_file(base: Path, tmp_path: Path, change: Callable[[Any], None], told: str) -> None:
    """A tensor is never an object, and never reaches outside of its own bytes."""
    path = changed(base, tmp_path / "bad.pt2", "data/weights/model_weights_config.json", change)
    with pytest.raises(EdgecnnError, match=told):
        build(str(path))


def test_what_is_no_program_is_told(base: Path, tmp_path: Path) -> None:
    """A random file, an archive of something else, deep JSON and compressed records end in one line."""
    path = tmp_path / "n.pt2"
    path.write_bytes(b"no archive")
    with pytest.raises(EdgecnnError, match="not a complete exported program"):
        build(str(path))
    path.write_bytes(base.read_bytes()[:1000])
    with pytest.raises(EdgecnnError, match="not a complete exported program"):
        build(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("n/version", "6")
    with pytest.raises(EdgecnnError, match=r"holds no models/model\.json"):
        build(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("n/models/model.json", "[" * 100_000)
    with pytest.raises(EdgecnnError, match="nested more than 64 deep"):
        build(str(path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("n/models/model.json", " " * 2**20)
    with pytest.raises(EdgecnnError, match="compressed"):
        build(str(path))


@pytest.mark.slow
def test_programs_that_ran_code_are_refused_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four files that ran code in torch's own loader end in one line and exit code 2, and nothing is run."""
    script = shared("cases/hostile/make_pt2.py")
    if shutil.which("gcc") is None:
        pytest.skip("one of the files holds a library, which gcc makes")
    subprocess.run(
        [sys.executable, str(script), "bad", str(tmp_path / "ran")], cwd=tmp_path, check=True, capture_output=True
    )
    monkeypatch.chdir(tmp_path)
    for name in ("guards", "size", "opaque", "library"):
        with pytest.raises(SystemExit) as end:
            main(["export", f"bad/{name}.pt2", "--input", "1x1x8x8", "-o", "out"])
        printed = capsys.readouterr()
        assert end.value.code == 2
        assert printed.err.startswith(f"edgecnn: bad/{name}.pt2: ")
        assert printed.err.count("\n") == 1
        assert not list(tmp_path.glob("ran*"))
