"""`write_report` on real files: what it measures, reads, estimates, and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgecnn.artifact import Artifact
from edgecnn.benchmarks.measure import measure
from edgecnn.datasets import DataSource
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import to_document
from edgecnn.normalization import Normalization
from edgecnn.report import Report, write_report
from edgecnn.tasks.score import accuracy_to_json, share
from tests.report.conftest import BRIEF, CLASSIFIER, write_int8

UNIT = Normalization.parse("unit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a float file and an int8 file."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copy(CLASSIFIER, folder / "net.fp32.tflite")
    write_int8(folder / "net.w8a8.tflite")
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    """The report of both files, judged on the digits."""
    files = [folder / "net.fp32.tflite", folder / "net.w8a8.tflite"]
    return write_report(files, folder / "r.html", data=DataSource("digits", normalization=UNIT), effort=BRIEF)


def test_all_files_are_measured_and_judged(report: Report, folder: Path) -> None:
    """Each file has a latency and an accuracy here, and the confusion matrix counts the same samples."""
    assert report.path == folder / "r.html"
    assert report.path.read_text(encoding="utf-8") == report.page
    assert [Path(one.file).name for one in report.measurements] == ["net.fp32.tflite", "net.w8a8.tflite"]
    for file, measured in zip(report.contents.files, report.measurements, strict=True):
        accuracy, confusion = measured.score, file.evaluation.confusion
        assert accuracy is not None
        assert sum(confusion.values()) == accuracy.n == 539
        assert sum(n for (true, given), n in confusion.items() if true == given) == round(accuracy.value * 539)
        assert len(measured.values_ns) >= 2 * BRIEF.min_values
    assert report.contents.labels == tuple("0123456789")


def test_the_title_is_the_networks_name(report: Report) -> None:
    """The page is called after the networks, without the precisions of their files."""
    assert report.contents.title == "net"
    assert "<h1>net</h1>" in report.page


def test_microcontrollers_get_int8_files_alone(report: Report) -> None:
    """Where no device is named, boards get every file and microcontrollers the int8 TFLite file."""
    places: dict[str, list[str]] = {}
    for one in report.predictions:
        places.setdefault(one.device, []).append(one.artifact.precision)
    assert places == {
        "rpi4": ["fp32", "w8a8"],
        "rpizero2w": ["fp32", "w8a8"],
        **{name: ["w8a8"] for name in ("stm32h7a3", "stm32f746", "nrf5340")},
    }


def test_the_json_holds_what_the_page_shows(report: Report) -> None:
    """The document is JSON without NaN and has files, results, devices and what to ship."""
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert {"title", "data", "files", "results", "devices", "choices", "profiles", "report"} == set(document)
    assert document["choices"][0]["sentence"] in report.page
    assert document["profiles"] == []
    assert sum(entry["n"] for entry in document["files"][0]["confusion"]) == 539
    assert document["devices"][0]["fit"]["method"] == "estimated"


def test_what_the_export_found_is_read(folder: Path, tmp_path: Path) -> None:
    """Without data the accuracy and the SQNR are those in the JSON beside the file."""
    artifact = Artifact.open(Path(shutil.copy(CLASSIFIER, tmp_path / "m.tflite")))
    worst = {"output": 0, "axis": 1, "channel": 7, "sqnr_db": 31.25, "agreement": None}
    result = {"accuracy": accuracy_to_json(share("accuracy", 500, 539)), "data": "digits", "parity": {"worst": worst}}
    artifact.write_history([], result)
    report = write_report([artifact.path], effort=BRIEF)
    (file,) = report.contents.files
    assert file.score == share("accuracy", 500, 539)
    assert report.path is None
    assert "31.2 dB" in report.page
    assert "channel 7 of output 0" in report.page
    assert report.contents.facts.data == "digits"


def test_results_take_the_place_of_measuring(folder: Path, tmp_path: Path) -> None:
    """Results are those of the same content, wherever the file lay; of other files there are none."""
    taken = measure(CLASSIFIER, effort=BRIEF)
    results = tmp_path / "results.json"
    results.write_text(json.dumps(to_document([taken])))
    files = [folder / "net.fp32.tflite", folder / "net.w8a8.tflite"]
    report = write_report(files, results=results, devices=["rpi4"])
    (shown,) = report.measurements
    assert (shown.file, shown.values_ns) == (str(files[0]), taken.values_ns)
    with pytest.raises(EdgecnnError, match=r"has no results of these files \(it has classifier\.tflite\)"):
        write_report(files[1:], results=results)


@pytest.mark.parametrize(
    ("names", "devices", "told"),
    [
        ((), (), "give FILES"),
        (("none.tflite",), (), "no file at"),
        (("net.fp32.tflite",), ("rpi44",), "did you mean 'rpi4'"),
        (("net.onnx",), ("nrf5340",), "only reads .tflite files"),
    ],
)
def test_bad_input_is_refused_before_the_work(
    names: tuple[str, ...], devices: tuple[str, ...], told: str, folder: Path
) -> None:
    """No file, a missing one, an unknown device or one that runs none of the files is told, and nothing is written."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto
    x, y = (make.make_tensor_value_info(name, kind.FLOAT, [1, 3]) for name in "xy")
    graph = make.make_graph([make.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), str(folder / "net.onnx"))
    with pytest.raises(EdgecnnError, match=told):
        write_report([folder / name for name in names], folder / "none.html", devices=devices)
    assert not (folder / "none.html").exists()


def test_a_file_that_cannot_run_stands_on_the_page(tmp_path: Path) -> None:
    """The runtime refuses a file: the page shows it with the reason, and its size all the same."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto
    x, y = (make.make_tensor_value_info(name, kind.FLOAT, [1, 3]) for name in "xy")
    node = make.make_node("Unheard", ["x"], ["y"], domain="of.nobody")
    opsets = [make.make_opsetid("", 17), make.make_opsetid("of.nobody", 1)]
    odd = tmp_path / "odd.onnx"
    onnx.save(make.make_model(make.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=8), str(odd))
    report = write_report([CLASSIFIER, odd], effort=BRIEF, devices=["rpi4"])
    assert len(report.measurements) == 1
    assert "onnxruntime cannot load it" in (report.contents.files[1].failure or "")
    assert ">failed<" in report.page
