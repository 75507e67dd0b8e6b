"""From a network and its data to verified files."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgecnn.artifact import Artifact
from edgecnn.datasets import DataSource, open_dataset
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate.compare import compare
from edgecnn.evaluate.parity import Parity
from edgecnn.evaluate.verify import broken_limit
from edgecnn.fit import check_fit
from edgecnn.nets.network import Network, build
from edgecnn.normalization import Normalization
from edgecnn.pipeline import ExportResult, Training, Uniform, compress_model, export_model
from edgecnn.recipe import Limits, Recipe, load_recipe
from edgecnn.tasks.score import accuracy_to_json, share


def only(format_name: str, *precisions: str, **more: object) -> Recipe:
    """Return a recipe of one format and a few calibration samples."""
    return replace(load_recipe("board"), files={format_name: precisions}, limits={}, bundle=(), **more)  # type: ignore[arg-type]


def test_the_board_recipe_writes_four_good_files(board: ExportResult) -> None:
    """Both formats in fp32 and w8a8: as accurate as the network within the limits, fp32 the same numbers."""
    kinds = [(file.artifact.format, file.artifact.precision) for file in board.files]
    assert kinds == [("onnx", "fp32"), ("onnx", "w8a8"), ("tflite", "fp32"), ("tflite", "w8a8")]
    assert board.reference is not None
    assert board.reference.value >= 0.97
    for file in board.files:
        assert file.rejected is None
        assert file.score is not None
        assert file.score.n == file.parity.n == 539
        if file.artifact.precision == "fp32":
            assert file.parity.max_abs_diff < 1e-4
            assert file.score == board.reference
        else:
            assert abs(file.score.value - board.reference.value) <= 0.01
            assert file.parity.sqnr_db is not None
            assert file.parity.sqnr_db > 25
            assert file.float_operators == ()
            assert file.artifact.size_bytes < 0.5 * board.files[0].artifact.size_bytes


def test_a_file_opened_again_says_what_it_is(board: ExportResult) -> None:
    """Labels, normalization, layout, tools and the weights' sha256 travel in the file itself, in both formats."""
    for file in board.files:
        artifact = Artifact.open(file.path)
        assert artifact.precision == file.artifact.precision
        assert artifact.metadata["labels"] == list("0123456789")
        assert str(artifact.normalization) == "unit"
        assert len(artifact.metadata["weights_sha256"]) == 64
        assert "torch" in artifact.metadata["tools"]
        assert artifact.layout == {"onnx": "NCHW", "tflite": "NHWC"}[artifact.format]
        assert artifact.inputs[0].shape == {"onnx": (1, 1, 8, 8), "tflite": (1, 8, 8, 1)}[artifact.format]


def test_the_history_lies_beside_each_file(board: ExportResult) -> None:
    """The JSON beside a file names every step, oldest first, and the sha256 of the file."""
    for file in board.files:
        document = json.loads((file.path.parent / f"{file.path.name}.json").read_text())
        steps = [step["step"] for step in document["history"]]
        quantized = file.artifact.precision != "fp32"
        assert steps == ["train", "build", f"to_{file.artifact.format}", *(["quantize"] if quantized else []), "verify"]
        assert document["sha256"] == Artifact.open(file.path).sha256
        assert document["result"]["accuracy"]["n"] == 539


def test_no_batch_norm_and_no_transposes_are_left(board: ExportResult) -> None:
    """Convolution (the first one bears TFLite's name for one input channel), pooling, linear: no more runs."""
    kinds = {operator.kind for operator in board.files[2].artifact.graph.operators}
    assert kinds <= {"CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "MEAN", "FULLY_CONNECTED"}
    assert "BatchNormalization" not in {operator.kind for operator in board.files[0].artifact.graph.operators}


def test_constants_of_a_tflite_file_are_aligned(board: ExportResult) -> None:
    """TFLite's schema asks for constants at multiples of 16 bytes, inside the flatbuffer."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    for file in board.files[2:]:
        content = np.frombuffer(file.path.read_bytes(), np.uint8)
        start = content.__array_interface__["data"][0]
        model = schema.Model.GetRootAs(content)
        buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
        places = [b.DataAsNumpy().__array_interface__["data"][0] - start for b in buffers if b.DataLength()]
        assert len(places) > 8
        assert all(place % 16 == 0 for place in places)
        assert all(buffer.Offset() <= 1 for buffer in buffers)


def test_no_staging_folder_is_left(board: ExportResult) -> None:
    """The folder holds the files, their histories and the labels, nothing else."""
    folder = board.files[0].path.parent
    names = {file.path.name for file in board.files}
    expected = names | {f"{name}.json" for name in names} | {"digits.labels.txt"}
    assert {path.name for path in folder.iterdir()} == expected
    assert (folder / "digits.labels.txt").read_text().split() == list("0123456789")


@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_integer_ends_when_the_recipe_says_so(digits_checkpoint: Path, tmp_path: Path, format_name: str) -> None:
    """With int8 input and output the file takes and gives int8, and agrees with the one with float ends."""
    recipe = only(format_name, "w8a8", input_dtype="int8", output_dtype="int8")
    result = export_model(str(digits_checkpoint), tmp_path, recipe=recipe, data="digits")
    artifact = Artifact.open(result.files[0].path)
    assert [spec.dtype for spec in (*artifact.inputs, *artifact.outputs)] == ["int8", "int8"]
    assert all(spec.quant is not None for spec in (*artifact.inputs, *artifact.outputs))
    assert result.files[0].parity.top1_agreement is not None
    assert result.files[0].parity.top1_agreement > 0.99


@pytest.fixture(scope="module", params=["mcu", "mcu-w8a16"])
def mcu(
    digits_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> ExportResult:
    """The digits network for microcontrollers, with activations of 8 and of 16 bits."""
    return export_model(str(digits_checkpoint), tmp_path_factory.mktemp("mcu"), recipe=request.param, data="digits")


def test_the_mcu_recipe_brings_a_c_array(mcu: ExportResult) -> None:
    """The C source holds the file's bytes, aligned and constant; the header and the JSON what is needed around it."""
    path = mcu.files[0].path
    source = path.with_name(path.name + ".cc").read_text()
    symbol = f"g_digits_{mcu.files[0].artifact.precision}_tflite"
    assert f"alignas(16) const unsigned char {symbol}[]" in source
    body = source[source.index("[] = {") + 6 : source.index("}")]
    assert bytes(int(number, 16) for number in body.split(",")) == path.read_bytes()
    header = path.with_name(path.name + ".h").read_text()
    arenas = check_fit(path, ram_bytes=2**20).arena_bytes_by_pointer
    for size in arenas.values():
        assert f"enum {{ {symbol}_arena_size = {size} }};" in header
    firmware = json.loads(path.with_name(path.name + ".json").read_text())["result"]["firmware"]
    assert firmware["arena_bytes"] == {str(pointer): size for pointer, size in arenas.items()}
    assert firmware["labels"] == list("0123456789")
    (spec,) = mcu.files[0].artifact.inputs
    assert spec.quant is not None
    assert (firmware["inputs"][0]["scale"], firmware["inputs"][0]["zero_point"]) == (
        spec.quant.scale[0],
        spec.quant.zero_point[0],
    )


def test_the_header_is_enough_to_run_the_network(mcu: ExportResult) -> None:
    """In TFLite Micro's interpreter, with the arena of the header to the byte and the pixel line of the JSON."""
    runtime = pytest.importorskip("tflite_micro").runtime
    path = mcu.files[0].path
    header = path.with_name(path.name + ".h").read_text()
    arena = re.search(r"_arena_size = (\d+)", header)
    assert arena is not None
    firmware = json.loads(path.with_name(path.name + ".json").read_text())["result"]["firmware"]
    interpreter = runtime.Interpreter.from_file(str(path), arena_size=int(arena[1]))
    line, right = firmware["pixel"], 0
    limits = np.iinfo(mcu.files[0].artifact.inputs[0].dtype)
    for batch in open_dataset("digits").evaluation.take(60).batched(1):
        assert batch.y is not None
        stored = np.rint(batch.x[0, 0] * line["multiplier"][0] + line["offset"][0])
        stored = np.clip(stored, limits.min, limits.max).astype(limits.dtype)
        interpreter.set_input(stored[None, :, :, None], 0)
        interpreter.invoke()
        right += firmware["labels"][interpreter.get_output(0).argmax()] == str(batch.y[0])
    assert right >= 57


class Shuffled(nn.Module):
    """A convolution whose output is turned round in six dimensions, for a softmax over the last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [n, 256]."""
        turned = self.conv(x).reshape(-1, 2, 2, 4, 2, 8).permute(0, 2, 4, 1, 5, 3)
        return torch.softmax(turned, -1).reshape(-1, 256)


def test_a_file_that_tflite_micro_refuses_is_left_as_rejected(tmp_path: Path) -> None:
    """A transpose of six dimensions runs in LiteRT, not on a microcontroller: the recipe says so, with no header."""
    network = Network("wide", Shuffled().eval())
    result = export_model(
        network, tmp_path, recipe=replace(load_recipe("mcu"), limits={}), data=DataSource(input_shape=(1, 8, 8))
    )
    (file,) = result.files
    assert file.path.name.endswith(".rejected")
    assert "TRANSPOSE of int8 x int32: Its input must have at most 5 dimensions" in str(file.rejected)
    assert not file.breaks_limit
    assert file.layers == ()
    assert not list(tmp_path.glob("*.h"))


@pytest.fixture(scope="module")
def light(digits_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The digits network as TFLite in fp32, fp16 and w8."""
    recipe = only("tflite", "fp32", "fp16", "w8")
    return export_model(str(digits_checkpoint), tmp_path_factory.mktemp("light"), recipe=recipe, data="digits")


@pytest.mark.parametrize("precision", ["fp16", "w8"])
def test_light_tflite_precisions(light: ExportResult, precision: str) -> None:
    """fp16 and w8 files are smaller than fp32 and as accurate."""
    by_precision = {file.artifact.precision: file for file in light.files}
    plain, smaller = by_precision["fp32"], by_precision[precision]
    assert smaller.artifact.size_bytes < 0.65 * plain.artifact.size_bytes
    assert smaller.score is not None
    assert plain.score is not None
    assert abs(smaller.score.value - plain.score.value) < 0.005


def test_dynamic_onnx(digits_checkpoint: Path, tmp_path: Path) -> None:
    """A w8 ONNX file runs and is close."""
    result = export_model(str(digits_checkpoint), tmp_path, recipe=only("onnx", "w8"), data="digits")
    assert result.files[0].artifact.precision == "w8"
    assert (result.files[0].parity.top1_agreement or 0) > 0.98


def test_a_file_that_breaks_a_limit_is_left_as_rejected(digits_checkpoint: Path, tmp_path: Path) -> None:
    """The file keeps its bytes under NAME.rejected, with the sentence that says which limit."""
    recipe = replace(only("onnx", "w8a8"), limits={"w8a8": Limits(min_sqnr_db=200.0)})
    result = export_model(str(digits_checkpoint), tmp_path, recipe=recipe, data="digits")
    file = result.files[0]
    assert file.path.name == "digits.w8a8.onnx.rejected"
    assert file.path.is_file()
    assert not (tmp_path / "digits.w8a8.onnx").exists()
    assert file.rejected is not None
    assert "the recipe asks for 200.0" in file.rejected


def test_a_good_file_takes_the_place_of_a_rejected_one(digits_checkpoint: Path, tmp_path: Path) -> None:
    """A later success removes NAME.rejected; a later rejection leaves the earlier good file and says so."""
    strict = replace(only("onnx", "w8a8"), limits={"w8a8": Limits(min_sqnr_db=200.0)})

    def names(recipe: Recipe) -> tuple[set[str], tuple[str, ...]]:
        result = export_model(str(digits_checkpoint), tmp_path, recipe=recipe, data="digits", evaluation_samples=20)
        return {path.name for path in tmp_path.iterdir() if not path.name.endswith(".json")}, result.warnings

    assert names(strict)[0] == {"digits.w8a8.onnx.rejected"}
    assert names(only("onnx", "w8a8"))[0] == {"digits.w8a8.onnx"}
    left, warnings = names(strict)
    assert left == {"digits.w8a8.onnx", "digits.w8a8.onnx.rejected"}
    assert any("from an earlier export" in text for text in warnings)


def test_one_sample_that_tips_over_is_no_broken_limit() -> None:
    """The drop is counted in samples: one of 100 is rounding at a limit of 0.1 %, two are not."""
    parity = Parity(0.0, 1.0, 0.0, 100, 100)
    limits = Limits(max_drop=0.001)
    assert broken_limit(limits, parity, share("accuracy", 98, 100), share("accuracy", 99, 100)) is None
    assert broken_limit(limits, parity, share("accuracy", 97, 100), share("accuracy", 99, 100)) is not None
    assert (
        broken_limit(Limits(max_drop=0.01), parity, share("accuracy", 916, 1000), share("accuracy", 926, 1000)) is None
    )
    assert (
        broken_limit(Limits(max_drop=0.01), parity, share("accuracy", 915, 1000), share("accuracy", 926, 1000))
        is not None
    )


def test_an_export_does_not_write_over_its_source(board: ExportResult) -> None:
    """An ONNX file exported into its own folder is refused and left as it was."""
    source = board.files[0].path
    before = source.read_bytes()
    with pytest.raises(EdgecnnError, match="would be overwritten"):
        export_model(str(source), source.parent, recipe="x86", data="digits")
    assert source.read_bytes() == before


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    """A network that does not say its normalization, and one at chance, are told; the name of the files is given."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    with torch.no_grad():
        net[1].weight.zero_()  # type: ignore[union-attr,operator]
    result = export_model(Network("own", net), tmp_path, recipe=only("onnx", "fp32"), data="digits", name="mine")
    assert any("assumed unit, as data set 'digits'" in text for text in result.warnings)
    assert any("no better than chance" in text for text in result.warnings)
    assert result.files[0].path.name == "mine.fp32.onnx"
    with pytest.raises(EdgecnnError, match="not a file name"):
        export_model(Network("own", net), tmp_path, recipe="x86", data="digits", name="a/b")


class Branching(nn.Module):
    """Looks at its data to choose what to do, which no exporter can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Branch on a value."""
        if x.sum() > 0:
            return self.linear(x.flatten(1))
        return -self.linear(x.flatten(1))


def test_a_network_that_cannot_be_traced_is_told_with_its_line(tmp_path: Path) -> None:
    """The reason, what to write instead and the line of the user's code are in the one line, without colour codes."""
    with pytest.raises(EdgecnnError, match=r"by the values .*\(at test_export\.py:\d+\)$") as caught:
        export_model(Network("branching", Branching().eval()), tmp_path, recipe="board", data="digits")
    assert "\x1b" not in str(caught.value)


def test_names_in_a_tflite_file_are_short(board: ExportResult) -> None:
    """Tensors bear the names of their layers, not the paths of modules, and no two the same."""
    names = [tensor.name for tensor in board.files[2].artifact.graph.tensors]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 40


def test_without_data_noise_calibrates_and_says_so(tmp_path: Path) -> None:
    """--input alone exports: parity is checked, the accuracy is null, noise stands in the metadata and the warning."""
    result = export_model(
        "edgecnn:digits-cnn", tmp_path, recipe=only("tflite", "w8a8"), data=DataSource(input_shape=(1, 8, 8))
    )
    file = result.files[0]
    assert file.score is None
    assert file.to_json()["accuracy"] is None
    assert file.parity.n == 32
    assert Artifact.open(file.path).metadata["calibration"] == "noise"
    assert any("noise" in text for text in result.warnings)


def test_an_onnx_file_is_a_model(board: ExportResult, tmp_path: Path) -> None:
    """An fp32 ONNX file gives ONNX and TFLite, each compared with that file in onnxruntime."""
    result = export_model(str(board.files[0].path), tmp_path, recipe="board", data="digits")
    kinds = [(file.artifact.format, file.artifact.precision) for file in result.files]
    assert kinds == [("onnx", "fp32"), ("onnx", "w8a8"), ("tflite", "fp32"), ("tflite", "w8a8")]
    assert not any(file.rejected for file in result.files)
    assert result.files[0].parity.max_abs_diff < 1e-5
    assert result.files[2].parity.max_abs_diff < 1e-4
    assert result.reference is not None
    assert result.files[3].score is not None
    with pytest.raises(EdgecnnError, match="is w8a8 already; give the fp32 file that it was made from"):
        export_model(str(board.files[1].path), tmp_path / "int8", recipe=only("tflite", "fp32"), data="digits")


@pytest.mark.parametrize("name", ["old", "fixed", "open"])
def test_an_onnx_file_of_any_exporter_becomes_int8_in_both_formats(name: str, tmp_path: Path) -> None:
    """One of opset 9, one with a batch fixed at 4, one with open height and width keep the names of their ends."""
    torch.manual_seed(0)
    batch, opset = {"fixed": (4, 13), "old": (1, 9), "open": (1, 13)}[name]
    axes = {"image": {0: "n", 2: "h", 3: "w"}} if name == "open" else None
    path = str(tmp_path / "heads.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's older exporter says that it is older
        torch.onnx.export(
            TwoHeads().eval(), (torch.zeros(batch, 1, 8, 8),), path, opset_version=opset, dynamo=False,
            input_names=["image"], output_names=["map", "scores"], dynamic_axes=axes,
        )  # fmt: skip
    recipe = replace(load_recipe("board"), files={"onnx": ("w8a8",), "tflite": ("fp32", "w8a8")}, limits={})
    result = export_model(
        path, tmp_path / "out", recipe=recipe, evaluation_samples=4, data=DataSource(input_shape=(1, 8, 8))
    )
    assert not result.failed
    for file in result.files:
        assert [spec.name for spec in file.artifact.inputs] == ["image"]
        assert [spec.name for spec in file.artifact.outputs] == ["map", "scores"]
        if file.artifact.precision == "fp32":
            assert file.parity.max_abs_diff < 1e-4
    if name == "open":
        with pytest.raises(EdgecnnError, match=r"open dimension 2 \(h\); export with a fixed one, or give .*--input"):
            export_model(path, tmp_path / "out", recipe=recipe, data="digits")


def test_an_operator_that_torch_does_not_have_fails_the_files_that_need_it(tmp_path: Path) -> None:
    """ONNX is written from ONNX as before; TFLite is refused with the operator and its node."""
    node = onnx.helper.make_node
    info = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        [node("NonZero", ["x"], ["places"], name="find"), node("Cast", ["places"], ["f"], to=1),
         node("ReduceSum", ["f"], ["s"], keepdims=0), node("Add", ["x", "s"], ["y"])],
        "g", [info("x", 1, (1, 4))], [info("y", 1, (1, 4))],
    )  # fmt: skip
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "find.onnx")
    recipe = replace(load_recipe("board"), files={"onnx": ("fp32",), "tflite": ("fp32",)})
    result = export_model(tmp_path / "find.onnx", tmp_path / "out", recipe=recipe, data=DataSource(input_shape=(4,)))
    assert [file.artifact.format for file in result.files] == ["onnx"]
    assert "cannot read the operators NonZero (node 'find'); return the whole tensor" in result.failed[0].reason


def test_an_exported_program_exports(tmp_path: Path) -> None:
    """A `.pt2` becomes ONNX and TFLite like the network it was made from."""
    module = build("edgecnn:digits-cnn").module
    torch.export.save(torch.export.export(module, (torch.zeros(1, 1, 8, 8),)), tmp_path / "net.pt2")
    recipe = replace(load_recipe("board"), limits={})
    result = export_model(str(tmp_path / "net.pt2"), tmp_path / "out", recipe=recipe, data="digits")
    assert all(file.parity.max_abs_diff < 1e-4 for file in result.files if file.artifact.precision == "fp32")


class TwoHeads(nn.Module):
    """Gives a map [N, 4, 8, 8] and scores [N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both outputs."""
        y = self.conv(x)
        return y, self.head(y.mean((2, 3)))


def test_a_network_at_hand_with_two_outputs(tmp_path: Path) -> None:
    """A module in memory exports by the Python API; maps come back channels first and agree in both formats."""
    network = Network("two", TwoHeads().eval())
    recipe = replace(load_recipe("board"), limits={})
    result = export_model(network, tmp_path, recipe=recipe, data=DataSource(input_shape=(1, 8, 8)))
    for file in result.files:
        assert len(file.artifact.outputs) == 2
        if file.artifact.precision == "fp32":
            assert file.parity.max_abs_diff < 1e-5
        else:
            assert (file.parity.sqnr_db or 0) > 20


class Poisoned(nn.Module):
    """Gives NaN for every input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Divide 0 by 0."""
        return self.linear(x.flatten(1)) * (x.sum() * 0) / (x.sum() * 0)


def test_outputs_that_are_not_finite_are_told_and_nothing_is_written(tmp_path: Path) -> None:
    """NaN in the network's outputs ends in one line; the folder stays empty."""
    with pytest.raises(EdgecnnError, match="NaN or infinite"):
        export_model(Network("bad", Poisoned().eval()), tmp_path / "out", recipe="board", data="digits")
    assert not (tmp_path / "out").exists()


def test_a_data_set_with_other_classes_is_refused(tmp_path: Path) -> None:
    """Ten digits for a network of three classes end in one line with both counts."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    with pytest.raises(EdgecnnError, match=r"distinguishes 3 classes, data set 'digits' has 10"):
        export_model(Network("three", net), tmp_path, recipe="board", data="digits")


def test_a_network_of_another_input_shape_is_refused(tmp_path: Path) -> None:
    """A network for colour images does not take the digits; the shape is told."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10)).eval()
    with pytest.raises(EdgecnnError, match=r"does not take inputs of shape \[\d+, 1, 8, 8\]"):
        export_model(Network("colour", net), tmp_path, recipe="board", data="digits")


def test_an_interrupted_export_leaves_the_old_files(
    board: ExportResult, digits_checkpoint: Path, tmp_path: Path
) -> None:
    """Ctrl-C in the middle leaves what was there before, byte for byte, and no staging folder."""
    old = tmp_path / "digits.w8a8.onnx"
    old.write_bytes(b"old")

    def interrupt(step: str, done: int = 0, total: int | None = None) -> None:
        if step.startswith("verifying digits.w8a8"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_model(str(digits_checkpoint), tmp_path, recipe=only("onnx", "w8a8"), data="digits", progress=interrupt)
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_calibration_asks_for_one_sample_at_a_time(digits_checkpoint: Path, tmp_path: Path) -> None:
    """No step of the export reads all calibration samples at once, in either format."""
    from edgecnn.export import CalibrationInputs, quantize
    from edgecnn.export.onnx import to_onnx
    from edgecnn.export.tflite import to_tflite
    from edgecnn.samples import Samples

    asked: list[int] = []

    class Watched:
        def __len__(self) -> int:
            return 100

        def __getitem__(self, indices: object) -> np.ndarray:  # type: ignore[type-arg]
            asked.append(np.size(indices))
            return np.random.default_rng(0).normal(size=(np.size(indices), 1, 8, 8)).astype(np.float32)

    module = build(str(digits_checkpoint)).module
    inputs = CalibrationInputs(Samples.of(Watched()), None)
    for writer, suffix in ((to_onnx, "onnx"), (to_tflite, "tflite")):
        plain = writer(module, tmp_path / f"a.fp32.{suffix}", (1, 8, 8))
        path = tmp_path / f"a.w8a8.{suffix}"
        quantize(plain, path, "w8a8", recipe=load_recipe("board"), calibration=inputs)
        assert len(asked) >= 100
        assert set(asked) == {1}
        asked.clear()


def test_compress_writes_a_checkpoint_that_exports(digits_checkpoint: Path, tmp_path: Path) -> None:
    """Half the channels go, the accuracy stays, and the history tells how it was made."""
    small = tmp_path / "small.safetensors"
    result = compress_model(str(digits_checkpoint), small, Uniform(0.5), data="digits", training=Training(epochs=8))
    assert result.after.params < 0.3 * result.before.params
    assert result.score_after.value > result.score_before.value - 0.03
    assert result.warnings == ()  # the checkpoint says what it expects; a network that does not is told
    assert compress_model(
        "edgecnn:digits-cnn", small.with_name("fresh.safetensors"), data="digits", training=Training(epochs=0)
    ).warnings
    network = build(str(small))
    assert network.checkpoint is not None
    assert [step["step"] for step in network.checkpoint.history] == ["train", "prune", "train"]
    assert network.checkpoint.accuracy == accuracy_to_json(result.score_after)


def test_compare_finds_a_file_identical_to_itself(board: ExportResult) -> None:
    """A file against itself: no difference, every class agrees, and no noise to divide by."""
    path = board.files[3].path
    result = compare(path, path, data="digits", samples=50).parity
    assert (result.max_abs_diff, result.sqnr_db, result.top1_agreement, result.n) == (0.0, None, 1.0, 50)


def test_a_regression_on_class_numbers_is_told(tmp_path: Path) -> None:
    """The labels are class numbers and the network has one output: one line, and with a word it is exported."""
    x = 5 * np.random.default_rng(0).normal(size=(20, 4))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(20) % 2)
    network = Network("age", nn.Linear(4, 1).eval(), input_shape=(4,))
    given = {"recipe": only("onnx", "fp32"), "data": f"npz:{tmp_path / 'a.npz'}"}
    with pytest.raises(EdgecnnError, match=r"age: .*one value a sample from .*or say what it does with --task"):
        export_model(network, tmp_path, **given)  # type: ignore[arg-type]
    alone = export_model(network, tmp_path, task="none", **given)  # type: ignore[arg-type]
    assert alone.reference is None
    assert alone.no_score is not None
    assert "say it with --task" in alone.no_score
    assert alone.files[0].artifact.metadata["task"] == "none"
    judged = export_model(network, tmp_path, task="regression", **given)  # type: ignore[arg-type]
    assert judged.reference is not None
    assert judged.reference.name == "R²"
    assert [score.name for score in judged.files[0].scores] == ["R²", "MAE", "RMSE"]
    result = judged.files[0].artifact.result
    assert (result["accuracy"], result["score"]["name"], result["reference_score"]["name"]) == (None, "R²", "R²")
    assert judged.files[0].artifact.metadata["task"] == "regression"


def test_means_for_three_channels_are_not_for_one(tmp_path: Path) -> None:
    """Without data, too, a normalization must be for the network's channels, before anything is written."""
    network = Network("grey", nn.Conv2d(1, 4, 3).eval(), input_shape=(1, 8, 8))
    with pytest.raises(EdgecnnError, match="3 means, the input has 1 channel"):
        export_model(
            network,
            tmp_path / "out",
            recipe=only("onnx", "fp32"),
            data=DataSource(normalization=Normalization.parse("imagenet")),
        )
    assert not (tmp_path / "out").exists()
