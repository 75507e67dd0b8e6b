"""What `edgecnn` exports is the public API: sorted, importable, documented."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgecnn

PAGE = Path(__file__).parents[1] / "docs/python.md"
CLASSIFIER = Path(__file__).parent / "data/classifier.tflite"


def test_all_is_sorted() -> None:
    """`__all__` is sorted, and names nothing twice."""
    assert edgecnn.__all__ == sorted(set(edgecnn.__all__))


@pytest.mark.parametrize("name", edgecnn.__all__)
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    """Every public name can be imported and has a docstring."""
    assert getattr(edgecnn, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not public fails as Python users expect it to."""
    with pytest.raises(AttributeError, match="nonsense"):
        edgecnn.nonsense  # noqa: B018


def test_dir_lists_the_api() -> None:
    """`dir(edgecnn)` shows the public names before any was used."""
    assert set(edgecnn.__all__) <= set(dir(edgecnn))


def test_the_page_documents_exactly_the_api() -> None:
    """docs/python.md names every public name, and its code uses no other."""
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    used = set(re.findall(r"\bedgecnn\.(\w+)\(", code))
    for names in re.findall(r"from edgecnn import ([\w, ]+)", code):
        used |= {name.strip() for name in names.split(",")}
    assert used <= set(edgecnn.__all__)
    missing = [name for name in edgecnn.__all__ if not re.search(rf"\b{name}\b", text)]
    assert not missing, f"not in docs/python.md: {', '.join(missing)}"


def _functions() -> list[tuple[str, inspect.Signature]]:
    """Return each public function and each public method of a public class, with its signature."""
    found = []
    for name in edgecnn.__all__:
        public = getattr(edgecnn, name)
        if inspect.isfunction(public):
            found.append((name, inspect.signature(public)))
        for method, function in inspect.getmembers(public, callable) if inspect.isclass(public) else ():
            if not method.startswith("_") and (inspect.isfunction(function) or inspect.ismethod(function)):
                found.append((f"{name}.{method}", inspect.signature(function)))
    return found


def test_every_path_may_be_a_string() -> None:
    """A public function that takes a `Path` takes a `str` as well, and `load_*` take both for their file."""
    taking = {
        (name, parameter.name): str(parameter.annotation)
        for name, signature in _functions()
        for parameter in signature.parameters.values()
        if re.search(r"\bPath\b", str(parameter.annotation))
    }
    assert {name for name, _ in taking} >= {"load_device", "load_recipe", "load_suite", "read_measurements", "to_onnx"}
    assert [place for place, annotation in taking.items() if not re.search(r"\bstr\b", annotation)] == []


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_are_read_as_strings_and_as_paths(kind: type[str] | type[Path], tmp_path: Path) -> None:
    """A file that is missing gets the same message, whether it was named by a string or by a `Path`."""
    file, table, folder = kind(tmp_path / "no.tflite"), kind(tmp_path / "no.toml"), kind(tmp_path / "no" / "folder")
    calls = {
        "no result file at": [lambda: edgecnn.read_measurements(file)],
        "no device file at": [
            lambda: edgecnn.add_device(table),
            lambda: edgecnn.load_device(table),
            lambda: edgecnn.measure(CLASSIFIER, device=table),
            lambda: edgecnn.check_fit(CLASSIFIER, table),
            lambda: edgecnn.estimate_latency(CLASSIFIER, table),
            lambda: list(edgecnn.measure_files([CLASSIFIER], device=table)),
            lambda: edgecnn.calibrate(table, target="local"),
        ],
        "no recipe file at": [lambda: edgecnn.load_recipe(table)],
        "no suite file at": [lambda: edgecnn.load_suite(table)],
        "no .* at": [
            lambda: edgecnn.read_graph(file),
            lambda: edgecnn.Artifact.open(file),
            lambda: edgecnn.Checkpoint.read(file),
            lambda: edgecnn.quantize(file, file, "w8"),
            lambda: next(edgecnn.run_file(file, [])),
            lambda: edgecnn.compare(file, file),
            lambda: edgecnn.measure(file),
        ],
    }
    for message, all_of_it in calls.items():
        for call in all_of_it:
            with pytest.raises(edgecnn.EdgecnnError, match=message):
                call()
    assert edgecnn.read_history(file=folder) == []
    assert edgecnn.Artifact.open(CLASSIFIER).copied_to(kind(tmp_path / "copy.tflite")).path.is_file()


def test_an_option_cannot_be_taken_for_another() -> None:
    """What is beside the file and the device of an estimate is named: a runtime is not read as a number of threads."""
    with pytest.raises(TypeError, match="positional"):
        edgecnn.estimate_latency(CLASSIFIER, "rpi4", "ncnn")  # type: ignore[misc]


@pytest.mark.slow
def test_the_reference_has_every_name(tmp_path: Path) -> None:
    """`make docs` writes one page with a section for each public name."""
    program = Path(__file__).parents[1] / "docs/make_api.py"
    subprocess.run([sys.executable, program, tmp_path], check=True, capture_output=True)
    page = (tmp_path / "edgecnn.html").read_text(encoding="utf-8")
    assert [name for name in edgecnn.__all__ if f'<section id="{name}">' not in page] == []
