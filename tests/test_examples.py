"""The examples in the docstrings of the public API run, and give what they show."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import pytest

import edgecnn

FILE = Path(__file__).parent / "data/classifier.tflite"

#: Public names whose example would train, download, run a file or need a board, and what they return: no example runs.
WITHOUT = {
    *("CalibrationInputs", "Change", "HistoryEntry", "Installation", "Measurement", "Report", "Sensitivity"),
    *("add_device", "build_board", "calibrate", "compare", "compress_model", "export_model", "find_change", "measure"),
    *("measure_files", "measure_sensitivity", "measure_suite", "probe_device", "quantize", "read_measurements"),
    *("run_demo", "run_file", "to_onnx", "to_tflite", "write_report"),
}


@pytest.mark.parametrize("name", [name for name in edgecnn.__all__ if name not in WITHOUT])
def test_the_example_of_a_public_name_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has an example, and its lines give the output beside them."""
    shutil.copy(FILE, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGECNN_HOME", str(tmp_path / "home"))
    known = {"edgecnn": edgecnn, name: getattr(edgecnn, name)}
    finder = doctest.DocTestFinder(recurse=False)
    tests = [test for test in finder.find(getattr(edgecnn, name), name, globs=dict(known)) if test.examples]
    assert tests, "no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    messages: list[str] = []
    for test in tests:
        runner.run(test, out=messages.append)
    assert not runner.failures, "".join(messages)
