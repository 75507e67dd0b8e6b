"""Suites: the shipped ones load, their files are found, broken ones are told, and one is measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgecnn.benchmarks.measure import BenchmarkConfig
from edgecnn.benchmarks.suite import Suite, load_suite, measure_suite, suite_names, with_given
from edgecnn.errors import EdgecnnError


@pytest.fixture
def folder(tmp_path: Path, classifier: Path) -> Path:
    """A folder with two files of a network, one below another folder."""
    (tmp_path / "out").mkdir()
    for name in ("m.fp32.tflite", "out/m.w8a8.tflite", "out/m.w8.tflite"):
        shutil.copy(classifier, tmp_path / name)
    return tmp_path


def written(folder: Path, text: str) -> str:
    """Write a suite and return its path."""
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", suite_names())
def test_a_shipped_suite_loads(name: str) -> None:
    """Every shipped suite has a title and leaves the files to the user."""
    suite = load_suite(name)
    assert suite.title
    assert suite.files == ()


def test_files_start_from_the_folder_of_the_suite(folder: Path) -> None:
    """A suite says paths and patterns relative to its own file, wherever it is called from."""
    suite = load_suite(written(folder, "files = ['m.fp32.tflite', 'out/*.tflite']"))
    names = ["m.fp32.tflite", "out/m.w8.tflite", "out/m.w8a8.tflite"]
    assert suite.files == tuple(str(folder / name) for name in names)
    assert load_suite(str(folder / "mine.toml"), ["other.onnx"]).files == ("other.onnx",)


def test_a_suite_of_the_users_own_hides_a_shipped_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the user's folder is known by its name."""
    monkeypatch.setenv("EDGECNN_HOME", str(folder))
    (folder / "benchmarks/suites").mkdir(parents=True)
    (folder / "benchmarks/suites/quick.toml").write_text("title = 'of my own'")
    assert load_suite("quick").title == "of my own"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("files = ['none.tflite']", "no file matches 'none.tflite' in"),
        ("flies = []", "did you mean 'files'"),
        ("[effort]\nproceses = 3", "did you mean 'processes'"),
        ("[effort]\nprocesses = 0", "at least 1 thread and 1 process"),
        ("threads = [0]", "at least 1 thread and 1 process"),
        ("threads = 'two'", "expected a list"),
        ("devices = []", "needs a device"),
        ("devices = ['host']\n[targets]\nhots = 'local'", "did you mean 'host'"),
        ("normalize = 'what'", "what"),
        ("files = [", "not a TOML file"),
    ],
)
def test_a_broken_suite_is_told(folder: Path, text: str, told: str) -> None:
    """Each mistake ends in one line with what is known."""
    with pytest.raises(EdgecnnError, match=told) as refused:
        load_suite(written(folder, text))
    assert "\n" not in str(refused.value)


def test_an_unknown_suite_has_a_near_match() -> None:
    """`quik` is told from `quick`, and where to add one of one's own."""
    with pytest.raises(EdgecnnError, match="did you mean 'quick'"):
        load_suite("quik")


def test_what_is_given_takes_the_place_of_the_suites_own() -> None:
    """Nothing given changes nothing; what is given replaces its own part alone."""
    suite = Suite(
        devices=("host", "rpi4"), targets={"rpi4": "ssh://pi"}, threads=(1, 2), effort=BenchmarkConfig(processes=7)
    )
    assert with_given(suite) == suite
    changed = with_given(suite, device="rpi4", threads=[4], min_time_s=0.5)
    assert changed == Suite(
        devices=("rpi4",),
        targets={"rpi4": "ssh://pi"},
        threads=(4,),
        effort=BenchmarkConfig(processes=7, min_time_s=0.5),
    )
    assert with_given(suite, device="host").targets == {}
    assert with_given(suite, target="ssh://lab").targets == {"host": "ssh://lab", "rpi4": "ssh://lab"}


@pytest.mark.slow
def test_the_whole_table_is_measured(folder: Path, brief: BenchmarkConfig) -> None:
    """Each file is measured with each number of threads, as long as the suite says, with its accuracy."""
    suite = load_suite(written(folder, "files = ['out/*.tflite']\nthreads = [1, 2]\ndata = 'digits'"))
    results = list(measure_suite(with_given(suite, processes=1, min_time_s=brief.min_time_s)))
    assert [(Path(result.file).name, result.threads) for result in results] == [
        ("m.w8.tflite", 1),
        ("m.w8.tflite", 2),
        ("m.w8a8.tflite", 1),
        ("m.w8a8.tflite", 2),
    ]
    assert all(len(result.runs) == 1 and result.score is not None for result in results)


def test_what_cannot_be_measured_is_told_before_anything_is(classifier: Path, brief: BenchmarkConfig) -> None:
    """A device that is not at hand stops the suite at its start, though the first one is; so does a lack of files."""
    with pytest.raises(EdgecnnError, match="not connected"):
        next(measure_suite(Suite(files=(str(classifier),), devices=("host", "rpi4"), effort=brief)))
    with pytest.raises(EdgecnnError, match="FILES"):
        next(measure_suite(Suite()))
