"""Code by name: what the user named is found, in the folder too, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn.compress import CRITERIA
from edgecnn.errors import EdgecnnError
from edgecnn.nets.network import build
from edgecnn.user_code import load_own


def written(folder: Path, **files: str) -> None:
    """Write Python files, a double underscore in a name standing for a folder."""
    for name, code in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)


def test_code_of_the_folder_imports_what_stands_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module named is found in the folder one stands in, and so is what it imports, when it starts and later."""
    written(
        tmp_path,
        uc_named="import uc_beside\n\ndef late():\n    import uc_late\n    return uc_beside.SIX * uc_late.SEVEN\n",
        uc_beside="SIX = 6\n",
        uc_late="SEVEN = 7\n",
    )
    monkeypatch.chdir(tmp_path)
    assert load_own("uc_named:late")() == 42


def test_nobody_else_finds_what_is_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the user's code is in, a package that tries an import still does not find the user's file of that name."""
    tried = "def tried():\n    try:\n        import uc_optional\n    except ImportError:\n        return None\n"
    written(tmp_path / "here" / "venv", uc_installed=tried + "    return uc_optional\n")
    written(tmp_path / "here", uc_mine="import uc_installed\n", uc_optional="raise SystemExit('run')\n")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "here" / "venv")
    assert load_own("uc_mine:uc_installed").tried() is None
    assert str(tmp_path / "here") not in sys.path
    assert "" not in sys.path


def test_an_installed_package_comes_before_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stray `json.py` hides json from nobody; to use it, its file is named, and the error says so."""
    written(tmp_path, json="def mine():\n    return 3\n", uc_reads="import json\n")
    monkeypatch.chdir(tmp_path)
    assert load_own("json:dumps")(1) == "1"
    assert load_own("uc_reads:json").dumps(1) == "1"
    with pytest.raises(EdgecnnError, match=r"json.py is hidden by an installed module 'json'; name.*: json\.py:mine"):
        load_own("json:mine")
    assert load_own("json.py:mine")() == 3


def test_a_file_is_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`FILE.py:attribute` works from any folder; what stands beside the file, or in its package, can be imported."""
    written(
        tmp_path,
        uc_dir__plain="from uc_dir_beside import SIX as six\n",
        uc_dir__uc_dir_beside="SIX = 6\n",
        uc_pack____init__="",
        uc_pack__nets="from .parts import SEVEN as seven\n",
        uc_pack__parts="SEVEN = 7\n",
    )
    (tmp_path / "two-words.py").write_text("eight = 8\n")
    (tmp_path / "uc_pack" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path / "uc_dir")
    assert load_own("plain.py:six") == 6
    assert load_own(f"{tmp_path}/uc_pack/nets.py:seven") == 7
    assert load_own("../two-words.py:eight") == 8


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("nowhere.py:net", "no file at 'nowhere.py'"),
        ("uc_broken.py:net", "'uc_broken.py:net' failed: ZeroDivisionError"),
        ("uc_fine.py:nett", "unknown function in uc_fine: 'nett'; did you mean 'net'"),
        ("uc_lacks.py:net", "'uc_lacks.py:net': no module named 'uc_not_there'"),
        ("uc_fine.py", "not of the form package.module:attribute or FILE.py:attribute"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, told: str
) -> None:
    """No such file, no such attribute, code that fails and a missing import end in one line each."""
    written(tmp_path, uc_broken="1 / 0\n", uc_fine="net = 1\n", uc_lacks="import uc_not_there\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgecnnError, match=told):
        load_own(where)


def test_networks_and_criteria_are_named_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MODEL and `--criterion` take `FILE.py:name`; a network is known by both; a file alone asks for its factory."""
    code = "from torch import nn\n\ndef tiny():\n    return nn.Linear(4, 2)\n\ndef score(weight):\n    return weight\n"
    written(tmp_path, nets__uc_by_file=code)
    monkeypatch.chdir(tmp_path)
    network = build("nets/uc_by_file.py:tiny")
    assert network.name == "uc_by_file-tiny"
    assert network.checkpoint is not None
    assert network.checkpoint.factory == "nets/uc_by_file.py:tiny"
    assert CRITERIA.load("nets/uc_by_file.py:score")(1) == 1
    with pytest.raises(EdgecnnError, match=r"Give nets/uc_by_file\.py:factory"):
        build("nets/uc_by_file.py")


STRAY = ("onnx", "torch", "PIL", "json", "torchvision", "numpy", "click", "dataclasses", "tensorflow", "onnxruntime")


@pytest.fixture(scope="module")
def littered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder full of files named like packages, each leaving a mark and ending the program when it is run."""
    folder = tmp_path_factory.mktemp("littered")
    for name in STRAY:
        code = "open(__file__ + '.ran', 'w').close()\nraise SystemExit('a stray file was run')\n"
        (folder / f"{name}.py").write_text(code)
    (folder / "uc_net.py").write_text("import json\nimport torch\n\ndef net():\n    return torch.nn.Linear(4, 2)\n")
    return folder


#: How edgecnn is started, the folder being first on Python's path → what is exported there.
STARTS = {"python -m edgecnn": "tflite", "edgecnn, with an empty entry in PYTHONPATH": "onnx"}


@pytest.mark.parametrize("start", STARTS)
def test_stray_files_are_not_run(littered: Path, tmp_path: Path, start: str) -> None:
    """Export, bench, fit and compress work in a folder with a stray onnx.py, torch.py, PIL.py and json.py."""
    kind = STARTS[start]
    recipe = tmp_path / "one.toml"
    recipe.write_text(f'title = "one file"\n[files]\n{kind} = ["fp32"]\n')
    script = tmp_path / "edgecnn"  # as pip writes it
    script.write_text("from edgecnn.__main__ import main\nmain()\n")
    program = [sys.executable, *(("-m", "edgecnn") if start.startswith("python") else (str(script),))]
    environment = dict(os.environ)
    if "PYTHONPATH" in start:
        environment["PYTHONPATH"] = os.pathsep + environment.get("PYTHONPATH", "")

    def run(*arguments: str) -> None:
        done = subprocess.run([*program, *arguments], cwd=littered, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not list(littered.glob("*.ran"))

    run("export", "uc_net:net", "--input", "1x4", "--recipe", str(recipe), "-o", str(tmp_path))
    file = str(tmp_path / f"uc_net-net.fp32.{kind}")
    run("bench", file, "--min-time", "0", "--processes", "1")
    run("fit", file, "--device", "rpi4")
    if start.startswith("python"):
        cut = ("--data", "digits", "--ratio", "0.5", "--epochs", "0")
        run("compress", "edgecnn:digits-cnn", *cut, "-o", str(tmp_path / "small.safetensors"))
