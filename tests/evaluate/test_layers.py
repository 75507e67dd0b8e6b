"""Where a quantized file loses its signal, layer by layer."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgecnn.artifact import Artifact
from edgecnn.datasets import open_dataset
from edgecnn.evaluate.layers import layer_noise, worst_layer
from edgecnn.pipeline import ExportResult


@pytest.fixture(scope="module")
def files(board: ExportResult) -> tuple[Artifact, Artifact]:
    """The digits network as fp32 and as w8a8 TFLite file."""
    plain, small = (file.artifact for file in board.files if file.artifact.format == "tflite")
    return plain, small


def damaged(artifact: Artifact, step: int, path: Path) -> Artifact:
    """Return a copy of *artifact* whose operator *step* has weights a third too large."""
    model = schema.ModelT.InitFromPackedBuf(artifact.path.read_bytes(), 0)
    graph = model.subgraphs[0]
    quantization = graph.tensors[graph.operators[step].inputs[1]].quantization
    quantization.scale = [1.33 * scale for scale in quantization.scale]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return Artifact.open(path)


def test_every_layer_of_a_good_file_keeps_its_signal(files: tuple[Artifact, Artifact]) -> None:
    """Each operator of the file but the conversions is there, named as in the float file, above 20 dB."""
    layers = layer_noise(*files, open_dataset("digits").calibration(4))
    kinds = [operator.kind for operator in files[0].graph.operators]
    assert [layer.kind for layer in layers] == kinds
    assert all(layer.output_db > 20 for layer in layers)
    assert layers[0].input_db > layers[0].output_db == layers[1].input_db


def test_a_damaged_layer_is_the_worst(files: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    """Weights a third too large in one layer: it is the one named, whichever it is."""
    steps = [step for step, one in enumerate(files[1].graph.operators) if one.kind in ("CONV_2D", "FULLY_CONNECTED")]
    for step in (steps[0], steps[-1]):
        broken = damaged(files[1], step, tmp_path / f"{step}.tflite")
        worst = worst_layer(layer_noise(files[0], broken, open_dataset("digits").calibration(4)))
        assert worst is not None
        assert worst.step == step
        assert worst.output_db < 12 < worst.input_db
        assert f"{worst.kind} {worst.name}, operator {step}: " in str(worst)


def test_files_of_other_operators_are_not_compared(files: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    """Where the operators are not the same there is no answer, rather than a wrong one."""
    model = schema.ModelT.InitFromPackedBuf(files[1].path.read_bytes(), 0)
    graph = model.subgraphs[0]
    graph.operators = graph.operators[:-2]
    graph.outputs = list(graph.operators[-1].outputs)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "short.tflite").write_bytes(bytes(builder.Output()))
    short = Artifact.open(tmp_path / "short.tflite")
    assert layer_noise(files[0], short, open_dataset("digits").calibration(1)) == ()
    assert worst_layer(()) is None
