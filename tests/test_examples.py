"""The examples in the docstrings of the public API run, and give what they show."""

from __future__ import annotations

import doctest
import json
import shutil
from pathlib import Path

import pytest

import edgecnn
from edgecnn.benchmarks.history import add_to_history
from edgecnn.measurement import to_document
from edgecnn.testing import FakeTarget

FILE = Path(__file__).parent / "data/classifier.tflite"
DEVICES = Path(__file__).parents[1] / "devices"

#: Public names whose example is for reading: it would take a minute, or fetch 135 MB. Other tests run all three.
NOT_RUN = {"build_board", "calibrate", "run_demo"}

#: Examples that load torch, export, or start worker processes.
SLOW = {
    *(
        "Sensitivity",
        "build",
        "compare",
        "compress_model",
        "count_variants",
        "export_model",
        "measure",
        "measure_files",
    ),
    *("measure_sensitivity", "measure_suite", "quantize", "run_file", "to_onnx", "to_tflite"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that examples name: an exported file, results, device profiles and a history."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(FILE, folder)
    shutil.copy(DEVICES / "rpi4.toml", folder / "my-pi.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("EDGECNN_HOME", str(folder / "home"))
        effort = edgecnn.BenchmarkConfig(processes=9)
        for name, duration_ns in (("before", 500_000), ("results", 1_000_000)):
            target = FakeTarget([duration_ns], peak_rss_bytes=50 * 2**20)
            measured = edgecnn.measure("classifier.tflite", target=target, effort=effort)
            (folder / f"{name}.json").write_text(json.dumps(to_document([measured])))
        add_to_history(measured)
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in edgecnn.__all__]
)
def test_the_example_of_a_public_name_runs(
    name: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has an example, and its lines give the output beside them."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path / "home"))
    known = {"edgecnn": edgecnn, name: getattr(edgecnn, name)}
    finder = doctest.DocTestFinder(recurse=False)
    tests = [test for test in finder.find(getattr(edgecnn, name), name, globs=dict(known)) if test.examples]
    assert tests, "no example"
    skipped = [one for test in tests for one in test.examples if one.options.get(doctest.SKIP)]
    assert bool(skipped) == (name in NOT_RUN)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    messages: list[str] = []
    for test in tests:
        runner.run(test, out=messages.append)
    assert not runner.failures, "".join(messages)
