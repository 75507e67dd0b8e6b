"""The keys on docs/formats.md are those that commands write."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import edgecnn
from edgecnn.benchmarks.choice import choose
from edgecnn.benchmarks.history import add_to_history
from edgecnn.cli import main
from edgecnn.evaluate.verify import FailedFile
from edgecnn.export.firmware import Firmware
from edgecnn.measurement import to_document
from edgecnn.pipeline import ExportResult
from edgecnn.testing import FakeTarget

PAGE = Path(__file__).parents[1] / "docs/formats.md"
CLASSIFIER = Path(__file__).parent / "data/classifier.tflite"


def tables() -> dict[tuple[str, str], set[str]]:
    """Return (section, head of the first column) → the keys in that column."""
    found: dict[tuple[str, str], set[str]] = {}
    section = head = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| key"):
            head = line.split("|")[1].strip()
        elif line.startswith("| `") and head:
            found.setdefault((section, head), set()).update(re.findall(r"`(\w+)`", line.split("|")[1]))
        elif not line.startswith("|"):
            head = ""
    return found


TABLES = tables()


def check(section: str, document: Mapping[str, Any], head: str = "key") -> None:
    """Compare the keys of *document* with those of a table of the page: neither may lack one."""
    assert TABLES[section, head] == set(document)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    """Return the document that a command prints with `--json`."""
    with pytest.raises(SystemExit):
        main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def test_bench(capsys: pytest.CaptureFixture[str]) -> None:
    """Results, changes and estimates have their keys; an estimate has those of a result as well."""
    measurement = edgecnn.measure(CLASSIFIER, target=FakeTarget(), effort=edgecnn.BenchmarkConfig(processes=9))
    document = to_document([measurement])
    assert set(document) == {"schema_version", "results"}
    (result,) = document["results"]
    check("bench", result, "key of a result")
    check("bench", edgecnn.find_change(measurement, [measurement]).to_json(), "key of a change")
    check("bench", choose([measurement, measurement])[0].to_json(), "key of a choice")
    profile = printed(capsys, "bench", CLASSIFIER, "--profile", "--min-time", "0")["profiles"][0]
    check("bench --profile", profile)
    check("bench --profile", profile["operators"][0], "key of an operator")
    (estimated,) = printed(capsys, "bench", CLASSIFIER, "--device", "rpi4", "--runtime", "ncnn")["results"]
    own = set(estimated) - set(result)
    check("bench, estimated", dict.fromkeys(own))


def test_fit_and_devices(capsys: pytest.CaptureFixture[str]) -> None:
    """What is read from files and profiles has its keys, regions and peaks theirs."""
    document = printed(capsys, "fit", CLASSIFIER, "--device", "stm32h7a3")
    check("fit", document)
    text = PAGE.read_text(encoding="utf-8")
    for one in (*document["regions"], document["peak"], *document["peak"]["tensors"]):
        assert [key for key in one if f"`{key}`" not in text] == []
    check("devices", printed(capsys, "devices", "rpi4"))
    check("doctor", edgecnn.check_installation(boards=False).to_json())


def test_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An entry of the history has its keys, and `--show` gives a result file."""
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path))
    number = add_to_history(edgecnn.measure(CLASSIFIER, target=FakeTarget()))
    (entry,) = printed(capsys, "history")
    check("history", entry, "key of an entry")
    assert set(printed(capsys, "history", "--show", str(number))) == {"schema_version", "results"}


@pytest.mark.slow
def test_compare_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The document of a comparison and of a report have their keys."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(CLASSIFIER, "m.tflite")
    Path("results.json").write_text(json.dumps(to_document([edgecnn.measure("m.tflite", target=FakeTarget())])))
    document = printed(capsys, "compare", "m.tflite", "m.tflite", "--input", "1x1x8x8", "--samples", "8")
    check("compare", document)
    check("report", printed(capsys, "report", "m.tflite", "--results", "results.json"))


def test_a_file_that_failed() -> None:
    """A file that could not be written has the keys of one that was."""
    failed = FailedFile(Path("m.w8.tflite"), "tflite", "w8", "the converter failed", ValueError())
    check("export", failed.to_json(), "key of a file")


def test_export(board: ExportResult, capsys: pytest.CaptureFixture[str]) -> None:
    """A file's entry, the JSON beside it, its layers, and what firmware is told have their keys."""
    file = next(one for one in board.files if one.path.name.endswith("w8a8.tflite"))
    check("export", file.to_json(), "key of a file")
    beside = json.loads(file.artifact.history_path.read_text())
    check("export", beside, "key beside a file")
    assert set(beside["result"]) == {*file.to_json(), "reference_accuracy", "reference_score", "data"}
    fp32 = next(one.path for one in board.files if one.path.name.endswith("fp32.tflite"))
    check("debug", printed(capsys, "debug", file.path, "--against", fp32, "--data", "digits", "--samples", "4"))
    firmware = Firmware.of(file.artifact, ("a", "b"), {}, ())
    check("export", firmware.to_json(), "key of firmware")
    assert set(firmware.to_json()["inputs"][0]) == {"name", "shape", "size", "dtype", "scale", "zero_point"}


@pytest.mark.slow
def test_compress_and_sensitivity(tmp_path: Path) -> None:
    """The results, the checkpoint and the plan of a compression have their keys, and so has a sensitivity."""
    path = tmp_path / "small.safetensors"
    result = edgecnn.compress_model(
        "edgecnn:digits-cnn", path, edgecnn.Uniform(0.5), data="digits", training=edgecnn.Training(epochs=0)
    )
    check("compress", result.to_json())
    size = int.from_bytes(path.read_bytes()[:8], "little")
    stored = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["edgecnn"]
    check("compress", json.loads(stored), "key of a checkpoint")
    assert result.plan is not None
    plan = tomllib.loads(result.plan.read_text(encoding="utf-8"))
    # A table without a line is not written.
    check("compress", {**plan, "teachers": []}, "key of a plan")
    found = edgecnn.measure_sensitivity("edgecnn:digits-cnn", data="digits", ratios=[0.5]).to_json()
    check("sensitivity", found)
    check("sensitivity", found["rows"][0], "key of a row")


def test_every_table_is_checked() -> None:
    """The tests above name each table of the page, so that a new one is not forgotten."""
    source = Path(__file__).read_text(encoding="utf-8")
    named = {
        (section, head or "key")
        for section, head in re.findall(r'check\("([^"]+)", .*?(?:, "(key [^"]+)")?\)\n', source)
    }
    assert named == set(TABLES)
